"""Data and pure rules: no I/O, no clock, no threads."""
