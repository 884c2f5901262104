"""Verifies the table of concurrency keys, from the executions and from its entries."""

from collections.abc import Iterator

from greenroom.protocol.commit import Summary
from greenroom.protocol.execution import TERMINAL, ExecutionState, Status
from greenroom.storage.concurrency import BEHIND, HAS_IT
from greenroom.storage.keys import (
    KEY_END,
    concurrency_key,
    entry_digest,
    pack_number,
    unpack_concurrency_key,
)
from greenroom.storage.records import unpack_summary
from greenroom.storage.tables import Table, Transaction

_PAGE = 1_000


def of_execution(
    txn: Transaction, ordinal: int, summary: Summary, state: ExecutionState
) -> Iterator[str]:
    """An execution with a key is in the table once until it ends, and whoever runs has its key; so
    does whoever came to where it waits by itself.
    """
    if not summary.concurrency_key or summary.status in TERMINAL:
        return
    entry, name = entry_digest(summary.entry_point), f"execution {summary.execution_id}"
    found = [
        place
        for place in (HAS_IT, BEHIND)
        if txn.get(
            Table.CONCURRENCY, concurrency_key(entry, summary.concurrency_key, place, ordinal)
        )
        is not None
    ]
    if len(found) != 1:
        yield f"{name}: {len(found)} times among the executions of its concurrency key"
    elif found != [HAS_IT] and (
        summary.status is Status.RUNNING
        or (summary.status is Status.WAITING and not state.rewinds and summary.forked is None)
    ):
        yield f"{name}: is {summary.status} without its concurrency key"


def of_table(txn: Transaction) -> Iterator[str]:
    """Every entry is that of an unfinished execution with the key, and a key has one owner."""
    owned = b""
    start = b""
    while page := txn.range(Table.CONCURRENCY, start, KEY_END, _PAGE):
        for key, _ in page:
            prefix, place, ordinal = unpack_concurrency_key(key)
            raw = txn.get(Table.SUMMARIES, pack_number(ordinal))
            summary = None if raw is None else unpack_summary(raw)[1]
            if summary is None or summary.status in TERMINAL or not _is_of(summary, key, place):
                yield f"concurrency: number {ordinal} is no unfinished execution with that key"
            if place == HAS_IT and prefix == owned:
                yield f"concurrency: number {ordinal} shares its key with one that runs"
            owned = prefix if place == HAS_IT else owned
        start = page[-1][0] + b"\0"


def _is_of(summary: Summary, key: bytes, place: int) -> bool:
    entry, ordinal = entry_digest(summary.entry_point), unpack_concurrency_key(key)[2]
    return key == concurrency_key(entry, summary.concurrency_key, place, ordinal)
