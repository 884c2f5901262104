"""Cutting the journal of one execution: what is too old, or too much, leaves a part at a time.

What stays is the first record, which holds what was accepted; every record from the cut on; and
whatever the positions that are needed (`needed_seqs`) are read from. A record that is there can be
read: it follows the record before it, or it has a snapshot. Deleting goes from a snapshot
backwards, so that this holds after each part, and after a crash between two of them.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from greenroom.protocol.checkpoints import NUMBER_MAX, CheckpointKey, CheckpointType
from greenroom.protocol.codec import encode
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.questions import BRANCHES_FROM
from greenroom.storage import forks, journal
from greenroom.storage.keys import (
    checkpoint_key,
    journal_key,
    question_key,
    unpack_checkpoint_key,
    unpack_journal_key,
)
from greenroom.storage.records import decode_asking, decode_at, decode_question
from greenroom.storage.tables import Table, Transaction

FIRST: Final = 1  # the record of the acceptance, with the input: it stays as long as its execution
NOTES_MAX: Final = 1_024  # decisions and problems deleted by one part; one record has fewer
QUESTIONS_MAX: Final = 256  # closed questions deleted by one part

_PAGE: Final = 64
_SMALL_BYTES: Final = 4 * 1024  # records that are kept without asking what a snapshot would take
_NOTES_OF_RECORD: Final = 4  # notes that cost about as much as one record
_NEEDED_MAX: Final = 256  # states that are looked at for the questions that were open then


class Part(NamedTuple):
    """What one part of a cut has done."""

    after: int  # up to this position nothing is left to do
    records: int  # deleted
    cost: int  # in records deleted; positions that are looked at, and notes, count too
    finished: bool


def needed_seqs(txn: Transaction, ordinal: int, after: int, before: int) -> Iterator[int]:
    """Yield the positions with after < seq < before, in order, that must stay readable whatever is
    cut: those of checkpoints, and those through which forks are read.
    """
    last = after
    named = (_named(txn, ordinal, kind, after, before) for kind in CheckpointType)
    for seq in merge(*named, forks.positions(txn, ordinal, after, before)):
        if seq > last:
            yield seq
            last = seq


def first_younger(txn: Transaction, ordinal: int, low: int, last: int, moment: float) -> int:
    """Return the first seq from `low` on whose record is not from before `moment` (wall UTC
    seconds), `last` when none is. All of those records must be there.
    """
    high = last
    while low < high:
        middle = (low + high) // 2
        if recorded_at(txn, ordinal, middle) < moment:
            low = middle + 1
        else:
            high = middle
    return low


def recorded_at(txn: Transaction, ordinal: int, seq: int) -> float:
    """Return when a record was made. Raises StoreCorrupt when there is none of that seq."""
    raw = txn.get(Table.JOURNAL, journal_key(ordinal, seq))
    if raw is None:
        raise StoreCorrupt(f"the journal of number {ordinal} has no record {seq}")
    try:
        return decode_at(raw).at
    except msgspec.MsgspecError as error:
        text = f"record {seq} of number {ordinal} does not say when it was made: {error}"
        raise StoreCorrupt(text) from error


def cut(txn: Transaction, ordinal: int, after: int, target: int, limit: int) -> Part:
    """Delete up to about `limit` records before `target` that nothing needs, with what lies beside
    them, and go on from position `after`, which an earlier part came to (FIRST for a new cut).
    """
    deleted = cost = 0
    for seq in chain(needed_seqs(txn, ordinal, after, target), (target,)):
        if seq <= after:
            break
        if cost >= limit:
            return Part(after, deleted, cost, False)
        one = _shorten(txn, ordinal, after, seq, limit - cost, optional=seq < target)
        deleted += one.records
        cost += one.cost
        if not one.finished:
            return Part(after, deleted, cost, False)
        after = seq
    return Part(after, deleted, cost, True)


def drop_questions(txn: Transaction, ordinal: int, target: int) -> bool:
    """Delete closed questions that no position from `target` on, and none that is needed, knows as
    open; up to QUESTIONS_MAX. Say whether there may be more.

    They stay while more positions are needed than can be looked at.
    """
    raw = txn.get(Table.SNAPSHOTS, journal_key(ordinal, target))
    if raw is None:
        return False  # nothing was cut
    try:
        at_cut = decode_asking(raw)
    except msgspec.MsgspecError as error:
        text = f"snapshot {target} of number {ordinal} cannot be read: {error}"
        raise StoreCorrupt(text) from error
    closed = [
        number
        for number in _closed_before(txn, ordinal, at_cut.asked, recorded_at(txn, ordinal, target))
        if number not in at_cut.questions
    ]
    if not closed:
        return False
    needed: list[int] = []
    for seq in needed_seqs(txn, ordinal, 0, target):
        needed.append(seq)
        if len(needed) > _NEEDED_MAX:
            return False
    open_then: set[int] = set()
    for seq in needed:
        open_then.update(journal.load(txn, ordinal, seq).state.questions)
    leaving = [number for number in closed if number not in open_then]
    for number in leaving[:QUESTIONS_MAX]:
        txn.delete(Table.QUESTIONS, question_key(ordinal, number))
    return len(leaving) > QUESTIONS_MAX


def _named(
    txn: Transaction, ordinal: int, kind: CheckpointType, after: int, before: int
) -> Iterator[int]:
    start = checkpoint_key(ordinal, CheckpointKey(after, kind, NUMBER_MAX)) + b"\0"
    stop = checkpoint_key(ordinal, CheckpointKey(before, kind, 0))
    while page := txn.keys(Table.CHECKPOINTS, start, stop, _PAGE):
        for key in page:
            yield unpack_checkpoint_key(key)[1].seq
        start = page[-1] + b"\0"


def _shorten(
    txn: Transaction, ordinal: int, after: int, seq: int, limit: int, *, optional: bool
) -> Part:
    """Delete the records between two positions, of which both stay readable, the newest first. With
    `optional` they stay where they take less than a snapshot.
    """
    start, stop = journal_key(ordinal, after + 1), journal_key(ordinal, seq)
    newest = txn.keys(Table.JOURNAL, start, stop, limit, reverse=True)
    if not newest or (optional and _take_little(txn, ordinal, after, seq)):
        return Part(seq, 0, 1, True)
    _keep_state(txn, ordinal, seq)
    finished = len(newest) < limit
    low = after + 1 if finished else unpack_journal_key(newest[-1])[1]
    notes = txn.keys(Table.DECISIONS, journal_key(ordinal, low), stop, NOTES_MAX, reverse=True)
    if len(notes) == NOTES_MAX:  # those of the last record that is seen may not be all of its own
        finished = False
        low = unpack_journal_key(notes[-1][: len(stop)])[1] + 1
    start = journal_key(ordinal, low)
    count = txn.delete_range(Table.JOURNAL, start, stop, limit)
    txn.delete_range(Table.SNAPSHOTS, start, stop, limit)
    noted = txn.delete_range(Table.DECISIONS, start, stop, NOTES_MAX)
    return Part(seq, count, 1 + max(count, noted // _NOTES_OF_RECORD), finished)


def _keep_state(txn: Transaction, ordinal: int, seq: int) -> None:
    key = journal_key(ordinal, seq)
    if not txn.keys(Table.SNAPSHOTS, key, key + b"\0", 1):
        txn.put(Table.SNAPSHOTS, key, encode(journal.load(txn, ordinal, seq).state))


def _take_little(txn: Transaction, ordinal: int, after: int, seq: int) -> bool:
    """Whether every record between two positions is there, and they take less than the snapshot
    that the second would need without them.
    """
    start, stop = journal_key(ordinal, after + 1), journal_key(ordinal, seq)
    expected, total = after + 1, 0
    allowed: int | None = None
    for table in (Table.JOURNAL, Table.DECISIONS):
        place = start
        while page := txn.range(table, place, stop, _PAGE):
            for key, raw in page:
                total += len(raw)
                if table is Table.JOURNAL and unpack_journal_key(key)[1] != expected:
                    return False
                expected += table is Table.JOURNAL
            place = page[-1][0] + b"\0"
            if total > _SMALL_BYTES and allowed is None:
                allowed = _state_bytes(txn, ordinal, seq)
            if allowed is not None and total > allowed:
                return False
        if expected != seq:
            return False
    return True


def _state_bytes(txn: Transaction, ordinal: int, seq: int) -> int:
    held = txn.get(Table.SNAPSHOTS, journal_key(ordinal, seq))
    return len(held or encode(journal.load(txn, ordinal, seq).state))


def _closed_before(txn: Transaction, ordinal: int, asked: int, moment: float) -> Iterator[int]:
    """Yield the questions that had been asked when number `asked` was the newest. Those of branches
    are not numbered in the order of asking: of these the ones that were closed before `moment`.
    """
    start, stop = question_key(ordinal, 1), question_key(ordinal, asked) + b"\0"
    while page := txn.keys(Table.QUESTIONS, start, stop, _PAGE):
        for key in page:
            yield unpack_journal_key(key)[1]
        start = page[-1] + b"\0"
    start, stop = question_key(ordinal, BRANCHES_FROM), question_key(ordinal + 1, 0)
    while found := txn.range(Table.QUESTIONS, start, stop, _PAGE):
        for key, raw in found:
            closing = decode_question(raw).closing
            if closing is not None and closing.at < moment:
                yield unpack_journal_key(key)[1]
        start = found[-1][0] + b"\0"
