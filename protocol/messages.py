"""The messages that the runtime's own actors exchange. Every one crosses as msgpack bytes.

Who receives what: `StreamMessage` an execution stream, `WriterMessage` the store writer,
`BusMessage` the event bus, `TurnMessage` the state manager, `ConsumerMessage` a log consumer.
"""

import msgspec

from greenroom.protocol.commit import (
    Commit,
    CommitOutcome,
    CursorMove,
    StateKey,
    StateRead,
    StateWrite,
)


class Message(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag_field="kind"
):
    """Root of all of them.

    Here and wherever a step makes structs, `gc=False`: they are trees and never part of a cycle,
    and the garbage collector need not look at them.
    """


# --- to the store writer


class CommitBatch(Message, frozen=True, tag="commit_batch"):
    """Commits of one sender, in order. The outcomes go to `sender` as `CommitAcks`, on its
    control lane.
    """

    sender: str  # address
    commits: tuple[Commit, ...]


class CommitNow(Message, frozen=True, tag="commit_now"):
    """Asked, not told: one commit on its own; the reply is a `CommitOutcome`."""

    commit: Commit


class RaiseFence(Message, frozen=True, tag="raise_fence"):
    """Asked: makes a new incarnation number for the stream (int); older ones are refused from now
    on.
    """

    stream: str


class Barrier(Message, frozen=True, tag="barrier"):
    """Asked: answered (None) when everything told before it is durable or refused."""


class DropCursor(Message, frozen=True, tag="drop_cursor"):
    """Asked: forgets a log consumer that is gone, so that it holds back no pruning (bool)."""

    consumer: str


class StoreProbe(Message, frozen=True, tag="store_probe"):
    """Time to see whether a store that refused writes takes them again."""


WriterMessage = CommitBatch | CommitNow | RaiseFence | Barrier | DropCursor | StoreProbe


# --- to an execution stream


class CommitAcks(Message, frozen=True, tag="commit_acks"):
    """What became of commits. `degraded` says why the store cannot write now, None when it can."""

    outcomes: tuple[CommitOutcome, ...]
    degraded: str | None = None


class Trigger(Message, frozen=True, tag="trigger"):
    """Accept an execution. The outcome is posted to the completion board under `request`, after
    the commit.
    """

    request: int
    execution_id: str
    memory: dict[str, msgspec.Raw]
    correlation_id: str | None = None
    idempotency_namespace: str = ""
    idempotency_key: str | None = None
    idempotency_window_s: float = 0.0
    digest: bytes = b""
    priority: int = 0
    hops: int = 0
    cursor: CursorMove | None = (
        None  # of the log consumer that sent it: effect and cursor in one commit
    )
    events: tuple[msgspec.Raw, ...] = ()  # encoded EventBody, appended before the execution's own


class UpdateMade(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A buffered `update(key, function)`: which registered function, with which extra arguments,
    made the value.
    """

    key: StateKey
    function: str
    arguments: msgspec.Raw


class NodeResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """How a node run ended. `error` None is success. Reads, writes and updates are its buffered
    shared state.
    """

    execution_id: str
    token_id: int
    visit: int
    attempt: int
    latency_ms: int = 0
    outputs: dict[str, msgspec.Raw] = {}
    route: str | None = None
    error: str | None = None
    error_types: tuple[str, ...] = ()
    retryable: bool = True
    reads: tuple[StateRead, ...] = ()
    writes: tuple[StateWrite, ...] = ()
    updates: tuple[UpdateMade, ...] = ()
    events: tuple[msgspec.Raw, ...] = ()  # encoded EventBody that the node published


class NodeResults(Message, frozen=True, tag="node_results"):
    """Results of node runs that the instance with this incarnation started."""

    incarnation: int
    results: tuple[NodeResult, ...]


class CancelExecution(Message, frozen=True, tag="cancel_execution"):
    """Asked: True after the commit that cancelled it, False when it is unknown or ended."""

    execution_id: str
    reason: str = "cancelled by the host"


class PauseExecution(Message, frozen=True, tag="pause_execution"):
    """Asked: True after the commit that paused it, False when there is nothing to pause."""

    execution_id: str
    reason: str = ""


class ResumeExecution(Message, frozen=True, tag="resume_execution"):
    """Asked: True after the commit that resumed it, False when it cannot be resumed."""

    execution_id: str
    memory: dict[str, msgspec.Raw] = {}


class TimerFired(Message, frozen=True, tag="timer_fired"):
    """A token's backoff came due."""

    incarnation: int
    execution_id: str
    token_id: int
    attempt: int


class PermitFreed(Message, frozen=True, tag="permit_freed"):
    """The runtime-wide limit has room again."""


class TurnsGranted(Message, frozen=True, tag="turns_granted"):
    """The execution holds the turns that it waited for; `timed_out` when they did not come in
    time.
    """

    incarnation: int
    execution_id: str
    timed_out: bool = False


class UpdatesReapplied(Message, frozen=True, tag="updates_reapplied"):
    """The updates of a closing step, made again on the newest values; only its commit is tried
    again.

    `error` is set when a function raised.
    """

    incarnation: int
    execution_id: str
    token_id: int
    visit: int
    attempt: int
    reads: tuple[StateRead, ...] = ()
    writes: tuple[StateWrite, ...] = ()
    error: str | None = None
    error_types: tuple[str, ...] = ()


class StoreBack(Message, frozen=True, tag="store_back"):
    """The store writes again: submit what was unavailable."""


class Drain(Message, frozen=True, tag="drain"):
    """Asked: start no more nodes; answered (True) when none runs and no commit is in flight."""


StreamMessage = (
    CommitAcks
    | Trigger
    | NodeResults
    | CancelExecution
    | PauseExecution
    | ResumeExecution
    | TimerFired
    | PermitFreed
    | TurnsGranted
    | UpdatesReapplied
    | StoreBack
    | Drain
)


# --- to the state manager


class TakeTurns(Message, frozen=True, tag="take_turns"):
    """Queue for the turns of all `keys`; answered with `TurnsGranted` to `stream` on its control
    lane.
    """

    stream: str  # address
    incarnation: int
    execution_id: str
    keys: tuple[StateKey, ...]


class ReleaseTurns(Message, frozen=True, tag="release_turns"):
    """Give the execution's turns back, or leave the queues."""

    execution_id: str


class ReleaseStream(Message, frozen=True, tag="release_stream"):
    """Give back the turns of every execution of a stream's older incarnations."""

    stream: str
    incarnation: int


class AwaitTurnFree(Message, frozen=True, tag="await_turn_free"):
    """Asked: answered when nobody else holds or waits for the key's turn (True), or in vain after
    30 s (False).
    """

    key: StateKey
    execution_id: str


TurnMessage = TakeTurns | ReleaseTurns | ReleaseStream | AwaitTurnFree


# --- to the event bus and log consumers


class EventsAppended(Message, frozen=True, tag="events_appended"):
    """The log is durable up to `last`. Sent only to those that wait for it."""

    last: int


class FoldTick(Message, frozen=True, tag="fold_tick"):
    """Time to fold and commit what has gathered."""


class CatchUp(Message, frozen=True, tag="catch_up"):
    """Asked: answered with the seq (int) up to which the log has been read, which is at least as
    far as it was durable when this was asked.
    """


BusMessage = EventsAppended | CatchUp
ConsumerMessage = EventsAppended | FoldTick | CatchUp
