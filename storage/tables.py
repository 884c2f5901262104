"""Ordered tables and the transaction over them: all that the store's rules ask of an engine.

Two engines exist: LMDB and sorted tables in memory. Every rule of the store is written once, as
functions over `Transaction`. Keys compare as bytes; what a transaction returns is a copy and
outlives it.
"""

from enum import IntEnum
from typing import Protocol

import msgspec


class Table(IntEnum):
    """Every table; the value is its number for good, the name in lower case its name on disk."""

    META = 0  # b"format", b"epoch", ... -> 8 bytes
    FENCES = 1  # stream -> incarnation
    IDS = 2  # execution id -> ordinal
    SUMMARIES = 3  # ordinal -> finish mark, encoded Summary
    STATUSES = 4  # status, entry point, ordinal -> nothing
    FINISHED = 5  # entry point, finish mark, ordinal -> nothing
    JOURNAL = 6  # ordinal, seq -> encoded JournalRecord
    SNAPSHOTS = 7  # ordinal, seq -> encoded ExecutionState
    GARBAGE = 8  # ordinal of a dropped execution whose journal is still being deleted -> nothing
    EVENTS = 9  # seq of a chunk's last event -> array of encoded bodies
    PAYLOADS = 10  # event seq -> encoded value
    STATE = 11  # scope, owner, key -> version and value
    CLAIMS = 12  # namespace, idempotency key -> claim
    EXPIRIES = 13  # expiry, claim's key -> nothing
    CURSORS = 14  # consumer -> seq and its own record
    TIMERS = 15  # entry point, due, ordinal -> nothing
    QUESTIONS = 16  # ordinal, number -> record, and how it was closed
    PENDING = 17  # filter, time asked, ordinal, number of an open question -> nothing
    CHECKPOINTS = 18  # ordinal, type, seq, number -> what is named, and when
    GOALS = 19  # first ordinal of a run -> its goal; goal, first ordinal -> nothing
    DECISIONS = 20  # ordinal, seq, number -> encoded decision or problem
    CONCURRENCY = 21  # entry point, concurrency key, place, ordinal of an unfinished one -> nothing
    FORKS = 22  # ordinal, seq, ordinal of a fork that is read through that position -> nothing
    PLANS = 23  # digest of a graph -> what it declares
    VERSIONS = 24  # entry point, digest of its graph, ordinal of one that waits -> nothing


class Transaction(Protocol):
    """One transaction; a reading one refuses `put` and `delete` by raising. Used by one thread at
    a time.
    """

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value at `key`, or None."""
        ...

    def put(self, table: Table, key: bytes, value: bytes | msgspec.Raw) -> None:
        """Set `key` to a copy of `value`."""
        ...

    def delete(self, table: Table, key: bytes) -> bool:
        """Remove `key`; say whether it was there."""
        ...

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        """Remove up to `limit` entries with start <= key < stop, ascending; return how many."""
        ...

    def last_at_or_before(self, table: Table, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the entry with the greatest key that is not above `key`, or None."""
        ...

    def range(
        self, table: Table, start: bytes, stop: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with start <= key < stop, ascending, or from the end when
        `reverse`.
        """
        ...

    def keys(
        self, table: Table, start: bytes, stop: bytes, limit: int, *, reverse: bool = False
    ) -> list[bytes]:
        """Return the keys of `range` alone: no value is copied."""
        ...

    def count(self, table: Table) -> int:
        """Return the number of entries in `table`."""
        ...


class WriteTransaction(Transaction, Protocol):
    """The one transaction that may change the tables. Ended by `commit` or `abort`, never used
    afterwards.
    """

    def commit(self) -> None:
        """Make every change durable at once. Raises the engine's error when that is not certain."""
        ...

    def abort(self) -> None:
        """Drop every change."""
        ...
