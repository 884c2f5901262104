"""What an execution stream receives. Every message crosses as msgpack bytes."""

import msgspec

from greenroom.protocol.budget import Budget
from greenroom.protocol.commit import CommitOutcome, CursorMove, StateKey, StateRead, StateWrite
from greenroom.protocol.effects import EffectRecord
from greenroom.protocol.forked import Forked
from greenroom.protocol.message import Message
from greenroom.protocol.questions import AskedQuestion


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
    concurrency_key: str = ""
    timeout_s: float | None = None  # of the time in which it runs; None: the entry point's
    deadline: float | None = None  # wall UTC seconds
    budget: Budget | None = None
    hops: int = 0
    cursor: CursorMove | None = (
        None  # of the log consumer that sent it: effect and cursor in one commit
    )
    events: tuple[msgspec.Raw, ...] = ()  # encoded EventBody, appended before the execution's own
    fork: Forked | None = None  # where the execution begins, when not at the entry node


class TriggerMany(Message, frozen=True, tag="trigger_many"):
    """Accept all of these executions in one commit, or none; the outcome has a part for each.

    `request` is as in Trigger; those of the triggers themselves are 0.
    """

    request: int
    triggers: tuple[Trigger, ...]


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
    sleep_until: float | None = None  # wall UTC seconds
    error: str | None = None
    error_types: tuple[str, ...] = ()
    retryable: bool = True
    reads: tuple[StateRead, ...] = ()
    writes: tuple[StateWrite, ...] = ()
    updates: tuple[UpdateMade, ...] = ()
    events: tuple[msgspec.Raw, ...] = ()  # encoded EventBody that the node published
    notes: tuple[msgspec.Raw, ...] = ()  # encoded decisions.Note: what it decided and reported
    questions: tuple[AskedQuestion, ...] = ()


class NodeResults(Message, frozen=True, tag="node_results"):
    """Results of node runs that the instance with this incarnation started."""

    incarnation: int
    results: tuple[NodeResult, ...]


class RecordEffect(Message, frozen=True, tag="record_effect"):
    """Asked by a node run: have `record` stand in `slot` of its visit, None withdraws it.

    True after the commit; False when the run counts no more, or the store refused the record.
    """

    incarnation: int
    execution_id: str
    token_id: int
    visit: int
    attempt: int
    slot: str
    record: EffectRecord | None = None


class CancelExecution(Message, frozen=True, tag="cancel_execution"):
    """Asked: True after the commit that cancelled it, False when it is unknown or ended."""

    execution_id: str
    reason: str = "cancelled by the host"


class PauseExecution(Message, frozen=True, tag="pause_execution"):
    """Asked: True after the commit that paused it, False when there is nothing to pause."""

    execution_id: str
    reason: str = ""


class ResumeExecution(Message, frozen=True, tag="resume_execution"):
    """Asked: True after the commit that resumed it, False when it cannot be resumed. With `seq` it
    goes on from where it stood after that record.
    """

    execution_id: str
    memory: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    budget: Budget | None = None
    seq: int = 0


class DeleteExecution(Message, frozen=True, tag="delete_execution"):
    """Asked: True after the commit that deleted it, False when it is unknown or not settled."""

    execution_id: str


class AnswerQuestion(Message, frozen=True, tag="answer_question"):
    """Asked: True after the commit that stored the answer, False when the question is not open."""

    execution_id: str
    number: int
    value: msgspec.Raw  # fits the question's schema
    digest: bytes
    by: str | None = None


class InjectInput(Message, frozen=True, tag="inject_input"):
    """Asked: True after the commit that keeps the input, False when that cannot be done: a question
    of the node is open, or it is not busy, or there is no room, or this request is kept already.
    """

    execution_id: str
    node: str
    value: msgspec.Raw
    request: str


class AtNode(Message, frozen=True, tag="at_node"):
    """Asked: the ids of two executions at most that are in memory, and have not ended the node."""

    node: str


class TimerFired(Message, frozen=True, tag="timer_fired"):
    """Something of the stream's executions may have come due."""


class PermitFreed(Message, frozen=True, tag="permit_freed"):
    """The runtime-wide limit has room again."""


class TurnsGranted(Message, frozen=True, tag="turns_granted"):
    """The node run holds the turns that it waited for; `timed_out` if they did not come in time."""

    incarnation: int
    execution_id: str
    token_id: int
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


class MigrationMade(Message, frozen=True, tag="migration_made"):
    """What the user's migration says of an execution that the instance with this incarnation asked
    about; `reasons` when it says nothing, or failed.
    """

    incarnation: int
    execution_id: str
    nodes: dict[str, str] = msgspec.field(default_factory=dict)
    memory: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    forget: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class StoreBack(Message, frozen=True, tag="store_back"):
    """The store writes again: submit what was unavailable."""


class Drain(Message, frozen=True, tag="drain"):
    """Asked: start no more nodes; answered (True) when none runs and no commit is in flight."""


StreamMessage = (
    CommitAcks
    | Trigger
    | TriggerMany
    | NodeResults
    | RecordEffect
    | CancelExecution
    | PauseExecution
    | ResumeExecution
    | DeleteExecution
    | AnswerQuestion
    | InjectInput
    | AtNode
    | TimerFired
    | PermitFreed
    | TurnsGranted
    | UpdatesReapplied
    | MigrationMade
    | StoreBack
    | Drain
)
