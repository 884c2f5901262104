"""Events: what is appended to the one durable, totally ordered log, and what a subscriber gets.

The key of an event in the log is its seq, given by the writer in the step's transaction, so
bodies carry none.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from greenroom.protocol.optional_raw import OptionalRaw
from greenroom.protocol.values import decode_value


class EventType(StrEnum):
    """Every type of event."""

    EXECUTION_QUEUED = "execution_queued"
    EXECUTION_WAITING = "execution_waiting"
    EXECUTION_STARTED = "execution_started"
    EXECUTION_COMPLETED = "execution_completed"
    EXECUTION_FAILED = "execution_failed"
    EXECUTION_CANCELLED = "execution_cancelled"
    EXECUTION_TIMED_OUT = "execution_timed_out"
    EXECUTION_EXHAUSTED = "execution_exhausted"
    EXECUTION_HELD = "execution_held"
    EXECUTION_RECOVERED = "execution_recovered"
    EXECUTION_PAUSED = "execution_paused"
    EXECUTION_RESUMED = "execution_resumed"
    EXECUTION_MIGRATED = "execution_migrated"
    EXECUTION_FORKED = "execution_forked"
    NODE_STARTED = "node_started"
    NODE_COMPLETED = "node_completed"
    NODE_FAILED = "node_failed"
    EFFECT_STARTED = "effect_started"
    EFFECT_RECORDED = "effect_recorded"
    EFFECT_NOT_DONE = "effect_not_done"
    OUTCOME_UNKNOWN = "outcome_unknown"
    EDGE_ERROR = "edge_error"
    PARALLEL_STARTED = "parallel_started"
    PARALLEL_JOINED = "parallel_joined"
    BRANCH_FAILED = "branch_failed"
    CLIENT_INPUT_REQUESTED = "client_input_requested"
    QUESTION_ANSWERED = "question_answered"
    QUESTION_EXPIRED = "question_expired"
    QUESTION_CLOSED = "question_closed"
    STATE_CHANGED = "state_changed"
    STATE_CONFLICT = "state_conflict"
    GOAL_PROGRESS = "goal_progress"
    GOAL_ACHIEVED = "goal_achieved"
    CONSTRAINT_VIOLATION = "constraint_violation"
    STREAM_STARTED = "stream_started"
    STREAM_STOPPED = "stream_stopped"
    STREAM_RESTARTED = "stream_restarted"
    STREAM_FAILED = "stream_failed"
    WEBHOOK_RECEIVED = "webhook_received"
    HOP_LIMIT_REACHED = "hop_limit_reached"
    CUSTOM = "custom"


class Reference(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Stands for data over the inline limit: `kind` is "payload" (kept beside the event), "input"
    or "output" (of the event's execution), or "delivery" (the execution's input is the data);
    `size` is its length in encoded bytes.
    """

    kind: str
    size: int


class EventBody(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """An event as stored."""

    type: str
    at: float  # wall UTC seconds
    stream: str | None = None
    execution: str | None = None
    node: str | None = None
    correlation: str | None = None
    data: OptionalRaw = None  # an encoded dict of at most EVENT_DATA_BYTES_MAX bytes
    reference: Reference | None = None  # to further data
    hops: int = 0


class AgentEvent:
    """An event as a subscriber sees it.

    `data` is decoded on first access, in the thread that asks; data over the inline limit is read
    from the store then, and raises StoreClosed once the runtime has stopped. Everything else is
    at hand.
    """

    __slots__ = ("_body", "_data", "_resolve", "seq")

    def __init__(
        self,
        seq: int,
        body: EventBody,
        resolve: "Callable[[int, EventBody], dict[str, Any]] | None" = None,
    ) -> None:
        self.seq = seq
        self._body = body
        self._resolve = resolve
        self._data: dict[str, Any] | None = None

    @property
    def type(self) -> EventType:
        """The event's type."""
        return EventType(self._body.type)

    @property
    def stream_id(self) -> str | None:
        """The stream (entry point, or a webhook route's source_id) that it concerns."""
        return self._body.stream

    @property
    def execution_id(self) -> str | None:
        """The execution that it concerns."""
        return self._body.execution

    @property
    def node_id(self) -> str | None:
        """The node that it concerns."""
        return self._body.node

    @property
    def correlation_id(self) -> str | None:
        """The correlation id of the execution, or of the publisher."""
        return self._body.correlation

    @property
    def hops(self) -> int:
        """How many event-driven starts led to this event."""
        return self._body.hops

    @property
    def timestamp(self) -> datetime:
        """When it was made: aware, UTC."""
        return datetime.fromtimestamp(self._body.at, UTC)

    @property
    def data(self) -> dict[str, Any]:
        """The event's data; `{"ref", "bytes"}` when it is large and the store is not at hand."""
        if self._data is None:
            self._data = self._load()
        return self._data

    def _load(self) -> dict[str, Any]:
        body = self._body
        found: dict[str, Any] = {} if body.data is None else decode_value(body.data)
        if body.reference is None:
            return found
        if self._resolve is not None:
            return self._resolve(self.seq, body) | found
        return {"ref": body.reference.kind, "bytes": body.reference.size} | found

    def to_dict(self) -> dict[str, Any]:
        """Plain data: type as its string, timestamp as ISO 8601."""
        return {
            "seq": self.seq,
            "type": self._body.type,
            "stream_id": self.stream_id,
            "node_id": self.node_id,
            "execution_id": self.execution_id,
            "data": self.data,
            "timestamp": self.timestamp.isoformat(),
            "correlation_id": self.correlation_id,
        }

    def __repr__(self) -> str:
        kind, execution = self._body.type, self._body.execution
        return f"AgentEvent(seq={self.seq}, type={kind!r}, execution_id={execution!r})"
