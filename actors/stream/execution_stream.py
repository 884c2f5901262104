"""The execution stream: one supervised actor per entry point, running many executions at once.

It owns the executions of its entry point: nobody else advances them. What it decides is committed
first (steps.py). How triggers come in is in reception.py, who waits for a permit in
waiting_line.py, what comes due in timers.py; lost races for shared keys are in races.py,
and what it finds at its start in recovery.py.
"""

import logging
from functools import partial
from typing import ClassVar

from greenroom.actors.kernel.actor import DEFERRED, Actor
from greenroom.actors.nodes.runner import NodeRun, StreamBinding
from greenroom.actors.stream.admission_desk import AdmissionDesk
from greenroom.actors.stream.batches import Batches
from greenroom.actors.stream.commits import CommitMaker, queue_key, tick_of
from greenroom.actors.stream.draining import Draining
from greenroom.actors.stream.judging import Judging
from greenroom.actors.stream.live import InFlight, Live, Pending
from greenroom.actors.stream.node_runs import node_run_of
from greenroom.actors.stream.parts import StreamParts, StreamStats
from greenroom.actors.stream.races import Races
from greenroom.actors.stream.reception import Reception
from greenroom.actors.stream.recovery import recover
from greenroom.actors.stream.roster import Roster
from greenroom.actors.stream.steps import StepMachine
from greenroom.actors.stream.timers import Timers
from greenroom.actors.stream.waiting_line import Place
from greenroom.actors.stream.wishes import ALSO_ENDED, Wish, tick_of_wish
from greenroom.actors.system.fences import raise_fence
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.effects import EffectChange
from greenroom.protocol.engine.ticks import Progressed
from greenroom.protocol.engine.transition import Command, Finish, RunNode, StopNode
from greenroom.protocol.errors import GreenroomError
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.execution import SETTLED, ExecutionState, Status
from greenroom.protocol.messages import CommitBatch, ReleaseStream
from greenroom.protocol.stream_messages import (
    AnswerQuestion,
    AtNode,
    CancelExecution,
    CommitAcks,
    DeleteExecution,
    Drain,
    InjectInput,
    MigrationMade,
    NodeResult,
    NodeResults,
    PauseExecution,
    PermitFreed,
    RecordEffect,
    ResumeExecution,
    StoreBack,
    StreamMessage,
    TimerFired,
    Trigger,
    TriggerMany,
    TurnsGranted,
    UpdatesReapplied,
)

logger = logging.getLogger("greenroom.stream")


class ExecutionStream(Actor[StreamMessage]):
    """Serves one entry point. Runs on the runtime's loop; no user code ever does.

    A new instance first sends on what its predecessor left, then raises its fence and waits for
    the answer, and only then reads state: older incarnations are refused from then on.
    """

    messages = StreamMessage
    user_limit: ClassVar[int] = 10_000_000  # the admission gate is the bound, and it is lower

    def __init__(self, parts: StreamParts) -> None:
        super().__init__()
        self._parts = parts
        self._entry = parts.entry_point
        self._roster = Roster(parts.entry_point.id, parts.store)
        self._finished: dict[str, int] = {}

    async def on_start(self) -> None:
        parts, stream = self._parts, self._entry.id
        if parts.binding is not None:
            parts.runner.cancel_binding(parts.binding)
        parts.permits.forget(self.ref)
        self._desk = AdmissionDesk(
            self._entry, parts.permits, self.ref, self, self._roster.owner_of_key
        )
        self._send_outbox()
        self._fence = await raise_fence(parts.writer, stream)
        parts.state_manager.tell(
            ReleaseStream(stream=self.address, incarnation=self._fence), control=True
        )
        parts.binding = StreamBinding(
            ref=self.ref,
            stream_id=stream,
            incarnation=self._fence,
            isolation=self._entry.isolation,
        )
        self._maker = CommitMaker(
            stream, self._fence, parts.plan.digest, parts.store, parts.checkpoints
        )
        self._judging = Judging(parts.versions, self.ref, self._fence)
        self._steps = StepMachine(
            parts.plan, self._maker, parts.slot, self.clock, self, self._judging
        )
        self._draining = Draining(lambda: self._steps.commits_in_flight)
        self._timers = Timers(
            stream,
            parts.store,
            self._roster,
            self._desk,
            self._steps,
            self.clock,
            self.schedule,
            self._draining.runs_all,
        )
        self._reception = Reception(parts, self._roster, self._desk, self._steps, self.clock)
        self._batches = Batches(parts, self._reception, self._steps, self._fence)
        self._races = Races(parts, self._steps, self.address, self._fence)
        restarted = parts.slot.started
        parts.slot.started = True
        await recover(self, self._desk, parts, process_death=parts.process_death and not restarted)
        kind = EventType.STREAM_RESTARTED if restarted else EventType.STREAM_STARTED
        self._append_event(kind)
        self._desk.admit()
        self._timers.look()
        parts.board.recheck(stream)
        parts.gate.open()
        self.on_slice_end()

    def on_stop(self) -> None:
        self._append_event(EventType.STREAM_STOPPED)
        if self._parts.binding is not None:
            self._parts.runner.cancel_binding(self._parts.binding)
        self.on_slice_end()

    def _append_event(self, kind: EventType) -> None:
        slot = self._parts.slot
        body = EventBody(type=kind, at=self.clock.now(), stream=self._entry.id)
        slot.outbox.append(self._maker.events(slot.take_commit_id(), [body]))

    # --- messages

    def handle(self, message: StreamMessage) -> object:
        try:
            return self._serve(message)
        except GreenroomError as error:
            # To the kernel this would be a refusal, and half a message would be lost.
            raise RuntimeError(f"stream {self._entry.id}: {error}") from error

    def _serve(self, message: StreamMessage) -> object:
        match message:
            case CommitAcks():
                for outcome in message.outcomes:
                    self._acknowledge(outcome)
                self._draining.look()
            case NodeResults():
                if message.incarnation == self._fence:
                    for result in message.results:
                        self._node_ended(result)
                    self._draining.look()
            case RecordEffect():
                return self._record(message)
            case Trigger():
                self._reception.receive(message)
            case TriggerMany():
                self._batches.receive(message)
            case PermitFreed():
                self._desk.admit()
                self._parts.permits.pass_on(self.ref)
            case TimerFired():
                self._timers.look()
            case CancelExecution() | PauseExecution() | ResumeExecution() | DeleteExecution():
                return self._wished(message)
            case AnswerQuestion() | InjectInput():
                return self._wished(message)
            case AtNode():
                return self._roster.at_node(message.node)
            case TurnsGranted():
                self._turns_granted(message)
            case UpdatesReapplied():
                live = self._roster.get(message.execution_id)
                if live is not None and message.incarnation == self._fence:
                    self._races.reapplied(live, message)
            case MigrationMade():
                live = self._roster.get(message.execution_id)
                if live is not None and self._judging.made(live, message):
                    self._steps.go_on(live)
            case StoreBack():
                self._steps.resubmit()
            case Drain():
                return self._drain()
        return None

    def on_slice_end(self) -> None:
        """Hand on what the slice gathered: one message to the writer, one hop to the nodes."""
        self._steps.close_batch()
        self._send_outbox()
        parts = self._parts
        parts.runner.flush()
        desk = self._desk
        parts.gate.publish(desk.line.counted, desk.running)
        parts.stats = StreamStats(
            running=desk.running,
            queued=len(desk.line),
            accepted_total=self._reception.accepted,
            dropped=desk.dropped,
            finished=self._finished,
            incarnation=self.incarnation,
        )
        parts.board.flush()

    def _send_outbox(self) -> None:
        slot = self._parts.slot
        if slot.outbox:
            commits = tuple(slot.outbox)
            slot.outbox.clear()
            self._parts.writer.tell(CommitBatch(sender=self.address, commits=commits), control=True)

    def _acknowledge(self, outcome: CommitOutcome) -> None:
        if self._batches.acknowledge(outcome):
            return
        if self._steps.acknowledge(outcome) is None:
            self._reception.answered_late(outcome)

    # --- admission

    def answered(self, trigger: Trigger, outcome: CommitOutcome, live: Live) -> None:
        """The accepting commit was applied or refused."""
        self._reception.answered(trigger, outcome, live)

    def find(self, execution_id: str) -> Live | None:
        """The execution, from memory or from the store; None when it is unknown here or ended."""
        return self._roster.find(execution_id)

    def let_go(self, live: Live) -> None:
        """Keep it in the store only, unless something of it is under way here."""
        self._roster.let_go(live)

    def adopt(self, live: Live) -> None:
        """Recovery brings an execution that runs or waits."""
        self._roster.add(live)

    def step(self, live: Live, pending: Pending) -> None:
        """Advance an execution by one tick."""
        self._steps.tick(live, pending)

    # --- what committed transitions ask for

    def carry_out(self, live: Live, command: Command, run: NodeRun | None = None) -> None:
        """Act on a command of a committed transition; `run` is the node run, if it is made."""
        match command:
            case RunNode():
                self._run_node(live, command, run)
            case StopNode():
                self._draining.node_ended(live.execution_id, command.token_id)
                self._parts.runner.cancel(live.execution_id, command.token_id)
                self.node_is_over(live, command.token_id)
            case Finish():
                self._count_end(live, command.status)

    def _run_node(self, live: Live, command: RunNode, run: NodeRun | None = None) -> None:
        assert live.state is not None
        if self._draining.begun:
            # Committed as dispatched: the next start runs it. Others may wait for its turns.
            self._races.forget(live, command.token_id)
            return
        if self._races.must_wait(live, command):
            return
        self._draining.node_began(live.execution_id, command.token_id)
        assert self._parts.binding is not None
        if run is None:
            holds_turns = self._races.holds_turns(live, command.token_id)
            run = node_run_of(live.state, command, holds_turns=holds_turns)
        self._parts.runner.submit(self._parts.binding, run)

    def watch(self, live: Live) -> None:
        """Tick it when something of it comes due while it runs."""
        self._timers.watch(live)

    def committed(self, live: Live, flight: InFlight) -> None:
        """A step is durable: what comes due may have changed."""
        self._timers.committed(live, flight.commit.timer)

    def _node_ended(self, result: NodeResult) -> None:
        self._draining.node_ended(result.execution_id, result.token_id)
        live = self._roster.get(result.execution_id)
        if live is not None:
            pending = Pending(tick_of(result), None if result.error else result)
            self._steps.tick(live, pending)

    def _record(self, message: RecordEffect) -> object:
        live = self._roster.get(message.execution_id)
        if live is None or message.incarnation != self._fence:
            return False
        change = EffectChange(message.slot, message.record)
        tick = Progressed(message.token_id, message.visit, message.attempt, (change,))
        self._steps.tick(live, Pending(tick, reply=self.defer()))
        return DEFERRED

    def lost_race(self, flight: InFlight, outcome: CommitOutcome) -> None:
        """A closing step read something stale; nothing of it was stored."""
        self._races.lost(flight.live, flight.pending, outcome.stale)

    def _turns_granted(self, message: TurnsGranted) -> None:
        live = self._roster.get(message.execution_id)
        if live is None or message.incarnation != self._fence:
            return
        command = self._races.granted(live, message)
        if command is not None:
            self._run_node(live, command)

    def blocked(self, live: Live, pending: Pending) -> bool:
        """True when a closing step with reads has lost its race before it is written."""
        return self._races.blocked(live, pending)

    def contends(self, live: Live) -> bool:
        """Say whether a node run of the execution has lost a race and goes on with it."""
        return self._races.contends(live)

    def reload(self, live: Live) -> None:
        """Give it back the state that is durable: the one in memory ran ahead."""
        self._roster.reload(live)
        self._timers.watch(live)

    def node_is_over(self, live: Live, token_id: int) -> None:
        """The end of the token's node run is durable: its turns go, and a suspect has made
        progress.
        """
        self._races.forget(live, token_id)
        self._desk.made_progress(live, token_id)

    def _wished(self, wish: Wish) -> object:
        live = self._roster.find(wish.execution_id, also_ended=isinstance(wish, ALSO_ENDED))
        if live is None:
            return False
        permit = isinstance(wish, AnswerQuestion) and self._desk.take_unless_others_wait(live)
        tick = tick_of_wish(wish, partial(self._roster.way_on, live), permit=permit)
        if tick is None:
            self._roster.let_go(live)
            return False
        self._steps.tick(live, Pending(tick, reply=self.defer()))
        return DEFERRED

    def _count_end(self, live: Live, status: Status) -> None:
        if status is not Status.PAUSED:
            count = self._finished.get(status.value, 0) + 1
            self._finished = {**self._finished, status.value: count}  # others read the old one
        self._races.forget_all(live)
        self._parts.permits.clear_suspect(live.execution_id)

    def settle(self, live: Live) -> None:
        """Nothing of the execution is in flight: give its permit back, queue it, or let it go."""
        self._take_stock(live)
        self._timers.settled(live.execution_id)

    def _take_stock(self, live: Live) -> None:
        state = live.state
        if state is not None and state.status is Status.RUNNING:
            if len(state.tokens) > 1:
                self._desk.start_the_rest(live, state)
            return
        self._desk.give_back(live)
        self._roster.let_go(live)
        if state is not None:  # else it was never accepted
            self._stands(live, state)
        if self._desk.line:
            self._desk.admit()
            self._desk.make_room()

    def _stands(self, live: Live, state: ExecutionState) -> None:
        """It does not run: it takes its place in the line, or keeps nobody waiting for it."""
        if state.status is Status.QUEUED:
            self._desk.join(
                Place(
                    fresh=state.started_at is None,
                    key=queue_key(state.accepted),
                    ordinal=live.ordinal,
                    execution_id=live.execution_id,
                    concurrency_key=state.accepted.concurrency_key,
                )
            )
        else:
            self._desk.leave(live.execution_id, state.accepted.concurrency_key)
        if state.status in SETTLED:
            self._parts.board.finished(live.execution_id, state)

    # --- shutdown

    def _drain(self) -> object:
        """Start nothing more; answer when no node of this stream runs."""
        self._desk.close()
        self._timers.close()
        self._draining.begin(self.defer())
        return DEFERRED
