"""Decisions and problems: stored beside the record of the step that closed their node run."""

from collections.abc import Sequence
from struct import Struct
from typing import Final

import msgspec

from greenroom.protocol.decisions import Note, decode_note
from greenroom.protocol.errors import StoreCorrupt
from greenroom.storage.keys import SEQ_MAX
from greenroom.storage.tables import Table, Transaction

NUMBER_MAX: Final = 2**32 - 1
_key: Final = Struct(">QII")


def put(txn: Transaction, ordinal: int, seq: int, added: Sequence[msgspec.Raw]) -> None:
    """Store what a node run decided and reported, under the record that closes it."""
    for number, raw in enumerate(added, start=1):
        txn.put(Table.DECISIONS, _key.pack(ordinal, seq, number), raw)


def page(
    txn: Transaction, ordinal: int, seq: int, number: int, limit: int, last_seq: int = SEQ_MAX
) -> list[tuple[int, int, Note]]:
    """Return up to `limit` (seq, number, note) of an execution behind (seq, number), in order."""
    start = _key.pack(ordinal, seq, number) + b"\0"
    stop = _key.pack(ordinal, last_seq, NUMBER_MAX) + b"\0"
    found = []
    for key, raw in txn.range(Table.DECISIONS, start, stop, limit):
        _, at, place = _key.unpack(key)
        found.append((at, place, _decode(ordinal, at, raw)))
    return found


def _decode(ordinal: int, seq: int, raw: bytes) -> Note:
    try:
        note: Note = decode_note(raw)
    except msgspec.MsgspecError as error:
        text = f"a note beside record {seq} of number {ordinal} cannot be read: {error}"
        raise StoreCorrupt(text) from error
    return note
