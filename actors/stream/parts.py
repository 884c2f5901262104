"""What a stream is given when it is made, and what it shows to other threads."""

from dataclasses import dataclass, field
from typing import Protocol

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.nodes.runner import NodeRunner, StreamBinding
from greenroom.actors.stream.admission_gate import AdmissionGate
from greenroom.actors.stream.live import StreamSlot
from greenroom.actors.stream.permits import PermitPool
from greenroom.actors.stream.versions import Versions
from greenroom.actors.system.turns import TurnView
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.messages import ReleaseStream, TurnMessage, WriterMessage
from greenroom.protocol.stream_messages import StreamMessage
from greenroom.storage.store import Store


class Board(Protocol):
    """Where the stream posts what callers wait for. Posts gather until `flush`, once per slice."""

    def accepted(self, request: int, outcome: CommitOutcome) -> None:
        """The trigger's commit was applied, or refused."""
        ...

    def finished(self, execution_id: str, state: ExecutionState) -> None:
        """The execution ended, is held or paused. `state` is given away."""
        ...

    def recheck(self, entry_point: str) -> None:
        """The stream is new: look up in the store whatever is waited for."""
        ...

    def flush(self) -> None:
        """Hand the posts over, in one wake-up per waiting loop."""
        ...


@dataclass(frozen=True, slots=True)
class StreamStats:
    """A stream's numbers after its latest slice."""

    running: int = 0
    queued: int = 0
    accepted_total: int = 0
    dropped: int = 0  # by `overflow="drop_oldest"`
    finished: dict[str, int] = field(default_factory=dict)  # by status, since the runtime started
    incarnation: int = 0


@dataclass(slots=True)
class RecoveredCounts:
    """What a stream found when it started, as in RecoveryReport."""

    recovered: int = 0
    queued: int = 0
    waiting: int = 0
    paused: int = 0
    released: int = 0
    compatible: int = 0
    migrated: int = 0
    held: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class StreamParts:
    """Everything an execution stream needs. Kept by its address: each instance gets the same."""

    entry_point: EntryPointSpec
    plan: Plan
    goal_id: str
    store: Store
    writer: ActorRef[WriterMessage]
    state_manager: ActorRef[TurnMessage]
    turns: TurnView
    runner: NodeRunner
    board: Board
    permits: PermitPool
    gate: AdmissionGate
    versions: Versions
    process_death: bool  # the process that had the store before did not close it
    checkpoints: CheckpointConfig | None = None
    slot: StreamSlot = field(default_factory=StreamSlot)
    binding: StreamBinding | None = None
    stats: StreamStats = field(default_factory=StreamStats)
    recovered: RecoveredCounts = field(default_factory=RecoveredCounts)

    def give_up(self, stream: ActorRef[StreamMessage], reason: str) -> None:
        """The stream is down until it is restarted: what it held goes back to the others. Only on
        the runtime's loop thread.
        """
        self.gate.close(reason)
        self.slot.accepting.clear()
        self.slot.batches.clear()
        self.permits.forget(stream)
        if self.binding is not None:
            self.runner.cancel_binding(self.binding)
            older_than = self.binding.incarnation + 1
            self.state_manager.tell(
                ReleaseStream(stream=stream.address, incarnation=older_than), control=True
            )
