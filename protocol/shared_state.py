"""Shared state: which keys there can be, and the events that tell of its changes."""

from collections.abc import Callable, Sequence

import msgspec

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import NewEvent, StateKey, StateWrite
from greenroom.protocol.errors import InvalidValue, ValueTooLarge
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.limits import (
    STATE_CHANGED_EVENTS_MAX,
    STATE_CHANGED_VALUE_BYTES_MAX,
    STATE_KEY_CHARS_MAX,
)

_SHOWN_CHARS_MAX = 256  # of a key inside an event


def check_key(key: object) -> str:
    """Return `key` if it can name a value of memory or shared state.

    Raises InvalidValue unless it is a str that is not empty and can be encoded, ValueTooLarge when
    it has more than STATE_KEY_CHARS_MAX characters.
    """
    if not isinstance(key, str) or not key:
        raise InvalidValue("$", f"the key {key!a:.60} must be a str, not empty")
    text = str.__str__(key)
    if len(text) > STATE_KEY_CHARS_MAX:
        raise ValueTooLarge(f"key {text[:32]!a}...", len(text), STATE_KEY_CHARS_MAX)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidValue("$", f"the key {text!a:.60} has a lone surrogate") from None
    return text


Previous = Callable[[StateKey], msgspec.Raw | None]


def state_changed_events(
    writes: Sequence[StateWrite],
    at: float,
    previous: Previous,
    *,
    stream: str | None = None,
    execution: str | None = None,
    node: str | None = None,
    correlation: str | None = None,
    hops: int = 0,
) -> tuple[NewEvent, ...]:
    """Return the state_changed events of one commit's writes; `at` is wall UTC seconds.

    The data is {"scope", "owner", "key", "old_value", "new_value"}; None stands for a key that is
    not there. `previous` gives the encoded value before, as the maker of the commit knows it. A
    value of more than 256 encoded bytes is left out, and "old_bytes" or "new_bytes" has its size.
    There are at most 100 events; the last of them then says in "more" how many other keys changed.
    """
    shown = writes[:STATE_CHANGED_EVENTS_MAX]
    more = len(writes) - len(shown)
    events = []
    for at_index, write in enumerate(shown):
        data = _data(write, previous(write.key))
        if more and at_index == len(shown) - 1:
            data["more"] = more
        body = EventBody(
            type=EventType.STATE_CHANGED.value,
            at=at,
            stream=stream,
            execution=execution,
            node=node,
            correlation=correlation,
            data=msgspec.Raw(encode(data)),
            hops=hops,
        )
        events.append(NewEvent(msgspec.Raw(encode(body))))
    return tuple(events)


def _data(write: StateWrite, old: msgspec.Raw | None) -> dict[str, object]:
    key = write.key
    data: dict[str, object] = {
        "scope": key.scope,
        "owner": key.owner,
        "key": key.key[:_SHOWN_CHARS_MAX],
    }
    for name, value in (("old", old), ("new", write.value)):
        size = 0 if value is None else len(memoryview(value))
        if size <= STATE_CHANGED_VALUE_BYTES_MAX:
            data[f"{name}_value"] = value  # encoded already: goes in as it is
        else:
            data[f"{name}_bytes"] = size
    return data
