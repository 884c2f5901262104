"""The event log: one entry per group of commits, under the seq of its last event, so that any seq
is one seek away.
"""

from typing import Final

import msgspec

from greenroom.protocol.codec import decode_event, decode_events
from greenroom.protocol.errors import EventsPruned, StoreCorrupt
from greenroom.protocol.events import EventBody
from greenroom.storage.keys import KEY_END, NUMBER_MAX, pack_number, unpack_number
from greenroom.storage.records import decode_bodies
from greenroom.storage.tables import Table, Transaction

CHUNK_BYTES: Final = 64 * 1024
_CHUNKS_PAGE: Final = 8
_PAYLOADS_PAGE: Final = 1_000
_WHOLE_FROM: Final = 64  # events wanted from which on a whole chunk is decoded at once


def bodies(raw: bytes) -> list[msgspec.Raw]:
    """Return the encoded bodies of one chunk; raises StoreCorrupt when it is none."""
    try:
        return decode_bodies(raw)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"a chunk of the event log cannot be read: {error}") from error


def bounds(txn: Transaction) -> tuple[int, int]:
    """Return the seq of the oldest event kept and of the last one; (1, 0) for an empty log."""
    last = txn.last_at_or_before(Table.EVENTS, pack_number(NUMBER_MAX))
    if last is None:
        return 1, 0
    key, raw = txn.range(Table.EVENTS, b"", KEY_END, 1)[0]
    return unpack_number(key) - len(bodies(raw)) + 1, unpack_number(last[0])


def read(txn: Transaction, from_seq: int, limit: int) -> list[tuple[int, EventBody]]:
    """Return up to `limit` events from `from_seq` on. Raises EventsPruned when it is gone."""
    found: list[tuple[int, EventBody]] = []
    start = max(from_seq, 1)
    while len(found) < limit:
        page = txn.range(Table.EVENTS, pack_number(start), KEY_END, _CHUNKS_PAGE)
        for key, raw in page:
            if len(found) == limit:
                return found
            left = limit - len(found)
            decoded = _decode_whole(raw) if left >= _WHOLE_FROM else None
            chunk = bodies(raw) if decoded is None else []
            first = unpack_number(key) - len(decoded or chunk) + 1
            if first > start:
                raise EventsPruned(first)
            wanted = slice(start - first, start - first + left)
            events = (
                [_decode(seq, one) for seq, one in enumerate(chunk[wanted], start)]
                if decoded is None
                else decoded[wanted]
            )
            found += enumerate(events, start)
            start += len(events)
        if len(page) < _CHUNKS_PAGE:
            break
    return found


def _decode_whole(raw: bytes) -> list[EventBody] | None:
    """Return the events of a chunk; None when one of them cannot be read, whichever it is."""
    try:
        return decode_events(raw)
    except msgspec.MsgspecError:
        return None


def _decode(seq: int, body: msgspec.Raw) -> EventBody:
    try:
        return decode_event(body)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"event {seq} cannot be read: {error}") from error


def aged(txn: Transaction, moment: float, below: int, chunks_max: int) -> int:
    """Return the seq behind up to `chunks_max` chunks that lie wholly below seq `below` and ended
    before `moment` (wall UTC seconds); 0 when there are none. Reads those, and the next one.
    """
    start, behind = b"", 0
    for _ in range(chunks_max):
        page = txn.range(Table.EVENTS, start, pack_number(below), 1)
        if not page:
            break
        key, raw = page[0]
        last = unpack_number(key)
        if _decode(last, bodies(raw)[-1]).at >= moment:
            break
        start, behind = key + b"\0", last + 1
    return behind


def prune(txn: Transaction, below: int, chunks_max: int) -> tuple[int, int]:
    """Delete up to `chunks_max` chunks that lie wholly below seq `below`, with their payloads.

    Returns the seq of the last event deleted, 0 when nothing was, and how many chunks.
    """
    page = txn.range(Table.EVENTS, b"", pack_number(below), chunks_max)
    for key, _ in page:
        txn.delete(Table.EVENTS, key)
    last = unpack_number(page[-1][0]) if page else 0
    if last:
        start, stop = b"", pack_number(last + 1)
        while txn.delete_range(Table.PAYLOADS, start, stop, _PAYLOADS_PAGE):
            pass
    return last, len(page)
