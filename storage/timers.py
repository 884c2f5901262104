"""The index of what comes due: executions that do not run, by entry point and time."""

from typing import NamedTuple

from greenroom.protocol.timers import TimerMove
from greenroom.storage.keys import timer_key, unpack_timer_key
from greenroom.storage.tables import Table, Transaction


class Timer(NamedTuple):
    """One execution that comes due."""

    due_us: int  # wall UTC microseconds
    ordinal: int


def move(txn: Transaction, entry: bytes, ordinal: int, change: TimerMove) -> None:
    """Bring the index up to date with one commit of an execution."""
    if change.before is not None:
        txn.delete(Table.TIMERS, timer_key(entry, change.before, ordinal))
    if change.after is not None:
        txn.put(Table.TIMERS, timer_key(entry, change.after, ordinal), b"")


def first(txn: Transaction, entry: bytes, limit: int) -> list[Timer]:
    """Return the `limit` executions of an entry point that come due first, in order."""
    start, stop = timer_key(entry, 0, 0), entry + b"\xff" * 16 + b"\0"
    page = txn.range(Table.TIMERS, start, stop, limit)
    return [Timer(*unpack_timer_key(key)[1:]) for key, _ in page]
