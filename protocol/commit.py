"""What travels between a stream and the store's writer: commits and their outcomes.

A commit is all or nothing: it is checked whole (fence, commit id, expected seq, read versions,
idempotency, sizes) before its first put. Parts that are encoded already (journal record, events,
values) travel as `msgspec.Raw`.
"""

from enum import StrEnum

import msgspec

from greenroom.protocol.checkpoints import Naming
from greenroom.protocol.execution import Status
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.protocol.optional_raw import OptionalRaw
from greenroom.protocol.questions import QuestionChange
from greenroom.protocol.timers import TimerMove


class StateKey(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A key of shared state. `owner` is the stream's id for scope "stream", "" for scope
    "global".
    """

    scope: str
    owner: str
    key: str


class StateRead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a step read: the version it saw; 0 means the key had never been written.

    `key` "" stands for the whole scope (read_all): its version is that of the scope's newest
    write.
    """

    key: StateKey
    version: int


class StateWrite(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A write to shared state; value None deletes the key and leaves a tombstone with the new
    version.
    """

    key: StateKey
    value: OptionalRaw = None


class IdempotencyClaim(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Claims `key` in `namespace` for this execution until `expires_at` (wall UTC seconds).

    A claim that stands already answers `duplicate` with the first execution's id when the digests
    are equal or `digest` is empty, and `idempotency_conflict` otherwise.
    """

    namespace: str
    key: str
    digest: bytes
    expires_at: float


class NewEvent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An event to append: `body` is an encoded `events.EventBody`; `payload` is kept beside it,
    read by seq.
    """

    body: msgspec.Raw
    payload: OptionalRaw = None


class CursorMove(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Moves a log consumer's cursor from `expected` to `seq`, with `state` as its own record
    (None keeps it).

    Refused with `version_conflict` when the cursor is not at `expected`.
    """

    consumer: str
    expected: int
    seq: int
    state: OptionalRaw = None


class Summary(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What a listing shows of an execution; written at accept, whenever the status changes, and
    when it moves to another version of its graph.
    """

    execution_id: str
    entry_point: str
    goal_id: str
    correlation_id: str
    status: Status
    accepted_at: float  # wall UTC seconds
    updated_at: float
    queue_key: float = 0.0  # accepted_at - priority x 60 s: order among queued, ageing for free
    error: str | None = None
    concurrency_key: str = ""  # of executions of its entry point with the same, one runs at a time
    takes_key: bool = False  # it has begun by this commit, and keeps its key until it ends
    forked: Forked | None = None  # where it came from, when it is a fork
    version: bytes = b""  # digest of the graph at which it stands, while it is queued or waits
    unfit: bool = False  # it is held because it does not fit the graph


class Commit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One transaction's worth of change.

    With `record`: one step of an execution. `ordinal` 0 accepts a new execution (expected_seq 0)
    and the writer assigns the ordinal. With `delete`: a settled execution leaves the store. With
    `naming` alone: its checkpoints. With none: events, state writes or a cursor move on their own.
    """

    commit_id: int  # the sender's own number; comes back in the outcome
    stream: str
    incarnation: int  # the fence: refused when a newer one was raised
    execution_id: str = ""
    ordinal: int = 0
    expected_seq: int = 0
    record: OptionalRaw = None  # encoded patch.JournalRecord with seq expected_seq + 1
    summary: Summary | None = None  # present when the status changes, or the graph's version
    snapshot: OptionalRaw = None  # encoded execution.ExecutionState at seq expected_seq + 1
    events: tuple[NewEvent, ...] = ()
    idempotency: tuple[IdempotencyClaim, ...] = ()
    reads: tuple[StateRead, ...] = ()
    writes: tuple[StateWrite, ...] = ()
    cursor: CursorMove | None = None
    notes: tuple[msgspec.Raw, ...] = ()  # encoded decisions.Note, with a record that counts them
    timer: TimerMove | None = None  # of the execution, when the time at which it comes due changes
    accepts: tuple["Commit", ...] = ()  # acceptances, all or none of them; nothing else then
    delete: bool = False
    naming: Naming | None = None  # checkpoints: of the record, or, without one, of earlier records
    questions: tuple[QuestionChange, ...] = ()  # of the execution of `record`
    fork: ForkChange | None = None  # of the execution of `record`


class OutcomeKind(StrEnum):
    """What became of a commit."""

    APPLIED = "applied"  # durable now, or by an earlier submission of the same commit
    DUPLICATE = "duplicate"  # an idempotency claim stands already; nothing was stored
    CONFLICT = "conflict"  # read versions are stale (`stale` lists the keys); nothing was stored
    REFUSED = "refused"  # this commit can never be applied (`code`, `text`); nothing was stored
    UNAVAILABLE = "unavailable"  # the store cannot write now; submit again later


class CommitOutcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The writer's answer to one commit."""

    commit_id: int
    kind: OutcomeKind
    execution_id: str = ""
    ordinal: int = 0
    first_event: int = 0  # seq of the first of its events, 0 when it had none
    state_version: int = 0  # version its state writes got, 0 when it had none
    duplicate_of: str = ""
    stale: tuple[StateKey, ...] = ()
    parts: tuple["CommitOutcome", ...] = ()  # of `accepts`, in their order, when it was applied
    code: str = ""  # an error's `code` from protocol.errors
    text: str = ""
