"""Data of events that is not in the log itself, read from the store when somebody looks at it."""

from typing import Any

from greenroom.protocol.events import AgentEvent, EventBody
from greenroom.protocol.values import decode_value
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store


class EventData:
    """Makes events of what the log holds and finds the data that they only refer to. Any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def event(self, seq: int, body: EventBody) -> AgentEvent:
        """Return the event as a subscriber gets it, with nothing shared between two of them."""
        return AgentEvent(seq, body, self.resolve)

    def resolve(self, seq: int, body: EventBody) -> dict[str, Any]:
        """Return the data that `body` refers to: {} when it has been pruned meanwhile.

        Raises StoreClosed once the runtime has stopped.
        """
        reference = body.reference
        if reference is None:
            return {}
        if reference.kind == "payload":
            return self._payload(seq)
        memory = self._memory(body.execution, final=reference.kind == "output")
        if memory is None or reference.kind == "delivery":
            return memory or {}
        return {reference.kind: memory}

    def _payload(self, seq: int) -> dict[str, Any]:
        raw = self._store.read(lambda reader: reader.event_payload(seq))
        found: dict[str, Any] = {} if raw is None else decode_value(raw)
        return found

    def _memory(self, execution_id: str | None, *, final: bool) -> dict[str, Any] | None:
        if execution_id is None:
            return None

        def load(reader: Reader) -> dict[str, bytes] | None:
            stored = reader.execution(execution_id)
            if stored is None:
                return None
            if final:
                memory = reader.load_state(stored.ordinal).memory
            else:
                first = reader.journal(stored.ordinal, limit=1)[0].patch
                memory = first.memory
                if first.accepted is not None and first.accepted.forked is not None:
                    memory = reader.load_state(stored.ordinal, 1).memory
            return {key: bytes(raw) for key, raw in memory.items()}

        found = self._store.read(load)
        return None if found is None else {key: decode_value(raw) for key, raw in found.items()}
