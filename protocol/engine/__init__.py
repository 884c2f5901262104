"""The pure engine: a compiled plan, advance and apply."""
