"""An execution's journal and snapshots: what was recorded, and the state that follows from it."""

from typing import NamedTuple

import msgspec

from greenroom.protocol.beginnings import beginning
from greenroom.protocol.codec import decode_record, decode_state
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.patch import JournalRecord, apply
from greenroom.storage.keys import SEQ_MAX, journal_key, unpack_journal_key
from greenroom.storage.tables import Table, Transaction

_PAGE = 256


class Loaded(NamedTuple):
    """An execution's state, and what is needed to decide when its next snapshot is due."""

    state: ExecutionState
    snapshot_seq: int  # 0 when it has none
    patch_bytes: int  # encoded records since that snapshot
    plan: bytes  # digest of the graph at which it stands: that of its last record


def records(
    txn: Transaction, ordinal: int, after: int, limit: int, until: int = SEQ_MAX
) -> list[tuple[int, bytes]]:
    """Return (seq, encoded record) for after < seq <= until, up to `limit`, in order."""
    start, stop = journal_key(ordinal, after + 1), journal_key(ordinal, until) + b"\0"
    page = txn.range(Table.JOURNAL, start, stop, limit)
    return [(unpack_journal_key(key)[1], value) for key, value in page]


def decode(seq: int, raw: bytes) -> JournalRecord:
    """Decode one record; raises StoreCorrupt when it is not what its key says."""
    try:
        record = decode_record(raw)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"journal record {seq} cannot be read: {error}") from error
    if record.seq != seq:
        raise StoreCorrupt(f"the journal holds record {record.seq} in the place of record {seq}")
    return record


def load(txn: Transaction, ordinal: int, seq: int | None = None) -> Loaded:
    """Return the state at `seq`, or the newest: the last snapshot up to it, and the records since.

    Raises HistoryPruned when the journal was cut and that record is gone, StoreCorrupt when it is
    empty, has a gap, or ends before `seq`.
    """
    state, snapshot_seq = _snapshot(txn, ordinal, SEQ_MAX if seq is None else seq)
    state, patch_bytes, plan = _fold(txn, ordinal, state, snapshot_seq, seq)
    if plan is None:
        plan = plan_at(txn, ordinal, state.seq)
    return Loaded(state, snapshot_seq, patch_bytes, plan)


def plan_at(txn: Transaction, ordinal: int, seq: int) -> bytes:
    """Return the digest of the graph under which a record was made, b"" without such a record."""
    raw = txn.get(Table.JOURNAL, journal_key(ordinal, seq))
    return b"" if raw is None else decode(seq, raw).plan


def fold(txn: Transaction, ordinal: int, seq: int | None = None) -> ExecutionState:
    """Return the same state as `load` from the records alone, without a snapshot but the one that
    a fork begins with.
    """
    state, after = _snapshot(txn, ordinal, 1)
    if state is not None and state.accepted.forked is None:
        state, after = None, 0
    return _fold(txn, ordinal, state, after, seq)[0]


def snapshot(txn: Transaction, ordinal: int, seq: int) -> ExecutionState | None:
    """Return the snapshot of one record, None when it has none. Raises StoreCorrupt."""
    raw = txn.get(Table.SNAPSHOTS, journal_key(ordinal, seq))
    return None if raw is None else _decode_snapshot(ordinal, seq, raw)


def snapshot_seqs(txn: Transaction, ordinal: int) -> list[int]:
    """Return the seq of each snapshot, in order."""
    start, stop = journal_key(ordinal, 0), journal_key(ordinal + 1, 0)
    found: list[int] = []
    while page := txn.keys(Table.SNAPSHOTS, start, stop, _PAGE):
        found.extend(unpack_journal_key(key)[1] for key in page)
        start = page[-1] + b"\0"
    return found


def unbroken_from(txn: Transaction, ordinal: int) -> int:
    """Return the seq from which on every record is there: 1, or where the journal was cut."""
    start, stop = journal_key(ordinal, 2), journal_key(ordinal + 1, 0)
    while page := txn.keys(Table.SNAPSHOTS, start, stop, _PAGE, reverse=True):
        for key in page:
            seq = unpack_journal_key(key)[1]
            before = journal_key(ordinal, seq - 1)
            if not txn.keys(Table.JOURNAL, before, key, 1):
                return seq
        stop = page[-1]
    return 1


def _fold(
    txn: Transaction, ordinal: int, state: ExecutionState | None, after: int, seq: int | None
) -> tuple[ExecutionState, int, bytes | None]:
    """Apply the records after `after` to `state`; return it, their encoded bytes, and the graph of
    the last of them.
    """
    until = SEQ_MAX if seq is None else seq
    patch_bytes, plan = 0, None
    while page := records(txn, ordinal, after, _PAGE, until):
        for number, raw in page:
            patch_bytes += len(raw)
            record = decode(number, raw)
            if state is None and number == 1:
                state = _beginning(txn, ordinal, record)
            try:
                state, plan = apply(state, record.patch, number), record.plan
            except ValueError as error:
                text = f"the journal of number {ordinal} does not fold: {error}"
                raise StoreCorrupt(text) from error
        after = page[-1][0]
    if state is None or (seq is not None and state.seq != seq):
        if seq is not None and 1 < seq < (oldest := unbroken_from(txn, ordinal)):
            raise HistoryPruned(oldest)
        raise StoreCorrupt(f"the journal of number {ordinal} has no record {seq or 1}")
    return state, patch_bytes, plan


def _beginning(txn: Transaction, ordinal: int, first: JournalRecord) -> ExecutionState | None:
    """Return the state that the first record changes: that of a fork was another execution's."""
    accepted = first.patch.accepted
    if accepted is None or accepted.forked is None:
        return None
    origin = accepted.forked
    try:
        return beginning(load(txn, origin.ordinal, origin.seq).state, accepted)
    except (StoreCorrupt, HistoryPruned) as error:
        text = f"number {ordinal} was forked at record {origin.seq} of {origin.execution_id}"
        raise StoreCorrupt(f"{text}, which cannot be read: {error}") from error


def _snapshot(txn: Transaction, ordinal: int, until: int) -> tuple[ExecutionState | None, int]:
    found = txn.last_at_or_before(Table.SNAPSHOTS, journal_key(ordinal, until))
    if found is None:
        return None, 0
    owner, seq = unpack_journal_key(found[0])
    if owner != ordinal:
        return None, 0
    return _decode_snapshot(ordinal, seq, found[1]), seq


def _decode_snapshot(ordinal: int, seq: int, raw: bytes) -> ExecutionState:
    try:
        state = decode_state(raw)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"snapshot {seq} of number {ordinal} cannot be read: {error}") from error
    if state.seq != seq:
        raise StoreCorrupt(f"snapshot {seq} of number {ordinal} is of record {state.seq}")
    return state
