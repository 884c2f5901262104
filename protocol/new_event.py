"""Making an event that a user or a system actor publishes on its own."""

from typing import Any

import msgspec

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import NewEvent
from greenroom.protocol.errors import InvalidValue
from greenroom.protocol.event_filter import event_types
from greenroom.protocol.events import EventBody, Reference
from greenroom.protocol.limits import EVENT_DATA_BYTES_MAX
from greenroom.protocol.values import encode_value


def new_event(
    kind: str,
    at: float,
    *,
    stream: str | None = None,
    node: str | None = None,
    execution: str | None = None,
    correlation: str | None = None,
    data: dict[str, Any] | None = None,
    hops: int = 0,
) -> NewEvent:
    """Return an event for a commit; `at` is wall UTC seconds.

    Data over EVENT_DATA_BYTES_MAX is kept beside the event, which then refers to it. Raises
    InvalidConfig for an unknown type, InvalidValue or ValueTooLarge for data that cannot be stored.
    """
    (value,) = event_types("an event", kind)
    inline = payload = reference = None
    if data is not None and not isinstance(data, dict):
        raise InvalidValue("$.data", f"an event's data must be a dict, not {type(data).__name__}")
    if data:
        raw = msgspec.Raw(encode_value(data, "$.data"))
        if len(raw) <= EVENT_DATA_BYTES_MAX:
            inline = raw
        else:
            payload, reference = raw, Reference("payload", len(raw))
    body = EventBody(
        type=value,
        at=at,
        stream=stream,
        node=node,
        execution=execution,
        correlation=correlation,
        data=inline,
        reference=reference,
        hops=hops,
    )
    return NewEvent(msgspec.Raw(encode(body)), payload)
