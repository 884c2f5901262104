"""The demo: a GitHub triage agent that is really run, crashed, killed and recovered."""
