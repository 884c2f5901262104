"""For which goal executions were accepted: not an entry for each, but one where the goal changes.

A runtime has one goal and the store to itself, so the executions of one goal are neighbours in
order of acceptance: a *run* of ordinals, which lasts until the next run begins. An entry for each
execution would cost every acceptance a put, and could not be combined with the other indexes; runs
cost nothing in between, and are bounds for a search in any index that ends in the ordinal.
"""

from collections.abc import Iterator

from greenroom.protocol.errors import StoreCorrupt
from greenroom.storage.keys import (
    NUMBER_MAX,
    RUNS_END,
    RUNS_START,
    goal_key,
    pack_number,
    run_key,
    unpack_number,
)
from greenroom.storage.tables import Table, Transaction


def newest(txn: Transaction) -> str:
    """Return the goal of the newest run, "" when there is none."""
    page = txn.range(Table.GOALS, RUNS_START, RUNS_END, 1, reverse=True)
    return page[0][1].decode() if page else ""


def begin(txn: Transaction, goal_id: str, first: int) -> None:
    """Executions from ordinal `first` on are of that goal."""
    page = txn.range(Table.GOALS, RUNS_START, RUNS_END, 1, reverse=True)
    if page:
        _forget_empty(txn, unpack_number(page[0][0][1:]), page[0][1].decode(), first)
    txn.put(Table.GOALS, run_key(first), goal_id.encode())
    txn.put(Table.GOALS, goal_key(goal_id, first), b"")


def left(txn: Transaction, ordinal: int) -> None:
    """Forget the run of an execution that was dropped, if no other is left in it. The newest run
    stays: the next execution may belong to it.
    """
    found = txn.last_at_or_before(Table.GOALS, run_key(ordinal))
    if found is None or not found[0].startswith(RUNS_START):
        raise StoreCorrupt(f"execution number {ordinal} has no goal")
    first = unpack_number(found[0][1:])
    stop = _stop(txn, first)
    if stop < NUMBER_MAX:
        _forget_empty(txn, first, found[1].decode(), stop)


def runs(txn: Transaction, goal_id: str, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of low <= ordinal < high that were accepted for that goal, newest first, as
    (first, end). Costs a few seeks for each.
    """
    top = goal_key(goal_id, min(high, NUMBER_MAX))
    while page := txn.range(Table.GOALS, goal_key(goal_id, 0), top, 1, reverse=True):
        top = page[0][0]
        first = unpack_number(top[-8:])
        if txn.get(Table.GOALS, run_key(first)) == goal_id.encode():  # digests may collide
            end = min(_stop(txn, first), high)
            if max(first, low) < end:
                yield max(first, low), end
        if first <= low:
            return


def _stop(txn: Transaction, first: int) -> int:
    """Return the ordinal at which the next run begins, above every ordinal when there is none."""
    page = txn.range(Table.GOALS, run_key(first) + b"\0", RUNS_END, 1)
    return unpack_number(page[0][0][1:]) if page else NUMBER_MAX


def _forget_empty(txn: Transaction, first: int, goal_id: str, stop: int) -> None:
    if not txn.range(Table.SUMMARIES, pack_number(first), pack_number(stop), 1):
        txn.delete(Table.GOALS, run_key(first))
        txn.delete(Table.GOALS, goal_key(goal_id, first))
