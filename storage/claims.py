"""Idempotency claims: who used a key first, until when; found by key and by expiry."""

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import IdempotencyClaim
from greenroom.protocol.errors import StoreCorrupt
from greenroom.storage.keys import (
    KEY_END,
    claim_key,
    expiry_key,
    expiry_stop,
    split_expiry_key,
)
from greenroom.storage.records import ClaimEntry, decode_claim
from greenroom.storage.tables import Table, Transaction


def find(txn: Transaction, namespace: str, key: str) -> ClaimEntry | None:
    """Return the claim of `key`, which may have expired, or None."""
    raw = txn.get(Table.CLAIMS, claim_key(namespace, key))
    if raw is None:
        return None
    entry = decode_claim(raw)
    if entry.key != key or entry.namespace != namespace:
        raise StoreCorrupt(f"the claims hold key {entry.key!r} in the place of {key!r}")
    return entry


def put(txn: Transaction, claim: IdempotencyClaim, execution_id: str) -> int:
    """Store a claim, in the place of one that expired if there is one; return how many entries
    that added.
    """
    old = find(txn, claim.namespace, claim.key)
    key = claim_key(claim.namespace, claim.key)
    if old is not None:
        txn.delete(Table.EXPIRIES, expiry_key(old.expires_at, key))
    entry = ClaimEntry(execution_id, claim.digest, claim.expires_at, claim.namespace, claim.key)
    txn.put(Table.CLAIMS, key, encode(entry))
    txn.put(Table.EXPIRIES, expiry_key(claim.expires_at, key), b"")
    return 1 if old is None else 0


def expire(txn: Transaction, now: float, limit: int) -> int:
    """Delete up to `limit` claims whose time has passed; return how many."""
    return _remove(txn, expiry_stop(now), limit)


def evict(txn: Transaction, count: int) -> int:
    """Delete the `count` claims that expire first; return how many there were."""
    return _remove(txn, KEY_END, count)


def _remove(txn: Transaction, stop: bytes, limit: int) -> int:
    page = txn.range(Table.EXPIRIES, b"", stop, limit)
    for key, _ in page:
        txn.delete(Table.EXPIRIES, key)
        txn.delete(Table.CLAIMS, split_expiry_key(key))
    return len(page)
