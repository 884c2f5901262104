"""What may happen to an execution. Ticks stay in the process: the journal stores their outcome."""

from collections.abc import Callable

import msgspec

from greenroom.protocol.budget import Budget
from greenroom.protocol.effects import EffectChange
from greenroom.protocol.execution import Accepted, ExecutionState
from greenroom.protocol.questions import AskedQuestion, QuestionRecord

Fits = Callable[[msgspec.Raw, msgspec.Raw], bool]
"""Says whether an encoded value fits an encoded JSON Schema, given first."""


class Accept(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A new execution, with its input as the first `memory`.

    With `permit` the first node is dispatched at once, else the execution is queued.
    """

    accepted: Accepted
    memory: dict[str, msgspec.Raw]
    permit: bool
    budget: Budget | None = None


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """A permit was granted: everything of the execution that is ready goes on."""


class Due(msgspec.Struct, frozen=True, gc=False):
    """The time has come that `due_at` gave: whatever is due now happens.

    With `permit` the next node is dispatched at once, else the execution queues for one.
    """

    permit: bool


class NodeSucceeded(msgspec.Struct, frozen=True, gc=False):
    """A node run returned. `outputs` are encoded values; `route` is a router's own choice;
    `sleep_until` (wall UTC seconds) is when the execution is to go on, None for at once.
    `questions` are those that it asked.
    """

    token_id: int
    visit: int
    attempt: int
    outputs: dict[str, msgspec.Raw]
    latency_ms: int
    route: str | None = None
    sleep_until: float | None = None
    questions: tuple[AskedQuestion, ...] = ()
    fits: Fits | None = None  # with questions: whether what was kept for the node answers them


class NodeErrored(msgspec.Struct, frozen=True, gc=False):
    """A node run failed. `error_types` are what `retry_on` may name: class names over the MRO, and
    error codes.
    """

    token_id: int
    visit: int
    attempt: int
    error: str
    error_types: tuple[str, ...]
    latency_ms: int
    retryable: bool = True


class Progressed(msgspec.Struct, frozen=True, gc=False):
    """A node run began or ended effects, whose records change accordingly, in this order."""

    token_id: int
    visit: int
    attempt: int
    changes: tuple[EffectChange, ...]


class Conflicted(msgspec.Struct, frozen=True, gc=False):
    """The closing step of a `synchronized` node run lost its race for `keys`; nothing of it was
    stored.
    """

    token_id: int
    visit: int
    attempt: int
    keys: tuple[str, ...]


class Recover(msgspec.Struct, frozen=True, gc=False):
    """The owner is new and nothing of the execution runs any more.

    `process_death` counts the end of the owner against the nodes that were in flight.
    """

    process_death: bool
    permit: bool


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Someone asked for the end of the execution."""

    reason: str = ""


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Someone asked for a pause: a node in flight is stopped, and runs again on resume."""

    reason: str = ""


class Resume(msgspec.Struct, frozen=True, gc=False):
    """Someone asked to go on, from a pause, a failure or a hold; `memory` is new input, `budget`
    takes the place of the one that there was. `asked` holds the questions that a failure closed.
    """

    memory: dict[str, msgspec.Raw] = {}
    budget: Budget | None = None
    asked: dict[int, QuestionRecord] = {}


class Answer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A person answered question `number`; the value fits its schema, and `digest` is its own.

    With `permit` the execution runs on at once when nothing else is open, else it queues.
    """

    number: int
    value: msgspec.Raw
    digest: bytes
    by: str | None
    permit: bool


class Inject(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Input came for a node that may be busy; `request` tells one input from another."""

    node: str
    value: msgspec.Raw
    request: str


class Rewind(msgspec.Struct, frozen=True, gc=False):
    """Someone asked to go on from an earlier position: `target` is the state there, and is only
    read; `memory` is new input. `asked` holds the questions that were open there, by number.
    """

    target: ExecutionState
    memory: dict[str, msgspec.Raw] = {}
    asked: dict[int, QuestionRecord] = {}
    budget: Budget | None = None  # in place of the one that it has


class Fork(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A new execution that begins where another one stood. `base` is the state that its journal
    folds over (`beginnings.beginning`), and is only read; `memory` is new input. `asked` holds the
    questions that were open there, each with the id of its token. `failed` says that it had failed
    there, so that branches that had are to go on.
    """

    base: ExecutionState
    memory: dict[str, msgspec.Raw] = {}
    asked: tuple[tuple[int, QuestionRecord], ...] = ()
    budget: Budget | None = None  # in place of the one that there was
    failed: bool = False


class Hold(msgspec.Struct, frozen=True, gc=False):
    """The execution cannot go on without a person. `unfit` says why it does not fit the graph, if
    that is the reason: it goes on by itself when another graph fits it.
    """

    reason: str
    unfit: tuple[str, ...] = ()


class Migrate(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The execution moves from the graph of digest `before` to today's, of digest `after`: `nodes`
    maps old names to new ones, `memory` is set after the keys in `forget` were deleted.
    """

    before: bytes
    after: bytes
    nodes: dict[str, str] = {}
    memory: dict[str, msgspec.Raw] = {}
    forget: tuple[str, ...] = ()


class Release(msgspec.Struct, frozen=True, gc=False):
    """The execution was held because it did not fit the graph, and fits today's."""


Tick = (
    Accept
    | Dispatch
    | Due
    | NodeSucceeded
    | NodeErrored
    | Progressed
    | Conflicted
    | Recover
    | Cancel
    | Pause
    | Resume
    | Answer
    | Inject
    | Rewind
    | Fork
    | Hold
    | Migrate
    | Release
)
