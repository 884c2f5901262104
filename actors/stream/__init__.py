"""One supervised execution stream per entry point: admission, and the interpreter of the engine's commands."""
