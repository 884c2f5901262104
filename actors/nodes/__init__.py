"""Where user code runs: on the nodes' loop or in the pool of daemon threads."""
