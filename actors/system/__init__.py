"""The runtime's own actors: store writer, event bus, state manager, aggregator, log consumers."""
