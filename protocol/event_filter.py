"""Which events somebody wants: by type, stream, node and execution."""

from collections.abc import Iterable

import msgspec

from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.events import EventBody, EventType


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Wants the events of `types` for which every other given field is equal.

    An empty or absent field means any. `not_stream` excludes the events of one stream.
    """

    types: frozenset[str]
    stream: str | None = None
    node: str | None = None
    execution: str | None = None
    not_stream: str | None = None

    def matches(self, body: EventBody) -> bool:
        """Say whether the event is wanted."""
        return (
            body.type in self.types
            and (not self.stream or body.stream == self.stream)
            and (not self.node or body.node == self.node)
            and (not self.execution or body.execution == self.execution)
            and (self.not_stream is None or body.stream != self.not_stream)
        )


def event_types(where: str, types: str | Iterable[str]) -> frozenset[str]:
    """Return the values of `types`: one event type or several, as members or as plain text.

    Raises InvalidConfig, which begins with `where`, when one is unknown.
    """
    given = [types] if isinstance(types, str) else list(types)
    known = {member.value for member in EventType}
    wrong = sorted({f"{one!a:.60}" for one in given if one not in known})
    if wrong:
        raise InvalidConfig(
            f"{where} has the unknown event types {', '.join(wrong)}: use {', '.join(EventType)}"
        )
    return frozenset(EventType(one).value for one in given)
