"""The actor kernel, without agents: mailboxes, actors, futures, supervision, clocks, test kit."""
