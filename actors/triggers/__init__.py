"""What starts executions from outside: the webhook server and event-driven entry points."""
