"""Executions: id to ordinal, summaries, the indexes of status and of what has finished, and
dropping old ones.
"""

from itertools import takewhile
from typing import Final, NamedTuple

from greenroom.protocol.commit import Summary
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import SETTLED, TERMINAL, Status
from greenroom.storage import concurrency, forks, goals, questions, versions
from greenroom.storage.keys import (
    KEY_END,
    NUMBER_MAX,
    SEQ_MAX,
    entry_digest,
    finished_key,
    journal_key,
    pack_number,
    status_key,
    text_key,
    unpack_finished_key,
    unpack_journal_key,
    unpack_number,
)
from greenroom.storage.records import pack_summary, unpack_summary
from greenroom.storage.tables import Table, Transaction

AT_REST: Final = SETTLED | {Status.WAITING}
"""Nothing more may be written of these for a long time, so nothing of them is kept in memory."""

_PAGE: Final = 100


class Head(NamedTuple):
    """Where one execution stands; the writer keeps those in memory that are not at rest."""

    execution_id: str
    entry: bytes  # entry_digest of its entry point
    seq: int
    status: Status
    mark: int  # place among the finished ones, 0 while unfinished
    version: bytes = b""  # of the graph at which it stands, as its summary says


def find_ordinal(txn: Transaction, execution_id: str) -> int:
    """Return the ordinal of `execution_id`, 0 when it is unknown."""
    raw = txn.get(Table.IDS, text_key(execution_id))
    if raw is None:
        return 0
    if raw[8:] != execution_id.encode():
        raise StoreCorrupt(f"the id table holds another execution at {execution_id!r}")
    return unpack_number(raw[:8])


def last_seq(txn: Transaction, ordinal: int) -> int:
    """Return the seq of the execution's last journal record, 0 when it has none."""
    found = txn.last_at_or_before(Table.JOURNAL, journal_key(ordinal, SEQ_MAX))
    if found is None:
        return 0
    owner, seq = unpack_journal_key(found[0])
    return seq if owner == ordinal else 0


def load_head(txn: Transaction, ordinal: int) -> Head | None:
    """Read the head of `ordinal`, None when there is no such execution."""
    raw = txn.get(Table.SUMMARIES, pack_number(ordinal))
    if raw is None:
        return None
    mark, summary = unpack_summary(raw)
    entry = entry_digest(summary.entry_point)
    seq = last_seq(txn, ordinal)
    return Head(summary.execution_id, entry, seq, summary.status, mark, summary.version)


def insert(txn: Transaction, ordinal: int, summary: Summary, mark: int) -> None:
    """Store a new execution's id, summary and index entries. `mark` is 0 unless it has finished
    already.
    """
    number = pack_number(ordinal)
    txn.put(Table.IDS, text_key(summary.execution_id), number + summary.execution_id.encode())
    txn.put(Table.SUMMARIES, number, pack_summary(mark, summary))
    entry = entry_digest(summary.entry_point)
    txn.put(Table.STATUSES, status_key(summary.status, entry, ordinal), b"")
    if mark:
        txn.put(Table.FINISHED, finished_key(entry, mark, ordinal), b"")
    if summary.status is Status.WAITING:
        versions.enter(txn, entry, ordinal, summary.version)


def update(txn: Transaction, ordinal: int, head: Head, summary: Summary, mark: int) -> None:
    """Store a changed summary and move the index entries from where `head` says they are."""
    txn.put(Table.SUMMARIES, pack_number(ordinal), pack_summary(mark, summary))
    if summary.status is not head.status:
        txn.delete(Table.STATUSES, status_key(head.status, head.entry, ordinal))
        txn.put(Table.STATUSES, status_key(summary.status, head.entry, ordinal), b"")
    if head.status is Status.WAITING:
        versions.leave(txn, head.entry, ordinal, head.version)
    if summary.status is Status.WAITING:
        versions.enter(txn, head.entry, ordinal, summary.version)
    if mark != head.mark:
        if head.mark:
            txn.delete(Table.FINISHED, finished_key(head.entry, head.mark, ordinal))
        if mark:
            txn.put(Table.FINISHED, finished_key(head.entry, mark, ordinal), b"")


def finished(txn: Transaction, entry: bytes) -> tuple[int, int]:
    """Return how many finished executions an entry point has, and the newest one's mark.

    The mark is 0 when there is none. The cost grows with their number.
    """
    start, stop = _finished_range(entry)
    counted = mark = 0
    while page := txn.range(Table.FINISHED, start, stop, 1000):
        counted += len(page)
        mark = unpack_finished_key(page[-1][0])[1]
        start = page[-1][0] + b"\0"
    return counted, mark


def _finished_range(entry: bytes) -> tuple[bytes, bytes]:
    return finished_key(entry, 0, 0), finished_key(entry, NUMBER_MAX, NUMBER_MAX)


def finished_before(txn: Transaction, moment: float, limit: int) -> dict[bytes, int]:
    """Return how many finished executions of each entry point ended before `moment` (wall UTC
    seconds), counted in the order of their ends up to `limit` in all. Costs what it returns, and
    two seeks for each entry point.
    """
    found: dict[bytes, int] = {}
    start = b""
    while limit > 0 and (first := txn.range(Table.FINISHED, start, KEY_END, 1)):
        entry = unpack_finished_key(first[0][0])[0]
        begin, stop = _finished_range(entry)
        old = 0
        while limit > 0 and (page := txn.range(Table.FINISHED, begin, stop, min(limit, _PAGE))):
            due = list(takewhile(lambda item: _ended_before(txn, item[0], moment), page))
            old += len(due)
            limit -= len(due)
            if len(due) < len(page):
                break
            begin = page[-1][0] + b"\0"
        if old:
            found[entry] = old
        start = stop + b"\0"
    return found


def _ended_before(txn: Transaction, key: bytes, moment: float) -> bool:
    ordinal = unpack_finished_key(key)[2]
    raw = txn.get(Table.SUMMARIES, pack_number(ordinal))
    if raw is None:
        raise StoreCorrupt(f"execution number {ordinal} is indexed as finished, without a summary")
    return unpack_summary(raw)[1].updated_at < moment


def drop_oldest(txn: Transaction, entry: bytes, excess: int) -> list[int]:
    """Drop the `excess` executions of an entry point that finished first; return their ordinals.

    They vanish from every listing at once. Their journals, which may be long, are left to `sweep`.
    """
    start, stop = _finished_range(entry)
    dropped: list[int] = []
    for key, _ in txn.range(Table.FINISHED, start, stop, excess):
        ordinal = unpack_finished_key(key)[2]
        drop(txn, ordinal)
        dropped.append(ordinal)
    return dropped


def drop(txn: Transaction, ordinal: int) -> None:
    """Drop one execution: it vanishes from every listing at once, its journal is left to `sweep`.

    Claims of idempotency keys stay their own time. Raises StoreCorrupt when there is none.
    """
    number = pack_number(ordinal)
    raw = txn.get(Table.SUMMARIES, number)
    if raw is None:
        raise StoreCorrupt(f"execution number {ordinal} is to be dropped, and has no summary")
    mark, summary = unpack_summary(raw)
    entry = entry_digest(summary.entry_point)
    if mark:
        txn.delete(Table.FINISHED, finished_key(entry, mark, ordinal))
    txn.delete(Table.STATUSES, status_key(summary.status, entry, ordinal))
    txn.delete(Table.SUMMARIES, number)
    txn.delete(Table.IDS, text_key(summary.execution_id))
    goals.left(txn, ordinal)
    if summary.concurrency_key:
        concurrency.forget(txn, entry, ordinal, summary.concurrency_key)
    questions.unlist(txn, ordinal)
    if summary.forked is not None:
        forks.forget(txn, ordinal, summary.forked)
    txn.put(Table.GARBAGE, number, b"")


_OWNED: Final = (  # tables keyed by ordinal
    *(Table.JOURNAL, Table.SNAPSHOTS, Table.CHECKPOINTS, Table.QUESTIONS, Table.DECISIONS),
)


def sweep(txn: Transaction, limit: int) -> bool:
    """Delete up to `limit` records of dropped executions; say whether there may be more.

    Whatever is still read through one of them gets a snapshot of its own first.
    """
    for number, _ in txn.range(Table.GARBAGE, b"", pack_number(NUMBER_MAX), limit):
        ordinal = unpack_number(number)
        if forks.release(txn, ordinal) == forks.RELEASE_MAX:
            return True
        start, stop = journal_key(ordinal, 0), journal_key(ordinal + 1, 0)
        for table in _OWNED:
            limit -= txn.delete_range(table, start, stop, limit)
            if limit <= 0:
                return True
        txn.delete(Table.GARBAGE, number)
    return bool(txn.count(Table.GARBAGE))


def is_terminal(status: Status) -> bool:
    """Say whether an execution of that status has ended."""
    return status in TERMINAL
