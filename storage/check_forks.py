"""Verifies forks: each can be read, on its own or through the execution that it came from, and
began as that one stood.
"""

from collections.abc import Iterator

from greenroom.protocol.beginnings import beginning
from greenroom.protocol.commit import Summary
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.patch import apply
from greenroom.storage import forks, journal
from greenroom.storage.keys import KEY_END, journal_key, pack_number, unpack_fork_key
from greenroom.storage.records import unpack_summary
from greenroom.storage.tables import Table, Transaction

_PAGE = 1_000


def of_execution(
    txn: Transaction, ordinal: int, summary: Summary, state: ExecutionState
) -> Iterator[str]:
    """A fork is read through its parent or has its own beginning, which is what the parent was."""
    origin, name = summary.forked, f"execution {summary.execution_id}"
    if origin != state.accepted.forked:
        yield f"{name}: was forked from another execution by its journal than by its summary"
        return
    if origin is None:
        return
    refers = forks.is_reference(txn, ordinal, origin)
    own = txn.get(Table.SNAPSHOTS, journal_key(ordinal, forks.FIRST)) is not None
    if refers == own:
        where = "both on its own and" if own else "neither on its own nor"
        yield f"{name}: its beginning is read {where} through {origin.execution_id}"
    if not own or txn.get(Table.SUMMARIES, pack_number(origin.ordinal)) is None:
        return
    try:
        parent = journal.load(txn, origin.ordinal, origin.seq).state
    except (StoreCorrupt, HistoryPruned):
        return  # what is wrong with the parent is told of the parent, and the fork needs it no more
    patch = journal.decode(1, journal.records(txn, ordinal, 0, 1)[0][1]).patch
    if apply(beginning(parent, state.accepted), patch, 1) != journal.load(txn, ordinal, 1).state:
        yield f"{name}: did not begin as record {origin.seq} left {origin.execution_id}"


def of_table(txn: Transaction) -> Iterator[str]:
    """Each entry is of a fork from that position, which is still there."""
    start = b""
    while page := txn.range(Table.FORKS, start, KEY_END, _PAGE):
        for key, _ in page:
            parent, seq, ordinal = unpack_fork_key(key)
            raw = txn.get(Table.SUMMARIES, pack_number(ordinal))
            origin = None if raw is None else unpack_summary(raw)[1].forked
            if origin is None or (origin.ordinal, origin.seq) != (parent, seq):
                yield f"forks: number {ordinal} was not forked at record {seq} of number {parent}"
            elif txn.get(Table.JOURNAL, journal_key(parent, seq)) is None:
                yield f"forks: number {ordinal} is read through record {seq} of number {parent}"
        start = page[-1][0] + b"\0"
