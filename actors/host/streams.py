"""The streams of a runtime: made, watched, drained and taken down together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from greenroom.actors.host.completion_board import CompletionBoard
from greenroom.actors.host.repeats import first_of
from greenroom.actors.host.submission import Submission
from greenroom.actors.kernel.dead_letters import DeadLetter
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec
from greenroom.actors.kernel.supervisor_ref import SupervisorRef
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.nodes.host import NodesHost
from greenroom.actors.stream.admission_gate import AdmissionGate
from greenroom.actors.stream.execution_stream import ExecutionStream
from greenroom.actors.stream.parts import RecoveredCounts, StreamParts
from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import (
    ActorError,
    PoisonMessage,
    StreamUnavailable,
    SupervisionFailed,
)
from greenroom.protocol.events import EventType
from greenroom.protocol.messages import CommitNow
from greenroom.protocol.new_event import new_event
from greenroom.protocol.stream_messages import Drain, StreamMessage, Trigger, TriggerMany

logger = logging.getLogger("greenroom.host")

StreamFailedHandler = Callable[[str, BaseException | None], None]
MakeParts = Callable[[EntryPointSpec, AdmissionGate], StreamParts]

_decode: Final = msgspec.msgpack.Decoder(StreamMessage).decode

ADDRESS: Final = "streams"
START_S: Final = 300.0
"""The longest wait for a stream's first start: recovering many executions takes a while."""

RESTARTS_MAX: Final = 5
WINDOW_S: Final = 10.0


class Streams:
    """One supervised stream per entry point; a stream that fails too often is given up alone.

    Built on the host's loop. `parts`, `refs` and `submissions` are by entry point id.
    """

    supervisor: SupervisorRef

    def __init__(
        self,
        system: ActorSystem,
        nodes: NodesHost,
        board: CompletionBoard,
        on_failed: Sequence[StreamFailedHandler],
    ) -> None:
        self._system = system
        self._nodes = nodes
        self._board = board
        self._on_failed = on_failed
        self.parts: dict[str, StreamParts] = {}
        self.refs: dict[str, ActorRef[StreamMessage]] = {}
        self.submissions: dict[str, Submission] = {}

    async def start(self, entry_points: Mapping[str, EntryPointSpec], make: MakeParts) -> None:
        """Start them all and wait until each has taken up its work. Raises SupervisionFailed."""
        for spec in entry_points.values():
            gate = AdmissionGate(spec, self._system.clock)
            self.parts[spec.id] = make(spec, gate)
        children = tuple(
            ChildSpec(name, partial(ExecutionStream, parts), start_timeout=START_S)
            for name, parts in self.parts.items()
        )
        self._system.dead_letters.subscribe(self._dead_letter)
        self.supervisor = self._system.supervise(
            SupervisorSpec(
                ADDRESS,
                children,
                restarts_max=RESTARTS_MAX,
                window_s=WINDOW_S,
                on_intensity="give_up",
                on_child_failed=self._given_up,
            )
        )
        for name, parts in self.parts.items():
            ref = self._system.ref(f"{ADDRESS}/{name}")
            if ref is None:
                raise SupervisionFailed(f"stream {name!r} has no address")
            self.refs[name] = ref
            self.submissions[name] = Submission(
                parts.entry_point, ref, parts.gate, self._board, partial(first_of, parts.store)
            )
        for ref in self.refs.values():
            await ref.ready()

    def recovered(self) -> list[RecoveredCounts]:
        """What each stream found at its start."""
        return [parts.recovered for parts in self.parts.values()]

    def _given_up(self, address: str, error: BaseException | None) -> None:
        stream = address.rpartition("/")[2]
        parts = self.parts[stream]
        parts.give_up(self.refs[stream], "it failed too often")
        self._board.refuse(partial(_is_down, stream), stream)
        data = {"error": "" if error is None else str(error)}
        now = self._system.clock.now()
        event = new_event(EventType.STREAM_FAILED, now, stream=stream, data=data)
        commit = Commit(commit_id=0, stream="", incarnation=0, events=(event,))
        parts.writer.ask(CommitNow(commit=commit), control=True)
        for handler in self._on_failed:
            self._nodes.call_soon(partial(handler, stream, error))

    def _dead_letter(self, letter: DeadLetter) -> None:
        """A trigger that crashed its stream three times: whoever sent it hears so."""
        stream = letter.address.removeprefix(f"{ADDRESS}/")
        if letter.reason != "poison" or stream not in self.parts:
            return
        if not isinstance(letter.body, bytes):
            return
        message = _decode(letter.body)
        if not isinstance(message, Trigger | TriggerMany):
            return
        triggers = (message,) if isinstance(message, Trigger) else message.triggers
        for _ in triggers:
            self.parts[stream].gate.release(accepted=False)
        outcome = CommitOutcome(
            commit_id=0,
            kind=OutcomeKind.REFUSED,
            code=PoisonMessage.code,
            text=f"execution {triggers[0].execution_id!r} crashed its stream each time",
        )
        self._board.accepted(message.request, outcome)
        self._board.flush()

    async def restart(self, stream: str) -> bool:
        """True once it serves again, False when it is not down. Raises StreamUnavailable."""
        if not await self.supervisor.restart_child(stream):
            return False
        try:
            await self.refs[stream].ready()
        except ActorError as error:
            raise StreamUnavailable(f"entry point {stream!r} failed again") from error
        return True

    def release_blocked(self) -> None:
        """Nobody waits for a place any more: the runtime stops."""
        for parts in self.parts.values():
            parts.gate.end()

    async def drain(self, timeout: float) -> None:
        """Start nothing more, and wait up to `timeout` seconds for the nodes in flight."""
        drains = [ref.ask(Drain(), control=True, timeout=timeout) for ref in self.refs.values()]
        for stream, drained in zip(self.refs, drains, strict=True):
            try:
                await drained
            except TimeoutError:
                logger.info("stream %s: nodes in flight will run again at the next start", stream)
            except ActorError as error:
                logger.info("stream %s is down and has nothing to finish: %s", stream, error)

    async def stop(self) -> None:
        """Stop them all; what they sent last is on its way to the writer."""
        if self.parts:
            await self._system.root.terminate_child(ADDRESS)


def _is_down(stream: str, execution_id: str) -> StreamUnavailable:
    return StreamUnavailable(
        f"entry point {stream!r} went down before it answered: whether execution "
        f"{execution_id!r} was accepted is not known, and repeating it with that id is safe"
    )
