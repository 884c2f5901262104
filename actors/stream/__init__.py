"""One supervised stream per entry point: admission, and the engine's commands carried out."""
