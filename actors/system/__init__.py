"""The runtime's own actors: store writer, event bus, state manager, outcome aggregator, log consumers."""
