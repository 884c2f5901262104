"""One execution: its status, its tokens (positions in the graph) and its folded state.

`ExecutionState` is what `patch.apply` folds from the journal. Memory values stay encoded
(`msgspec.Raw`, made by `values.encode_value`): each is encoded once when it enters, and whoever
reads it decodes its own copy, so no mutable object is ever shared between nodes.
"""

from enum import StrEnum
from typing import Final

import msgspec

from greenroom.protocol.branches import Branching
from greenroom.protocol.budget import Budget
from greenroom.protocol.effects import EffectRecord
from greenroom.protocol.forked import Forked
from greenroom.protocol.questions import Injected, OpenQuestion


class Status(StrEnum):
    """Where an execution stands. None stands for another; each has its own event."""

    QUEUED = "queued"  # accepted, waiting for a permit
    RUNNING = "running"  # a node runs, or a short backoff passes
    WAITING = "waiting"  # for a timer or a person; holds no permit
    PAUSED = "paused"  # until it is resumed; holds no permit
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    EXHAUSTED = "exhausted"  # steps or budget used up
    HELD = "held"  # cannot go on without a person; `error` says why


TERMINAL: Final[frozenset[Status]] = frozenset(
    {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT, Status.EXHAUSTED}
)
SETTLED: Final[frozenset[Status]] = TERMINAL | {Status.HELD, Status.PAUSED}
"""Nothing happens any more, unless somebody takes the execution up again."""
UNFINISHED: Final[tuple[Status, ...]] = tuple(one for one in Status if one not in TERMINAL)


class Phase(StrEnum):
    """What the token's node is doing now."""

    READY = "ready"  # waits for a permit
    RUNNING = "running"  # dispatched by the commit that set this
    BACKOFF = "backoff"  # runs again at `due`
    SLEEPING = "sleeping"  # its node has ended, and it goes on at `due`
    ASKING = "asking"  # all that was asked must be answered first
    PAUSED = "paused"  # its node has ended, and the graph pauses after it; other branches run on
    FAILED = "failed"  # its branch has failed


class Ended(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """How the node of a token ended that has not left it: its run is over and never repeated.

    `outputs` names the keys of memory that were its output, `route` is the choice of a router.
    """

    outputs: tuple[str, ...] = ()
    route: str | None = None


class Token(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One position in the graph. Three counters that must not be mixed:

    `attempt` counts every dispatch of this visit (0 before the first), `failures` counts towards
    the node's max_retries, `crashes` counts deaths of the process while this visit was in flight,
    `conflicts` counts lost races for `synchronized` keys.
    """

    node: str
    visit: int = 1
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    conflicts: int = 0
    phase: Phase = Phase.READY
    # Wall UTC seconds: when a run has taken too long, a backoff ends, or a sleep (of a paused one,
    # too).
    due: float | None = None
    ended: Ended | None = None  # the node is done, and where to go on is not decided yet
    known_as: str | None = None  # "node/visit" under which the visit began, before a migration
    branch: int = 0  # the one that it is in; 0 is the main line
    unanswered: tuple[int, ...] = ()  # numbers of questions that a failure closed


class Accepted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What is fixed when an execution is accepted; part of its first journal record."""

    execution_id: str
    entry_point: str
    entry_node: str
    graph_id: str
    goal_id: str
    correlation_id: str
    accepted_at: float  # wall UTC seconds
    isolation: str = "shared"
    priority: int = 0
    hops: int = 0  # how many event-driven starts led here
    idempotency_key: str | None = None
    concurrency_key: str = ""
    timeout_s: float | None = None  # of the time in which it runs
    deadline: float | None = None  # wall UTC seconds
    forked: Forked | None = None  # where it came from, when it is a fork


class ExecutionState(msgspec.Struct, gc=False, kw_only=True):
    """The fold of one execution's journal up to `seq`.

    Mutable on purpose: `apply` changes it in place in O(patch), and exactly one owner (a stream,
    or a reader that built it) holds it. `advance` only reads it.
    """

    accepted: Accepted
    seq: int = 0
    status: Status = Status.QUEUED
    tokens: dict[int, Token] = {}
    effects: dict[int, dict[str, EffectRecord]] = {}  # token -> slot; gone with the token
    memory: dict[str, msgspec.Raw] = {}
    visits: dict[str, int] = {}
    path: list[str] = []
    steps: int = 0
    retries: int = 0
    retry_details: dict[str, int] = {}  # node -> failed attempts
    run: int = 1
    rewinds: int = 0  # how often it was taken back to an earlier position
    error: str | None = None
    started_at: float | None = None  # wall UTC seconds
    ended_at: float | None = None
    latency_ms: int = 0  # time spent inside nodes
    node_runs: int = 0  # that came to an end; counted while it has a budget
    wall_s: float = 0.0  # how long it had run in all at `active_at`; counted while its budget asks
    budget: Budget | None = None  # the one that it was accepted with, or a later one
    violated: tuple[str, ...] = ()  # soft constraints that did not hold when last checked
    active_s: float = 0.0  # how long it had run at `active_at`; counted when it has a timeout
    active_at: float | None = None  # wall UTC seconds of its latest step, while it runs
    questions: dict[int, OpenQuestion] = {}  # by number; only those that wait for an answer
    asked: int = 0  # the number of the newest question that no branch asked
    inbox: dict[int, Injected] = {}  # by number; kept until their nodes ask
    injected: int = 0  # the number of the newest input
    unfit: tuple[str, ...] = ()  # why it does not fit the graph, while it is held for that
    branching: Branching | None = None  # None until something branches


def asked_again(state: ExecutionState) -> list[tuple[int, int]]:
    """Return the number of each question that is to be asked again when an execution goes on from
    this state, and the id of its token: those that are open to people, and those that a failure
    closed.
    """
    found = [(number, one.token) for number, one in state.questions.items() if one.to]
    for token_id, token in state.tokens.items():
        found += [(number, token_id) for number in token.unanswered]
    return sorted(found)
