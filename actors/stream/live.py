"""What a stream holds in memory of one unfinished execution, and of its commits in flight."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import msgspec

from greenroom.actors.kernel.actor import Reply
from greenroom.actors.nodes.runner import NodeRun
from greenroom.protocol.commit import Commit
from greenroom.protocol.engine.ticks import Tick
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.patch import Cause, Patch
from greenroom.protocol.stream_messages import NodeResult, Trigger, TriggerMany

DELETED: Final = Transition(Patch(), Cause(tick="delete"), (), ())
"""In place of what a tick leads to: nothing is left that could change."""


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Someone asked for the execution to leave the store; waits in line like a tick."""


@dataclass(slots=True)
class Live:
    """One execution in the hands of a stream.

    At most one commit is in flight, or several of one batch: `in_flight` is the first of them, and
    each in `behind` was decided on the state that the one before leads to. Ticks that arrive
    meanwhile wait in `ticks`, in order. `state` changes after a commit, or when another is decided
    behind it. `ordinal` is 0 until the store has accepted it.
    """

    execution_id: str
    state: ExecutionState | None = None
    ordinal: int = 0
    in_flight: "InFlight | None" = None
    behind: "list[InFlight]" = field(default_factory=list)
    ticks: "deque[Pending]" = field(default_factory=deque)
    base: ExecutionState | None = None  # of a fork that is not accepted yet: what it begins with
    permit: bool = False
    patch_bytes: int = 0  # since the last snapshot
    state_bytes: int = 0  # of the state, when that was last measured
    started_at: int = 0  # the seq at which what waited beside its running nodes was started
    due: float | None = None  # while it runs: when something of it comes due, wall UTC seconds
    version: bytes | None = None  # of the graph at which it stands, while that may not be today's
    judging: bool = False  # its migration is under way
    refused: tuple[str, ...] = ()  # why it cannot be migrated, once that was tried
    repeats: list[Trigger] = field(default_factory=list)  # the same trigger, before its answer


@dataclass(frozen=True, slots=True)
class Answers:
    """The duty to answer several askers alike."""

    replies: "list[Reply | Answers]"

    def set(self, value: object) -> None:
        """Answer them all."""
        for one in self.replies:
            one.set(value)

    def set_exception(self, error: BaseException) -> None:
        """Answer them all with an error."""
        for one in self.replies:
            one.set_exception(error)


@dataclass(slots=True)
class Pending:
    """A tick that waits for the commit before it, with the node result and the asker behind it."""

    tick: Tick | Delete
    result: NodeResult | None = None
    reply: Reply | Answers | None = None


@dataclass(slots=True)
class InFlight:
    """A commit that the writer has not answered yet, made in the `batch`-th slice.

    `runs` are set when its patch has been applied before its answer: the node runs that it leads
    to, by token, with what they see. With `taken_back` one before it was refused, as it will be.
    """

    live: Live
    pending: Pending
    transition: Transition
    commit: Commit
    batch: int = 0
    runs: dict[int, NodeRun] | None = None
    taken_back: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Triggers that came together, and the numbers of the commits that accept the new ones."""

    message: TriggerMany
    numbers: tuple[int, ...]


@dataclass(slots=True)
class StreamSlot:
    """What belongs to a stream's address and outlives its instances.

    A crash between a commit's making and its sending, or between its sending and its answer, must
    not lose a trigger: the next instance sends the outbox on before it raises its fence, and finds
    here what the answers to its predecessor's accepting commits are about.
    """

    next_commit_id: int = 1
    outbox: list[Commit] = field(default_factory=list)
    accepting: dict[int, Trigger] = field(default_factory=dict)
    batches: dict[int, Batch] = field(default_factory=dict)
    started: bool = False  # an instance has run in this process

    def take_commit_id(self) -> int:
        """A number that no other commit of the stream has in this process."""
        taken = self.next_commit_id
        self.next_commit_id = taken + 1
        return taken
