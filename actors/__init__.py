"""Actors: the kernel, the system actors, streams, nodes, triggers and the host's facade."""
