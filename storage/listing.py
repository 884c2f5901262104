"""Listings of executions, newest first: each filter narrows a range of some index, so that a page
costs about what it returns.

Time is looked up by ordinal, which rises with acceptance. `accepted_at` is the wall clock's, which
can be set back: the search allows for CLOCK_STEP_S, and what it finds is then compared exactly.
After a larger step some of what was accepted around it may be missing from a listing by time. So a
bound of time also costs a look at what was accepted within CLOCK_STEP_S beyond it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import Final, NamedTuple

from greenroom.protocol.commit import Summary
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import Status
from greenroom.storage import goals
from greenroom.storage.keys import (
    KEY_END,
    NUMBER_MAX,
    entry_digest,
    pack_number,
    status_key,
    status_prefix,
    unpack_number,
    unpack_status_key,
)
from greenroom.storage.records import unpack_summary
from greenroom.storage.tables import Table, Transaction

CLOCK_STEP_S: Final = 10.0

_LOOK_MAX: Final = 1_000
_LOWEST: Final = b"\0" * 8
_HIGHEST: Final = b"\xff" * 8


class Filters(NamedTuple):
    """Which executions are asked for; None stands for all. since <= accepted_at <= until, wall UTC
    seconds, compared to the microsecond.
    """

    status: Status | None = None
    entry_point: str | None = None
    goal_id: str | None = None
    since: float | None = None
    until: float | None = None


def page(txn: Transaction, filters: Filters, below: int, limit: int) -> list[tuple[int, Summary]]:
    """Return up to `limit` (ordinal, summary) with a lower ordinal than `below`, newest first."""
    found: list[tuple[int, Summary]] = []
    for first, end in _spans(txn, filters, below):
        wanted = limit - len(found)
        while len(found) < limit and first < end:
            candidates = _newest(txn, filters, first, end, wanted)
            found.extend(one for one in candidates if _fits(one[1], filters))
            if len(candidates) < wanted:
                break
            end = candidates[-1][0]
            wanted = max(wanted, min(2 * wanted, _LOOK_MAX))  # a burst around a bound of time
        if len(found) >= limit:
            break
    return found[:limit]


def entries_of(txn: Transaction, status: Status) -> list[bytes]:
    """Return the entry points that have executions of that status, as digests: one seek each."""
    found: list[bytes] = []
    prefix = status_prefix(status)
    start = prefix + _LOWEST
    stop = prefix + b"\xff" * 17
    while entries := txn.range(Table.STATUSES, start, stop, 1):
        entry = unpack_status_key(entries[0][0])[1]
        found.append(entry)
        start = prefix + entry + _HIGHEST + b"\0"
    return found


def summary_at(txn: Transaction, ordinal: int) -> Summary:
    """Return the summary of an execution that an index names. Raises StoreCorrupt without one."""
    raw = txn.get(Table.SUMMARIES, pack_number(ordinal))
    if raw is None:
        raise StoreCorrupt(f"execution number {ordinal} is indexed, without a summary")
    return unpack_summary(raw)[1]


def _spans(txn: Transaction, filters: Filters, below: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of ordinals that may hold what is asked for, newest first."""
    low, high = 0, below
    if filters.since is not None:
        low = _first_accepted(txn, filters.since - CLOCK_STEP_S)
    if filters.until is not None:
        high = min(high, _first_accepted(txn, filters.until + CLOCK_STEP_S))
    if filters.goal_id is None:
        yield low, high
    else:
        yield from goals.runs(txn, filters.goal_id, low, high)


def _first_accepted(txn: Transaction, moment: float) -> int:
    """Return an ordinal: executions from it on were accepted at `moment` or later, those before it
    earlier, as far as the clock went forward.
    """
    last = txn.last_at_or_before(Table.SUMMARIES, pack_number(NUMBER_MAX))
    low, high = 0, 0 if last is None else unpack_number(last[0]) + 1
    while low < high:
        middle = (low + high) // 2
        key, raw = txn.range(Table.SUMMARIES, pack_number(middle), KEY_END, 1)[0]
        if unpack_summary(raw)[1].accepted_at >= moment:
            high = middle
        else:
            low = unpack_number(key) + 1
    return low


def _newest(
    txn: Transaction, filters: Filters, first: int, end: int, limit: int
) -> list[tuple[int, Summary]]:
    """Return up to `limit` of those with first <= ordinal < end that the index of status and entry
    point names.
    """
    status, entry_point = filters.status, filters.entry_point
    if status is None and entry_point is None:
        start, stop = pack_number(first), pack_number(end)
        entries = txn.range(Table.SUMMARIES, start, stop, limit, reverse=True)
        return [(unpack_number(key), unpack_summary(raw)[1]) for key, raw in entries]
    ranges = []
    for one in Status if status is None else (status,):
        digests = entries_of(txn, one) if entry_point is None else [entry_digest(entry_point)]
        for digest in digests:
            start, stop = status_key(one, digest, first), status_key(one, digest, end)
            entries = txn.range(Table.STATUSES, start, stop, limit, reverse=True)
            ranges.append([unpack_status_key(key)[2] for key, _ in entries])
    newest = islice(merge(*ranges, reverse=True), limit)
    return [(ordinal, summary_at(txn, ordinal)) for ordinal in newest]


def _fits(summary: Summary, filters: Filters) -> bool:
    """Compare exactly what the indexes hold as digests, or nearly."""
    if filters.entry_point not in (None, summary.entry_point):
        return False
    if filters.since is None and filters.until is None:
        return True
    accepted_at = _as_shown(summary.accepted_at)
    since, until = filters.since, filters.until
    return (since is None or _as_shown(since) <= accepted_at) and (
        until is None or accepted_at <= _as_shown(until)
    )


def _as_shown(seconds: float) -> float:
    """Round as a datetime does: whoever asks with a time that was shown means that execution."""
    return datetime.fromtimestamp(seconds, UTC).timestamp()
