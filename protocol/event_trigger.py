"""Event-driven entry points: which events start an execution, and under which id."""

from typing import Any, Final

from greenroom.protocol.commit import NewEvent
from greenroom.protocol.entry_point import EntryPointSpec, TriggerType
from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.event_filter import EventFilter, event_types
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.limits import HOPS_MAX, ID_CHARS_MAX
from greenroom.protocol.new_event import new_event
from greenroom.protocol.values import payload_digest

CONSUMER_PREFIX: Final = "trigger:"


def trigger_filter(spec: EntryPointSpec) -> EventFilter:
    """Return what starts the entry point: its own events do not, unless it asks for them.

    Raises InvalidConfig for an entry point that is not event-driven, or names no event types.
    """
    where = f"entry point {spec.id!r}: trigger_config['event_types']"
    if spec.trigger is not TriggerType.EVENT:
        raise InvalidConfig(f"entry point {spec.id!r} has the trigger_type {spec.trigger!r}")
    config = spec.trigger_config
    types = event_types(where, config.get("event_types", ()))
    if not types:
        raise InvalidConfig(f"{where} is empty: nothing would ever start it")
    return EventFilter(
        types=types,
        stream=config.get("filter_stream"),
        node=config.get("filter_node"),
        not_stream=None if config.get("include_own_events") else spec.id,
    )


def consumer_name(entry_point: str) -> str:
    """The log consumer of an event-driven entry point."""
    return f"{CONSUMER_PREFIX}{entry_point}"


def event_execution_id(entry_point: str, seq: int) -> str:
    """The id of the execution that event `seq` starts: always the same, so it starts once."""
    wanted = f"event_{seq}_{entry_point}"
    if len(wanted) <= ID_CHARS_MAX:
        return wanted
    return f"event_{seq}_{payload_digest(entry_point.encode()).hex()}"


def over_hop_limit(body: EventBody) -> bool:
    """Whether the chain of event-driven starts behind the event is too long for another one."""
    return body.hops >= HOPS_MAX


def hop_limit_event(entry_point: str, seq: int, body: EventBody, at: float) -> NewEvent | None:
    """The event that says that `seq` started nothing.

    None when `seq` says just that of another entry point: two that listen to such events would
    answer each other for ever.
    """
    if body.type == EventType.HOP_LIMIT_REACHED:
        return None
    details: dict[str, Any] = {
        "entry_point": entry_point,
        "event_seq": seq,
        "event_type": body.type,
        "event_stream": body.stream,
        "hops": body.hops,
        "limit": HOPS_MAX,
    }
    return new_event(
        EventType.HOP_LIMIT_REACHED,
        at,
        stream=entry_point,
        execution=body.execution,
        correlation=body.correlation,
        data=details,
        hops=body.hops,
    )
