"""Bounds on the parts of a commit, checked before its first put."""

import msgspec

from greenroom.protocol.commit import Commit
from greenroom.protocol.errors import CommitRefused, ValueTooLarge
from greenroom.protocol.limits import (
    CURSOR_STATE_BYTES_MAX,
    EVENT_BODY_BYTES_MAX,
    ID_CHARS_MAX,
    NOTE_BYTES_MAX,
    RECORD_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
    STORE_TEXT_CHARS_MAX,
    VALUE_BYTES_MAX,
    WEBHOOK_BODY_BYTES_MAX,
)


def unfit(commit: Commit) -> CommitRefused | None:
    """Return the error for the first part of `commit` that is over its limit or empty, or None."""
    if len(commit.execution_id) > ID_CHARS_MAX:
        return ValueTooLarge("execution_id", len(commit.execution_id), ID_CHARS_MAX)
    found = _raw("record", commit.record, RECORD_BYTES_MAX)
    if commit.snapshot is not None:
        found = found or _raw("snapshot", commit.snapshot, SNAPSHOT_BYTES_MAX)
    if commit.fork is not None:
        found = found or _raw("beginning of a fork", commit.fork.base, SNAPSHOT_BYTES_MAX)
    for event in commit.events:
        found = found or _raw("event", event.body, EVENT_BODY_BYTES_MAX)
        if event.payload is not None:
            found = found or _raw("event payload", event.payload, WEBHOOK_BODY_BYTES_MAX)
    for note in commit.notes:
        found = found or _raw("note", note, NOTE_BYTES_MAX)
    for write in commit.writes:
        found = found or _text("state key", write.key.key)
        found = found or _text("state scope", write.key.scope + write.key.owner)
        found = found or _raw(f"state {write.key.key[:64]!r}", write.value, VALUE_BYTES_MAX)
    for claim in commit.idempotency:
        found = found or _text("idempotency key", claim.key)
        found = found or _text("idempotency namespace", claim.namespace)
    if commit.cursor is not None:
        found = found or _text("consumer", commit.cursor.consumer)
        found = found or _raw("cursor state", commit.cursor.state, CURSOR_STATE_BYTES_MAX)
    return found


def _raw(path: str, raw: msgspec.Raw | None, limit: int) -> CommitRefused | None:
    if raw is None or len(raw) <= limit:
        return None
    return ValueTooLarge(path, len(raw), limit)


def _text(path: str, text: str) -> CommitRefused | None:
    if not text:
        return CommitRefused(f"the {path} is empty")
    if len(text) > STORE_TEXT_CHARS_MAX:
        return ValueTooLarge(path, len(text), STORE_TEXT_CHARS_MAX)
    return None
