"""Triggers that come together: accepted in one commit, all of them or none."""

from msgspec.structs import replace

from greenroom.actors.stream.live import Batch
from greenroom.actors.stream.parts import StreamParts
from greenroom.actors.stream.reception import Reception
from greenroom.actors.stream.steps import StepMachine
from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind
from greenroom.protocol.errors import GreenroomError
from greenroom.protocol.stream_messages import Trigger, TriggerMany


class Batches:
    """The batches of one instance of one stream. Only on the runtime's loop thread.

    Each trigger takes its steps as if it had come alone; only its commit travels with the others.
    """

    def __init__(
        self, parts: StreamParts, reception: Reception, steps: StepMachine, fence: int
    ) -> None:
        self._parts = parts
        self._reception = reception
        self._steps = steps
        self._fence = fence
        self._own: set[int] = set()  # commit ids, of this instance

    def receive(self, message: TriggerMany) -> None:
        """Accept the executions, but for those that are here already, when it came again."""
        slot = self._parts.slot
        new = [one for one in message.triggers if not self._reception.answer_known(one)]
        made = self._commits_of(new)
        accepts = tuple(one for one in made if one.commit_id in slot.accepting)
        slot.outbox.extend(one for one in made if one.commit_id not in slot.accepting)
        number = slot.take_commit_id()
        outcome = CommitOutcome(commit_id=number, kind=OutcomeKind.APPLIED)
        if len(accepts) < len(new):
            text = "one of the executions could not be made: the log says why"
            code = GreenroomError.code
            outcome = replace(outcome, kind=OutcomeKind.REFUSED, code=code, text=text)
        batch = Batch(message, tuple(one.commit_id for one in accepts))
        if not accepts or outcome.kind is OutcomeKind.REFUSED:
            self._answer(batch, outcome)
            return
        self._own.add(number)
        slot.batches[number] = batch
        stream = self._parts.entry_point.id
        slot.outbox.append(
            Commit(commit_id=number, stream=stream, incarnation=self._fence, accepts=accepts)
        )

    def _commits_of(self, triggers: list[Trigger]) -> list[Commit]:
        """What accepting them sends; a crash in the middle sends nothing of it, and they come
        again.
        """
        slot = self._parts.slot
        sent, slot.outbox = slot.outbox, []
        try:
            for trigger in triggers:
                self._reception.accept(trigger)
        finally:
            made, slot.outbox = slot.outbox, sent
        return made

    def acknowledge(self, outcome: CommitOutcome) -> bool:
        """Take the writer's answer; False when it is not about a batch."""
        slot = self._parts.slot
        batch = slot.batches.pop(outcome.commit_id, None)
        if batch is None:
            return False
        if outcome.commit_id in self._own:
            self._own.discard(outcome.commit_id)
            self._answer(batch, outcome)
            return True
        # A predecessor's: nobody else knows of its executions yet.
        for number in batch.numbers:
            slot.accepting.pop(number, None)
        if outcome.kind is OutcomeKind.REFUSED:
            self.receive(batch.message)
            return True
        for _ in batch.numbers:
            self._parts.gate.release(accepted=outcome.kind is OutcomeKind.APPLIED)
        self._parts.board.accepted(batch.message.request, outcome)
        return True

    def _answer(self, batch: Batch, outcome: CommitOutcome) -> None:
        parts = outcome.parts or tuple(
            replace(outcome, commit_id=number) for number in batch.numbers
        )
        for part in parts:
            self._steps.acknowledge(part)
        self._parts.board.accepted(batch.message.request, outcome)
