"""The step machine: tick -> advance -> commit -> acknowledgement -> apply -> commands.

A transition is committed before anything acts on it, and an execution has at most one commit in
flight: ticks that arrive meanwhile wait, in order.
"""

import logging
from typing import Protocol

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.judging import Judging
from greenroom.actors.stream.live import DELETED, Delete, InFlight, Live, Pending, StreamSlot
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
from greenroom.protocol.engine.transition import Command, Transition
from greenroom.protocol.errors import Fenced, GreenroomError, VersionConflict
from greenroom.protocol.execution import SETTLED, Phase
from greenroom.protocol.patch import apply
from greenroom.protocol.stream_messages import Trigger

logger = logging.getLogger("greenroom.stream")


def _runs(live: Live, token_id: int) -> bool:
    """Say whether the token's node was dispatched, and has not ended."""
    token = None if live.state is None else live.state.tokens.get(token_id)
    return token is not None and token.phase is Phase.RUNNING


class StepOwner(Protocol):
    """What the machine asks of the stream."""

    def carry_out(self, live: Live, command: Command) -> None:
        """Act on a command of a committed transition."""
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

    def tick(self, live: Live, pending: Pending) -> None:
        """Advance the execution by one tick, now or after the commit that is in flight."""
        if live.in_flight is not None or live.judging:
            live.ticks.append(pending)
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
        flight = InFlight(live, pending, transition, commit)
        live.in_flight = flight
        self._in_flight[commit_id] = flight
        slot.outbox.append(commit)

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
        if outcome.kind is OutcomeKind.UNAVAILABLE and flight.commit.ordinal:
            # Accepted work keeps its commit until the store writes again.
            self._unavailable.append(flight)
            return flight
        live.in_flight = None
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
            self._owner.carry_out(live, command)
        if flight.pending.reply is not None:
            flight.pending.reply.set(True)

    def _refused(self, flight: InFlight, outcome: CommitOutcome) -> None:
        reply = flight.pending.reply
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
        live, pending = flight.live, flight.pending
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

    @property
    def commits_in_flight(self) -> int:
        """How many commits wait for an answer or for the store."""
        return len(self._in_flight) + len(self._unavailable)
