"""Shared state: values with the number of the commit that wrote them, and each scope's newest
number.
"""

from collections.abc import Sequence

import msgspec

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import StateKey, StateRead, StateWrite
from greenroom.protocol.errors import StoreCorrupt
from greenroom.storage.keys import scope_key, state_key
from greenroom.storage.records import (
    ScopeEntry,
    StateEntry,
    decode_scope_entry,
    decode_state_entry,
)
from greenroom.storage.tables import Table, Transaction

_PAGE = 256


def get(txn: Transaction, key: StateKey) -> tuple[msgspec.Raw | None, int]:
    """Return (encoded value, version): None for a key that was deleted, version 0 for one never
    written.
    """
    entry = _entry(txn, key)
    if entry is None:
        return None, 0
    return (entry.value.copy() if entry.live else None), entry.version


def version(txn: Transaction, key: StateKey) -> int:
    """Return the version of a key, or of the whole scope when `key.key` is empty; 0 when never
    written.
    """
    if key.key:
        entry = _entry(txn, key)
        return 0 if entry is None else entry.version
    raw = txn.get(Table.STATE, state_key(key))
    return 0 if raw is None else decode_scope_entry(raw).version


def scope(
    txn: Transaction, scope_name: str, owner: str
) -> tuple[list[tuple[str, msgspec.Raw, int]], int]:
    """Return every live (key, encoded value, version) of a scope, and the version of the scope
    itself.
    """
    prefix = scope_key(scope_name, owner)
    start, stop = prefix + b"\0", prefix + b"\xff"
    found: list[tuple[str, msgspec.Raw, int]] = []
    while page := txn.range(Table.STATE, start, stop, _PAGE):
        for _, raw in page:
            entry = decode_state_entry(raw)
            if entry.live:
                found.append((entry.key, entry.value.copy(), entry.version))
        start = page[-1][0] + b"\0"
    return found, version(txn, StateKey(scope_name, owner, ""))


def stale(txn: Transaction, reads: Sequence[StateRead]) -> tuple[StateKey, ...]:
    """Return the keys whose version is no longer the one that was read."""
    return tuple(one.key for one in reads if version(txn, one.key) != one.version)


def write(txn: Transaction, writes: Sequence[StateWrite], number: int) -> None:
    """Store `writes` with version `number`, and mark their scopes."""
    scopes: dict[bytes, StateKey] = {}
    for one in writes:
        key = one.key
        scopes[scope_key(key.scope, key.owner)] = key
        if one.value is None:
            entry = StateEntry(number, key.key, False)
        else:
            entry = StateEntry(number, key.key, True, one.value)
        txn.put(Table.STATE, state_key(key), encode(entry))
    for prefix, key in scopes.items():
        txn.put(Table.STATE, prefix, encode(ScopeEntry(number, key.scope, key.owner)))


def _entry(txn: Transaction, key: StateKey) -> StateEntry | None:
    raw = txn.get(Table.STATE, state_key(key))
    if raw is None:
        return None
    entry = decode_state_entry(raw)
    if entry.key != key.key:
        raise StoreCorrupt(f"shared state holds key {entry.key!r} in the place of {key.key!r}")
    return entry
