"""Forks: which executions are still read through the one that they came from.

A fork begins as a reference, whatever the length of the execution that it came from: one entry
under (parent, seq, fork). With its first step of its own it gets a snapshot of what it began as,
and the entry leaves. While there is one, the parent's state at that seq must stay readable: whoever
deletes records asks for `positions` first, or calls `release`, which gives the forks snapshots.
"""

import logging
from collections.abc import Iterator
from typing import Final

from greenroom.protocol.codec import encode
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.storage import journal
from greenroom.storage.keys import SEQ_MAX, fork_key, journal_key, pack_number, unpack_fork_key
from greenroom.storage.records import unpack_summary
from greenroom.storage.tables import Table, Transaction

FIRST: Final = 1  # the seq at which a fork has its own beginning, as a snapshot
RELEASE_MAX: Final = 16  # snapshots of forks that one transaction makes: each may be large
_PAGE: Final = 256

logger = logging.getLogger("greenroom.storage")


def missing(txn: Transaction, origin: Forked) -> str | None:
    """Return why nothing can be forked there, None when it can."""
    raw = txn.get(Table.SUMMARIES, pack_number(origin.ordinal))
    if raw is None or unpack_summary(raw)[1].execution_id != origin.execution_id:
        return f"there is no execution {origin.execution_id} in the store any more"
    if txn.get(Table.JOURNAL, journal_key(origin.ordinal, origin.seq)) is None:
        return f"execution {origin.execution_id} has no record {origin.seq}"
    return None


def change(txn: Transaction, ordinal: int, made: ForkChange) -> None:
    """Bring the table up to date with one commit of a fork."""
    if made.base is not None:
        txn.put(Table.SNAPSHOTS, journal_key(ordinal, FIRST), made.base)
        forget(txn, ordinal, made.origin)
        return
    # A parent that is read through its own parent gets its snapshot first: no chain grows.
    parent = made.origin.ordinal
    raw = txn.get(Table.SUMMARIES, pack_number(parent))
    grandparent = None if raw is None else unpack_summary(raw)[1].forked
    if grandparent is not None and is_reference(txn, parent, grandparent):
        _keep(txn, parent, grandparent)
    txn.put(Table.FORKS, _key(ordinal, made.origin), b"")


def is_reference(txn: Transaction, ordinal: int, origin: Forked) -> bool:
    """Say whether a fork is still read through the execution that it came from."""
    return txn.get(Table.FORKS, _key(ordinal, origin)) is not None


def forget(txn: Transaction, ordinal: int, origin: Forked) -> None:
    """The fork is not read through another any more, or leaves the store."""
    txn.delete(Table.FORKS, _key(ordinal, origin))


def positions(txn: Transaction, parent: int, after: int, before: int) -> Iterator[int]:
    """Yield the seqs with after < seq < before at which forks are read through that execution, in
    order; one comes as often as it is forked.

    The state there must stay readable: by the records up to it, or from a snapshot on.
    """
    start, stop = fork_key(parent, after + 1, 0), fork_key(parent, before, 0)
    while page := txn.keys(Table.FORKS, start, stop, _PAGE):
        for key in page:
            yield unpack_fork_key(key)[1]
        start = page[-1] + b"\0"


def release(txn: Transaction, parent: int, limit: int = RELEASE_MAX, until: int = SEQ_MAX) -> int:
    """Give forks of that execution snapshots of their own, up to `limit` of those from positions
    up to `until`, the earliest first; return how many.

    One that cannot be read could not be read later either: it is passed over, and the log and
    `check` say so.
    """
    start, stop = fork_key(parent, 0, 0), fork_key(parent, until + 1, 0)
    page = txn.range(Table.FORKS, start, stop, limit)
    for key, _ in page:
        ordinal = unpack_fork_key(key)[2]
        try:
            base = encode(journal.load(txn, ordinal, FIRST).state)
        except StoreCorrupt:
            logger.exception("fork number %d of number %d cannot be read", ordinal, parent)
        else:
            txn.put(Table.SNAPSHOTS, journal_key(ordinal, FIRST), base)
        txn.delete(Table.FORKS, key)
    return len(page)


def _keep(txn: Transaction, ordinal: int, origin: Forked) -> None:
    base = encode(journal.load(txn, ordinal, FIRST).state)
    txn.put(Table.SNAPSHOTS, journal_key(ordinal, FIRST), base)
    forget(txn, ordinal, origin)


def _key(ordinal: int, origin: Forked) -> bytes:
    return fork_key(origin.ordinal, origin.seq, ordinal)
