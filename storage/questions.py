"""Questions to people: every one of an execution that is kept, and an index of those that are open.

An open question stands in the index once for each way of asking for it, so that a page of any
listing costs what it returns.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from greenroom.protocol.codec import encode
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.limits import QUESTIONS_OPEN_MAX
from greenroom.protocol.questions import Closing, QuestionChange, QuestionRecord
from greenroom.storage.keys import (
    SEQ_MAX,
    pack_number,
    pending_filter,
    pending_key,
    question_key,
    unpack_pending_key,
)
from greenroom.storage.records import QuestionEntry, decode_question
from greenroom.storage.tables import Table, Transaction

_ABOVE: Final = b"\xff" * 21  # above every key that begins with a filter


class StoredQuestion(NamedTuple):
    """A question as the store has it."""

    ordinal: int  # of its execution
    number: int
    record: QuestionRecord
    closing: Closing | None  # None while it is open


class Wanted(NamedTuple):
    """Which open questions a listing is about; an empty text means any. An execution or a node is
    asked for alone.
    """

    entry_point: str = ""
    assignee: str = ""
    execution_id: str = ""
    node: str = ""

    def matches(self, record: QuestionRecord) -> bool:
        """Say whether a question is one of them."""
        return (
            self.entry_point in ("", record.entry_point)
            and self.assignee in ("", record.assignee)
            and self.execution_id in ("", record.execution_id)
            and self.node in ("", record.node)
        )


def change(txn: Transaction, ordinal: int, changes: Sequence[QuestionChange]) -> None:
    """Open, close and rename questions of an execution. Raises StoreCorrupt when one that is to be
    closed or renamed is not open, or one that is to be opened is there already.
    """
    for one in changes:
        stored = find(txn, ordinal, one.number)
        if one.record is not None:
            if stored is not None:
                raise StoreCorrupt(f"question {one.number} of number {ordinal} was asked already")
            record = one.record
            if one.closing is None:
                for key in index_keys(record, ordinal, one.number):
                    txn.put(Table.PENDING, key, b"")
        else:
            if stored is None or stored.closing is not None:
                raise StoreCorrupt(f"question {one.number} of number {ordinal} is not open")
            record = stored.record
            for key in index_keys(record, ordinal, one.number):
                txn.delete(Table.PENDING, key)
            if one.node is not None:
                record = msgspec.structs.replace(record, node=one.node, visit=one.visit)
                for key in index_keys(record, ordinal, one.number):
                    txn.put(Table.PENDING, key, b"")
        entry = QuestionEntry(record, one.closing)
        txn.put(Table.QUESTIONS, question_key(ordinal, one.number), encode(entry))


def find(txn: Transaction, ordinal: int, number: int) -> StoredQuestion | None:
    """Return question `number` of an execution, or None."""
    raw = txn.get(Table.QUESTIONS, question_key(ordinal, number)) if number <= SEQ_MAX else None
    if raw is None:
        return None
    entry = decode_question(raw)
    return StoredQuestion(ordinal, number, entry.record, entry.closing)


def pending(
    txn: Transaction, wanted: Wanted, ordinal: int, after: StoredQuestion | None, limit: int
) -> list[StoredQuestion]:
    """Return up to `limit` open questions that are `wanted`, those asked first first. `ordinal` is
    that of the wanted execution, 0 for any.
    """
    if ordinal:
        prefix = pack_number(ordinal)
    elif wanted.node:
        prefix = pending_filter(node=wanted.node)
    else:
        prefix = pending_filter(wanted.entry_point, wanted.assignee)
    start, stop = prefix, prefix + _ABOVE
    if after is not None:
        at = after.record.asked_at
        start = pending_key(prefix, at, after.ordinal, after.number) + b"\0"
    found: list[StoredQuestion] = []
    while left := limit - len(found):
        page = txn.range(Table.PENDING, start, stop, left)
        if not page:
            break
        for key, _ in page:
            stored = _indexed(txn, key)
            if wanted.matches(stored.record):
                found.append(stored)
        start = page[-1][0] + b"\0"
    return found


def unlist(txn: Transaction, ordinal: int) -> None:
    """Take the open questions of an execution out of the index: it is dropped."""
    own = pack_number(ordinal)
    for key, _ in txn.range(Table.PENDING, own, own + _ABOVE, QUESTIONS_OPEN_MAX):
        stored = _indexed(txn, key)
        for one in index_keys(stored.record, ordinal, stored.number):
            txn.delete(Table.PENDING, one)


def _indexed(txn: Transaction, key: bytes) -> StoredQuestion:
    ordinal, number = unpack_pending_key(key)
    stored = find(txn, ordinal, number)
    if stored is None:
        raise StoreCorrupt(f"question {number} of number {ordinal} is only in the index")
    return stored


def index_keys(record: QuestionRecord, ordinal: int, number: int) -> set[bytes]:
    """Return the keys under which an open question stands in the index."""
    entry, assignee = record.entry_point, record.assignee or ""
    ways = {
        pack_number(ordinal),
        pending_filter(node=record.node),
        pending_filter(),
        pending_filter(entry),
        pending_filter("", assignee),
        pending_filter(entry, assignee),
    }
    return {pending_key(way, record.asked_at, ordinal, number) for way in ways}
