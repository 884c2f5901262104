"""Checkpoints: names beside the journal, by execution, type, seq and number.

A name is only stored while the record that it names is there, and keeps it; the journal of an
execution leaves with the execution, and its names with it.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Final

import msgspec

from greenroom.protocol.checkpoints import (
    NUMBER_MAX,
    SEQ_MAX,
    CheckpointKey,
    CheckpointType,
    Naming,
    NewCheckpoint,
    Pruning,
)
from greenroom.protocol.codec import encode
from greenroom.protocol.errors import StoreCorrupt
from greenroom.storage.keys import checkpoint_key, journal_key, unpack_checkpoint_key
from greenroom.storage.records import CheckpointEntry, decode_checkpoint
from greenroom.storage.tables import Table, Transaction

_PRUNED_MAX: Final = 256  # names that one commit removes for their age or number
_PAGE: Final = 64


def misplaced(txn: Transaction, ordinal: int, last_seq: int, naming: Naming) -> str | None:
    """Return why names cannot be stored in a commit of their own, None when they can."""
    for name in naming.names:
        if not 1 <= name.seq <= last_seq:
            return f"there is no record {name.seq} to be named"
        record = journal_key(ordinal, name.seq)
        if not txn.keys(Table.JOURNAL, record, record + b"\0", 1):
            return f"record {name.seq} was pruned, and cannot be named any more"
        held = txn.get(Table.CHECKPOINTS, checkpoint_key(ordinal, name.key))
        if held is not None and held != _entry(name):
            return f"the name {name.key} is taken"
    return None


def apply(txn: Transaction, ordinal: int, naming: Naming) -> None:
    """Store new names, and remove those that are to leave; what is not there is passed over."""
    for name in naming.names:
        txn.put(Table.CHECKPOINTS, checkpoint_key(ordinal, name.key), _entry(name))
    for text in naming.forget:
        key = CheckpointKey.parse(text)
        if key is not None:
            txn.delete(Table.CHECKPOINTS, checkpoint_key(ordinal, key))
    if naming.prune is not None:
        for key in list(islice(prunable(txn, ordinal, naming.prune), _PRUNED_MAX)):
            txn.delete(Table.CHECKPOINTS, checkpoint_key(ordinal, key))


def find(txn: Transaction, ordinal: int, key: CheckpointKey) -> NewCheckpoint | None:
    """Return a checkpoint, None when there is none of that id."""
    raw = txn.get(Table.CHECKPOINTS, checkpoint_key(ordinal, key))
    return None if raw is None else unpack(key, raw)


def newest(
    txn: Transaction,
    ordinal: int,
    kind: CheckpointType | None,
    before: CheckpointKey | None,
    limit: int,
) -> list[NewCheckpoint]:
    """Return up to `limit` checkpoints of an execution below `before`, newest first. Costs that
    much for each type.
    """
    ranges = []
    for one in CheckpointType if kind is None else (kind,):
        start, stop = _range(ordinal, one, before)
        page = txn.range(Table.CHECKPOINTS, start, stop, limit, reverse=True)
        ranges.append([unpack(unpack_checkpoint_key(key)[1], raw) for key, raw in page])
    return list(islice(merge(*ranges, key=lambda name: name.key, reverse=True), limit))


def between(txn: Transaction, ordinal: int, first: int, last: int) -> list[NewCheckpoint]:
    """Return the checkpoints with first <= seq <= last, oldest first. Costs what it returns."""
    found: list[NewCheckpoint] = []
    for kind in CheckpointType:
        start = checkpoint_key(ordinal, CheckpointKey(first, kind, 0))
        stop = checkpoint_key(ordinal, CheckpointKey(last, kind, NUMBER_MAX)) + b"\0"
        while page := txn.range(Table.CHECKPOINTS, start, stop, _PAGE):
            found += [unpack(unpack_checkpoint_key(key)[1], raw) for key, raw in page]
            if len(page) < _PAGE:
                break
            start = page[-1][0] + b"\0"
    return sorted(found, key=lambda name: name.key)


def prunable(txn: Transaction, ordinal: int, rule: Pruning) -> Iterator[CheckpointKey]:
    """Yield the checkpoints that `rule` lets go, oldest first for each type, up to the first of a
    type that stays.
    """
    for kind in CheckpointType:
        before_step = 0 if kind is CheckpointType.MANUAL else rule.before_step
        for name in _oldest(txn, ordinal, kind):
            if name.at >= rule.older_than and name.step >= before_step:
                break
            yield name.key


def unpack(key: CheckpointKey, raw: bytes) -> NewCheckpoint:
    """Return a stored name. Raises StoreCorrupt for other bytes."""
    try:
        entry = decode_checkpoint(raw)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"checkpoint {key} cannot be read: {error}") from error
    return NewCheckpoint(
        seq=key.seq,
        kind=key.kind,
        number=key.number,
        node=entry.node,
        at=entry.at,
        step=entry.step,
        description=entry.description,
    )


def _oldest(txn: Transaction, ordinal: int, kind: CheckpointType) -> Iterator[NewCheckpoint]:
    start, stop = _range(ordinal, kind, None)
    size = 1  # mostly the first one stays, and nobody asks for the second
    while page := txn.range(Table.CHECKPOINTS, start, stop, size):
        for key, raw in page:
            yield unpack(unpack_checkpoint_key(key)[1], raw)
        start, size = page[-1][0] + b"\0", _PAGE


def _range(ordinal: int, kind: CheckpointType, before: CheckpointKey | None) -> tuple[bytes, bytes]:
    """Keys of one type, those below `before` in the order of ids."""
    start = checkpoint_key(ordinal, CheckpointKey(0, kind, 0))
    if before is None:
        return start, checkpoint_key(ordinal, CheckpointKey(SEQ_MAX, kind, NUMBER_MAX)) + b"\0"
    number = before.number if kind is before.kind else 0 if kind > before.kind else NUMBER_MAX + 1
    return start, checkpoint_key(ordinal, CheckpointKey(before.seq, kind, number))


def _entry(name: NewCheckpoint) -> bytes:
    return encode(CheckpointEntry(name.node, name.at, name.step, name.description))
