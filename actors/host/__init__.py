"""What a host process holds: the runtime's facade, its handles, and the command line."""
