"""The durable store: LMDB, and its in-memory twin behind the same protocol."""
