"""An execution's journal, checked from its first record to its last: every record follows the one
before it, or stands on a snapshot behind a part that was cut out.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.patch import apply
from greenroom.storage import journal, notes
from greenroom.storage.tables import Transaction

_PAGE = 256


class Followed(NamedTuple):
    """What a whole journal comes to."""

    state: ExecutionState
    cut: bool  # parts of it are gone
    problems: list[str]


def follow(txn: Transaction, ordinal: int) -> Followed:
    """Fold a journal, and compare it with each of its snapshots on the way.

    Raises StoreCorrupt when it has no first record, or one that nothing leads to.
    """
    state = journal.load(txn, ordinal, 1).state
    problems: list[str] = []
    cut = False
    snapshots = iter(journal.snapshot_seqs(txn, ordinal))
    next_snapshot = next(snapshots, 0)
    after = 1
    if next_snapshot == 1:
        next_snapshot = next(snapshots, 0)
    while page := journal.records(txn, ordinal, after, _PAGE):
        for seq, raw in page:
            while next_snapshot and next_snapshot < seq:
                problems.append(f"snapshot {next_snapshot} is of no record")
                next_snapshot = next(snapshots, 0)
            held = journal.snapshot(txn, ordinal, seq) if next_snapshot == seq else None
            if seq > state.seq + 1 and held is not None:
                cut, state = True, held
            else:
                state = _applied(ordinal, state, seq, raw)
                if held is not None and held != state:
                    problems.append(f"snapshot {seq} is not what its journal folds to")
            if held is not None:
                next_snapshot = next(snapshots, 0)
            after = seq
    if next_snapshot:
        problems.append(f"snapshot {next_snapshot} is of no record")
    return Followed(state, cut, problems)


def beside(txn: Transaction, ordinal: int) -> Iterator[str]:
    """Beside each record lie as many decisions and problems as it counts, and none elsewhere."""
    found: Counter[int] = Counter()
    seq = number = 0
    while page := notes.page(txn, ordinal, seq, number, _PAGE):
        found.update(one[0] for one in page)
        seq, number, _ = page[-1]
    after = 0
    while records := journal.records(txn, ordinal, after, _PAGE):
        for after, raw in records:
            counted = journal.decode(after, raw).notes
            if found.pop(after, 0) != counted:
                yield f"record {after} counts {counted} decisions and problems"
    for seq in found:
        yield f"decisions lie beside record {seq}, which there is not"


def _applied(ordinal: int, state: ExecutionState, seq: int, raw: bytes) -> ExecutionState:
    try:
        return apply(state, journal.decode(seq, raw).patch, seq)
    except ValueError as error:
        text = f"the journal of number {ordinal} does not fold: {error}"
        raise StoreCorrupt(text) from error
