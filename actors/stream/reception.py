"""How triggers become executions of one stream, and who hears of it."""

from functools import partial

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.stream.admission_desk import AdmissionDesk
from greenroom.actors.stream.beginning_forks import read_fork
from greenroom.actors.stream.commits import accepted_from
from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.parts import StreamParts
from greenroom.actors.stream.roster import Roster
from greenroom.actors.stream.steps import StepMachine
from greenroom.protocol.commit import CommitOutcome, OutcomeKind
from greenroom.protocol.engine.ticks import Accept
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import Accepted
from greenroom.protocol.forked import Forked
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.people_errors import ExecutionNotFound
from greenroom.protocol.stream_messages import Trigger


class Reception:
    """Accepts the triggers of one instance of one stream. Only on the runtime's loop thread."""

    def __init__(
        self,
        parts: StreamParts,
        roster: Roster,
        desk: AdmissionDesk,
        steps: StepMachine,
        clock: Clock,
    ) -> None:
        self._parts = parts
        self._roster = roster
        self._desk = desk
        self._steps = steps
        self._clock = clock
        self.accepted = 0

    def receive(self, trigger: Trigger) -> None:
        """Accept an execution, or answer a trigger that came again after a crash."""
        if not self.answer_known(trigger):
            self.accept(trigger)

    def answer_known(self, trigger: Trigger) -> bool:
        """See to the answer of a trigger whose execution is here already; False when it is new."""
        name = trigger.execution_id
        known = self._roster.get(name)
        if known is not None and not known.ordinal:
            known.repeats.append(trigger)  # answered with the first one, after the commit
            return True
        if known is not None or name in self._desk.line:
            self._answer_repeat(trigger)
            return True
        return False

    def accept(self, trigger: Trigger) -> None:
        """Make a new execution, whose commit goes out at the end of the slice."""
        entry, now, name = self._parts.entry_point, self._clock.now(), trigger.execution_id
        accepted = accepted_from(trigger, entry, self._parts.plan, self._parts.goal_id, now)
        live = Live(name)
        if trigger.fork is not None:
            self._begin_fork(live, trigger, trigger.fork, accepted)
            return
        if self._desk.may_begin(trigger):
            self._desk.take(live)
        self._roster.add(live)
        budget = entry.budget if trigger.budget is None else trigger.budget
        tick = Accept(accepted=accepted, memory=trigger.memory, permit=live.permit, budget=budget)
        self._steps.accept(live, Pending(tick), trigger)

    def _begin_fork(self, live: Live, trigger: Trigger, origin: Forked, accepted: Accepted) -> None:
        """A fork queues for its first permit, as whoever is taken back does."""
        try:
            tick = self._parts.store.read(partial(read_fork, trigger, origin, accepted))
        except (StoreCorrupt, HistoryPruned) as error:
            code, text = error.code, str(error)
            if not self._parts.store.read(lambda reader: reader.execution_at(origin.ordinal)):
                code = ExecutionNotFound.code
                text = f"there is no execution {origin.execution_id} in the store any more"
            outcome = CommitOutcome(commit_id=0, kind=OutcomeKind.REFUSED, code=code, text=text)
            self._answer(trigger, outcome, accepted=False)
            return
        live.base = tick.base
        self._roster.add(live)
        self._steps.accept(live, Pending(tick), trigger)

    def _answer_repeat(self, trigger: Trigger) -> None:
        """A trigger that came again after a crash finds its own execution."""
        name = trigger.execution_id
        outcome = CommitOutcome(commit_id=0, kind=OutcomeKind.APPLIED, execution_id=name)
        self._answer(trigger, outcome, accepted=True)

    def answered(self, trigger: Trigger, outcome: CommitOutcome, live: Live) -> None:
        """The accepting commit was applied or refused."""
        accepted = outcome.kind is OutcomeKind.APPLIED
        self._answer(trigger, outcome, accepted=accepted)
        for one in live.repeats:
            self._answer(one, outcome, accepted=False)
        live.repeats.clear()
        self.accepted += accepted
        live.base = None
        if not accepted and trigger.concurrency_key:
            self._desk.leave(trigger.execution_id, trigger.concurrency_key)
            self._desk.admit()
        if not accepted and live.ticks:
            # They were meant for the execution of that id that is in the store.
            self._roster.fill(live)

    def answered_late(self, outcome: CommitOutcome) -> None:
        """A commit of a predecessor: only whoever waits for its trigger still has to hear of it."""
        trigger = self._parts.slot.accepting.pop(outcome.commit_id, None)
        if trigger is None:
            return
        if outcome.kind is OutcomeKind.REFUSED:
            self.receive(trigger)
        else:
            accepted = outcome.kind is OutcomeKind.APPLIED
            self._answer(trigger, outcome, accepted=accepted)

    def _answer(self, trigger: Trigger, outcome: CommitOutcome, *, accepted: bool) -> None:
        self._parts.gate.release(accepted=accepted)
        self._parts.board.accepted(trigger.request, outcome)
