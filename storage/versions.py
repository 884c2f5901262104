"""Versions of graphs: what each digest stands for, and who waits at which version.

Of those who wait alone there is an index: a start need not read them to know which versions there
are. What runs or is queued is read by every start anyway, and all others are judged when somebody
takes them up.
"""

import msgspec

from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.versions import PlanVersion, decode_plan_version
from greenroom.storage.keys import NUMBER_MAX, unpack_version_key, version_key
from greenroom.storage.tables import Table, Transaction


def note(txn: Transaction, digest: bytes, description: msgspec.Raw) -> None:
    """Keep what a digest stands for; the first description of it stays."""
    if txn.get(Table.PLANS, digest) is None:
        txn.put(Table.PLANS, digest, description)


def plan(txn: Transaction, digest: bytes) -> PlanVersion | None:
    """Return what a digest stands for, None when that was never noted."""
    raw = txn.get(Table.PLANS, digest) if digest else None
    if raw is None:
        return None
    try:
        found = decode_plan_version(raw)
    except msgspec.MsgspecError as error:
        text = f"what graph {digest.hex()} declares cannot be read: {error}"
        raise StoreCorrupt(text) from error
    if found.digest != digest:
        raise StoreCorrupt(f"graph {found.digest.hex()} stands in the place of {digest.hex()}")
    return found


def enter(txn: Transaction, entry: bytes, ordinal: int, version: bytes) -> None:
    """An execution waits from now on."""
    if version:
        txn.put(Table.VERSIONS, version_key(entry, version, ordinal), b"")


def leave(txn: Transaction, entry: bytes, ordinal: int, version: bytes) -> None:
    """It waits no longer, or at another version."""
    if version:
        txn.delete(Table.VERSIONS, version_key(entry, version, ordinal))


def distinct(txn: Transaction, entry: bytes) -> list[bytes]:
    """Return the versions at which executions of an entry point wait; one seek for each."""
    found: list[bytes] = []
    start, stop = version_key(entry, b"", 0), entry + b"\xff" * 16 + b"\0"
    while page := txn.range(Table.VERSIONS, start, stop, 1):
        version = unpack_version_key(page[0][0])[1]
        found.append(version)
        start = version_key(entry, version, NUMBER_MAX) + b"\0"
    return found


def ordinals(txn: Transaction, entry: bytes, version: bytes, after: int, limit: int) -> list[int]:
    """Return up to `limit` of those who wait at a version, with a higher ordinal, in order."""
    start = version_key(entry, version, after + 1)
    stop = version_key(entry, version, NUMBER_MAX)
    page = txn.keys(Table.VERSIONS, start, stop, limit)
    return [unpack_version_key(key)[2] for key in page]
