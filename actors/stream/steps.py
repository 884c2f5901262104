"""The step machine: tick -> advance -> commit -> acknowledgement -> apply -> commands.

A transition is committed before anything acts on it, and an execution has at most one batch of
commits in flight: ticks that arrive meanwhile wait, in order. Those that wait when a batch is sent
go along with it, each as a commit of its own that is decided on what the one before leads to: the
branches that end at once cost one sync of the disk. When one is refused, those behind it are taken
back and decided anew.
"""

import logging
from typing import Protocol

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.nodes.runner import NodeRun
from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.judging import Judging
from greenroom.actors.stream.live import DELETED, Delete, InFlight, Live, Pending, StreamSlot
from greenroom.actors.stream.node_runs import node_runs_of
from greenroom.actors.stream.sub_steps import next_pending
from greenroom.protocol.commit import CommitOutcome, OutcomeKind
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.node_ends import running
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import (
    Answer,
    Conflicted,
    Hold,
    Inject,
    Migrate,
    NodeErrored,
    NodeSucceeded,
    Progressed,
    Resume,
    Rewind,
)
from greenroom.protocol.engine.transition import Command, RunNode, Transition
from greenroom.protocol.errors import Fenced, GreenroomError, VersionConflict
from greenroom.protocol.execution import SETTLED, Phase
from greenroom.protocol.limits import STEPS_BEHIND_MAX
from greenroom.protocol.patch import apply
from greenroom.protocol.stream_messages import Trigger

logger = logging.getLogger("greenroom.stream")


def _may_be_ahead(pending: Pending) -> bool:
    """Say whether the tick may be decided on a state that is not durable, and others on what it
    leads to. What people ask for, and what may lose a race, is decided alone.
    """
    result = pending.result
    return isinstance(pending.tick, NodeSucceeded | NodeErrored | Progressed) and (
        result is None or not (result.reads or result.writes)
    )


def _runs(live: Live, token_id: int) -> bool:
    """Say whether the token's node was dispatched, and has not ended."""
    token = None if live.state is None else live.state.tokens.get(token_id)
    return token is not None and token.phase is Phase.RUNNING


class StepOwner(Protocol):
    """What the machine asks of the stream."""

    def carry_out(self, live: Live, command: Command, run: NodeRun | None) -> None:
        """Act on a command of a committed transition; `run` is the node run, if it is made."""
        ...

    def answered(self, trigger: Trigger, outcome: CommitOutcome, live: Live) -> None:
        """An accepting commit was applied or refused."""
        ...

    def committed(self, live: Live, flight: InFlight) -> None:
        """A step is durable, and the state is the one after it."""
        ...

    def node_is_over(self, live: Live, token_id: int) -> None:
        """The end of the token's node run is durable: its turns may go."""
        ...

    def blocked(self, live: Live, pending: Pending) -> bool:
        """True when a closing step with reads has lost its race before it is written."""
        ...

    def lost_race(self, flight: InFlight, outcome: CommitOutcome) -> None:
        """A closing step read something stale; nothing of it was stored."""
        ...

    def contends(self, live: Live) -> bool:
        """Say whether a node run of the execution has lost a race and goes on with it."""
        ...

    def reload(self, live: Live) -> None:
        """Give it back the state that is durable: the one in memory ran ahead."""
        ...

    def settle(self, live: Live) -> None:
        """Nothing of the execution is in flight or waiting: take stock of it."""
        ...


class StepMachine:
    """Runs the steps of one instance of one stream. Only on the runtime's loop thread."""

    def __init__(
        self,
        plan: Plan,
        maker: CommitMaker,
        slot: StreamSlot,
        clock: Clock,
        owner: StepOwner,
        judging: Judging,
    ) -> None:
        self._plan = plan
        self._judging = judging
        self._maker = maker
        self._slot = slot
        self._clock = clock
        self._owner = owner
        self._in_flight: dict[int, InFlight] = {}
        self._unavailable: list[InFlight] = []
        self._crowded: list[Live] = []  # ticks wait behind the commit that is in flight
        self._batch = 0  # of the commits that are made now and not sent yet

    def tick(self, live: Live, pending: Pending) -> None:
        """Advance the execution by one tick, now or after the commit that is in flight."""
        if live.in_flight is not None or live.judging:
            live.ticks.append(pending)
            self._crowded.append(live)
            return
        self._advance(live, pending, None)
        if live.in_flight is None:
            self.go_on(live)

    def accept(self, live: Live, pending: Pending, trigger: Trigger) -> None:
        """The first tick of a new execution."""
        self._advance(live, pending, trigger)

    def _advance(self, live: Live, pending: Pending, trigger: Trigger | None) -> None:
        if live.state is None and trigger is None:
            # Its acceptance was refused, or it was deleted, while this tick waited.
            if pending.reply is not None:
                pending.reply.set(False)
            return
        if live.version is not None and self._judging.stops(live, pending):
            return
        if pending.result is not None and pending.result.reads and self._is_blocked(live, pending):
            return
        now = self._clock.now()
        transition: Transition | None
        try:
            if isinstance(pending.tick, Delete):
                transition = DELETED if live.state and live.state.status in SETTLED else None
            else:
                transition = advance(self._plan, live.state, pending.tick, now)
        except Exception as error:
            # One execution's fault is its own: it is held, and the stream goes on.
            logger.exception("%s: %s failed", live.execution_id, type(pending.tick).__name__)
            transition = self._hold_back(live, trigger, error, now)
            if pending.reply is not None:
                pending.reply.set(False)  # what is committed now is not what was asked for
        if transition is None:
            if pending.reply is not None:
                pending.reply.set(False)
            return
        live.in_flight = self._submit(live, pending, transition, now, trigger)

    def _submit(
        self,
        live: Live,
        pending: Pending,
        transition: Transition,
        now: float,
        trigger: Trigger | None = None,
    ) -> InFlight:
        slot = self._slot
        commit_id = slot.take_commit_id()
        if transition is DELETED:
            commit = self._maker.deletion(commit_id, live)
        else:
            # What a failed run had buffered is dropped, also when the engine found the failure.
            result = pending.result if transition.closed else None
            commit = self._maker.step(
                commit_id, live, transition, now, result=result, trigger=trigger
            )
        if trigger is not None:
            slot.accepting[commit_id] = trigger
        flight = InFlight(live, pending, transition, commit, self._batch)
        self._in_flight[commit_id] = flight
        slot.outbox.append(commit)
        return flight

    def close_batch(self) -> None:
        """The outbox is about to be sent: have the ticks go along that wait for its commits."""
        crowded, self._crowded = self._crowded, []
        for live in crowded:
            while len(live.behind) < STEPS_BEHIND_MAX and self._follow(live):
                pass
        self._batch += 1

    def _follow(self, live: Live) -> bool:
        """Decide the tick that waits first behind the last commit of this batch, if it may be."""
        last = live.behind[-1] if live.behind else live.in_flight
        if last is None or last.batch != self._batch or not live.ticks or live.state is None:
            return False
        if live.base is not None or live.version is not None:
            return False  # its first step as a fork, or one at another version of the graph
        if not (_may_be_ahead(last.pending) and _may_be_ahead(live.ticks[0])):
            return False
        if self._owner.contends(live):
            return False
        if last.runs is None:
            live.state = apply(live.state, last.transition.patch, last.commit.expected_seq + 1)
            last.runs = node_runs_of(live.state, last.transition.commands)
        pending, now = next_pending(live.ticks), self._clock.now()
        assert not isinstance(pending.tick, Delete)
        transition: Transition | None = None
        try:
            transition = advance(self._plan, live.state, pending.tick, now)
        except Exception:  # noqa: BLE001  tried again, and reported, on the state that is durable
            logger.debug("%s: %s has to wait", live.execution_id, type(pending.tick).__name__)
        if transition is None:
            # On a state that may be taken back nothing is stale.
            live.ticks.appendleft(pending)
            return False
        live.behind.append(self._submit(live, pending, transition, now))
        return True

    def _take_back(self, live: Live) -> None:
        """A commit was refused on which others build: they are decided anew, in the same order.

        The writer refuses them, too, before it sees what is decided now: it takes commits in order.
        """
        for flight in reversed(live.behind):
            flight.taken_back = True
            live.ticks.appendleft(flight.pending)
        live.behind.clear()
        self._owner.reload(live)

    def _is_blocked(self, live: Live, pending: Pending) -> bool:
        """Looked at only now: while it waited, others may have been given the turns of its keys,
        and would lose their race to it for ever.
        """
        assert live.state is not None
        assert isinstance(pending.tick, NodeSucceeded)
        return running(live.state, pending.tick) is not None and self._owner.blocked(live, pending)

    def _hold_back(
        self, live: Live, trigger: Trigger | None, error: Exception, now: float
    ) -> Transition | None:
        if trigger is None:
            return advance(self._plan, live.state, Hold(f"internal fault: {error!r}"), now)
        outcome = CommitOutcome(
            commit_id=0, kind=OutcomeKind.REFUSED, code=GreenroomError.code, text=repr(error)
        )
        self._owner.answered(trigger, outcome, live)
        self._owner.settle(live)
        return None

    def acknowledge(self, outcome: CommitOutcome) -> InFlight | None:
        """Take the writer's answer. None when the commit was not this instance's."""
        flight = self._in_flight.pop(outcome.commit_id, None)
        if flight is None:
            return None
        live = flight.live
        if flight.taken_back:
            return flight
        assert live.in_flight is flight or outcome.kind is OutcomeKind.UNAVAILABLE, "in order"
        if outcome.kind is OutcomeKind.UNAVAILABLE and flight.commit.ordinal:
            # Accepted work keeps its commit until the store writes again.
            self._unavailable.append(flight)
            return flight
        live.in_flight = live.behind.pop(0) if live.behind else None
        trigger = self._slot.accepting.pop(outcome.commit_id, None)
        match outcome.kind:
            case OutcomeKind.APPLIED:
                self._applied(flight, outcome, trigger)
            case OutcomeKind.CONFLICT if trigger is None:
                self._owner.lost_race(flight, outcome)
            case _ if trigger is not None:
                self._owner.answered(trigger, outcome, live)
            case _:
                self._refused(flight, outcome)
        if live.in_flight is None:
            self.go_on(live)
        return flight

    def resubmit(self) -> None:
        """The store writes again."""
        for flight in self._unavailable:
            self._in_flight[flight.commit.commit_id] = flight
            self._slot.outbox.append(flight.commit)
        self._unavailable.clear()

    def _applied(self, flight: InFlight, outcome: CommitOutcome, trigger: Trigger | None) -> None:
        live = flight.live
        if flight.transition is DELETED:
            self._owner.settle(live)  # whoever waited still hears of the end
            live.state = None
            if flight.pending.reply is not None:
                flight.pending.reply.set(True)
            return
        live.ordinal = outcome.ordinal
        if flight.runs is None:
            before = live.state if live.base is None else live.base
            live.base = None
            live.state = apply(before, flight.transition.patch, flight.commit.expected_seq + 1)
            if live.version is not None:
                live.version = self._maker.version_after(live, flight.transition)
        if trigger is not None:
            self._owner.answered(trigger, outcome, live)
        self._owner.committed(live, flight)
        tick = flight.pending.tick
        if isinstance(tick, NodeSucceeded | NodeErrored) or (
            isinstance(tick, Conflicted) and not _runs(live, tick.token_id)
        ):
            self._owner.node_is_over(live, tick.token_id)
        for command in flight.transition.commands:
            run = flight.runs and isinstance(command, RunNode) and flight.runs[command.token_id]
            self._owner.carry_out(live, command, run or None)
        if flight.pending.reply is not None:
            flight.pending.reply.set(True)

    def _refused(self, flight: InFlight, outcome: CommitOutcome) -> None:
        live, reply = flight.live, flight.pending.reply
        if flight.runs is not None:
            if live.in_flight is not None:
                live.behind.insert(0, live.in_flight)
                live.in_flight = None
            self._take_back(live)
        gentle = isinstance(flight.pending.tick, Resume | Rewind | Delete)
        if gentle and reply and outcome.code != Fenced.code:
            # It had ended, and was pruned meanwhile; or its input is too large. It stays as it was.
            reply.set(False)
            return
        if outcome.code in (Fenced.code, VersionConflict.code):
            # The store knows more than this instance: the next one reads it anew.
            raise RuntimeError(f"this instance is behind the store: {outcome.text}")
        if isinstance(flight.pending.tick, Progressed) and reply:
            reply.set(False)  # what its node makes of it is the node's own
            return
        pending = flight.pending
        logger.error("%s: step refused: %s", live.execution_id, outcome.text)
        if isinstance(pending.tick, Answer | Inject) and reply:
            reply.set(False)  # a question stays open, and input is not kept
            return
        if isinstance(pending.tick, NodeSucceeded):
            # What a node returned can never be stored: that is the node's failure.
            failure = NodeErrored(
                pending.tick.token_id,
                pending.tick.visit,
                pending.tick.attempt,
                outcome.text,
                (outcome.code,),
                pending.tick.latency_ms,
                retryable=False,
            )
            live.ticks.appendleft(Pending(failure, reply=pending.reply))
        elif isinstance(pending.tick, Migrate):
            live.refused = (f"what the migration wants cannot be stored: {outcome.text}",)
        elif not isinstance(pending.tick, Hold):
            if reply is not None:
                reply.set(False)  # a hold is not what was asked for
            live.ticks.appendleft(Pending(Hold(outcome.text)))

    def go_on(self, live: Live) -> None:
        """Advance the execution by what waits for it, as far as that is possible now."""
        while live.ticks and live.in_flight is None and not live.judging:
            self._advance(live, next_pending(live.ticks), None)
        if live.in_flight is None and not live.judging:
            self._owner.settle(live)
        elif live.ticks:
            self._crowded.append(live)

    @property
    def commits_in_flight(self) -> int:
        """How many commits wait for an answer or for the store."""
        return len(self._in_flight) + len(self._unavailable)
