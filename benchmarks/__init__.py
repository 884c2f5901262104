"""Benchmarks of the hot path, each measured beside a floor in the same run."""
