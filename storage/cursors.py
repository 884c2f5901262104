"""Positions of log consumers, and the fences of streams: small tables that the writer also keeps
in memory.
"""

from typing import Final

import msgspec

from greenroom.protocol.codec import encode
from greenroom.storage.keys import KEY_END, pack_number, text_key, unpack_number
from greenroom.storage.records import CursorEntry, FenceEntry, decode_cursor, decode_fence
from greenroom.storage.tables import Table, Transaction

# A named subscription that falls behind is told of the gap; only the system's own consumers hold
# the log back.
SUBSCRIPTION_PREFIX: Final = "subscription:"
_PAGE = 256


def cursor(txn: Transaction, consumer: str) -> tuple[int, msgspec.Raw | None]:
    """Return (seq, own record) of a consumer, (0, None) for an unknown one."""
    raw = txn.get(Table.CURSORS, text_key(consumer))
    if raw is None:
        return 0, None
    entry = decode_cursor(raw)
    return entry.seq, None if entry.state is None else entry.state.copy()


def move(txn: Transaction, consumer: str, seq: int, state: msgspec.Raw | None) -> None:
    """Store a consumer's new position; None keeps its own record as it is."""
    if state is None:
        state = cursor(txn, consumer)[1]
    txn.put(Table.CURSORS, text_key(consumer), encode(CursorEntry(consumer, seq, state)))


def all_cursors(txn: Transaction) -> dict[str, int]:
    """Return every consumer's position."""
    found: dict[str, int] = {}
    start = b""
    while page := txn.range(Table.CURSORS, start, KEY_END, _PAGE):
        for _, raw in page:
            entry = decode_cursor(raw)
            found[entry.consumer] = entry.seq
        start = page[-1][0] + b"\0"
    return found


def fence(txn: Transaction, stream: str) -> int:
    """Return the present incarnation of `stream`, 0 when it never had one."""
    raw = txn.get(Table.FENCES, text_key(stream))
    return 0 if raw is None else decode_fence(raw).incarnation


def set_fence(txn: Transaction, stream: str, incarnation: int) -> None:
    """Store the present incarnation of `stream`."""
    txn.put(Table.FENCES, text_key(stream), encode(FenceEntry(stream, incarnation)))


def get_number(txn: Transaction, name: bytes) -> int:
    """Return a number of the store's own, 0 when it was never set."""
    raw = txn.get(Table.META, name)
    return 0 if raw is None else unpack_number(raw)


def set_number(txn: Transaction, name: bytes, value: int) -> None:
    """Store a number of the store's own."""
    txn.put(Table.META, name, pack_number(value))


def drop(txn: Transaction, consumer: str) -> bool:
    """Forget a consumer; say whether it was known."""
    return txn.delete(Table.CURSORS, text_key(consumer))
