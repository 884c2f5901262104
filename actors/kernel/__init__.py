"""The actor kernel: mailboxes, loop actors, futures, supervision, clocks and the test kit. No agents here."""
