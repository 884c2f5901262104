"""Concurrency keys: who of the unfinished executions with one key has begun, and who is behind.

An execution takes its key when it begins and keeps it until it ends: while it waits, is paused
or held as well. Whoever is taken up after an end is behind again.
"""

from typing import Final

from greenroom.protocol.commit import Summary
from greenroom.protocol.execution import TERMINAL
from greenroom.storage.keys import NUMBER_MAX, concurrency_key, unpack_concurrency_key
from greenroom.storage.tables import Table, Transaction

HAS_IT: Final = 0  # sorts before those who are behind: the owner is one seek away
BEHIND: Final = 1


def keep(txn: Transaction, entry: bytes, ordinal: int, summary: Summary) -> None:
    """Bring the table up to date with a new status of an execution that has a concurrency key."""
    text = summary.concurrency_key
    owned = concurrency_key(entry, text, HAS_IT, ordinal)
    behind = concurrency_key(entry, text, BEHIND, ordinal)
    if summary.status in TERMINAL:
        forget(txn, entry, ordinal, text)
    elif summary.takes_key:
        txn.delete(Table.CONCURRENCY, behind)
        txn.put(Table.CONCURRENCY, owned, b"")
    elif txn.get(Table.CONCURRENCY, owned) is None:
        txn.put(Table.CONCURRENCY, behind, b"")


def forget(txn: Transaction, entry: bytes, ordinal: int, text: str) -> None:
    """The execution has ended, or leaves the store."""
    for place in (HAS_IT, BEHIND):
        txn.delete(Table.CONCURRENCY, concurrency_key(entry, text, place, ordinal))


def owner(txn: Transaction, entry: bytes, text: str) -> int:
    """The ordinal of the execution that has the key, 0 when nobody has."""
    start = concurrency_key(entry, text, HAS_IT, 0)
    stop = concurrency_key(entry, text, HAS_IT, NUMBER_MAX)
    found = txn.range(Table.CONCURRENCY, start, stop, 1)
    return unpack_concurrency_key(found[0][0])[2] if found else 0
