"""Concurrency keys in any order of events: one at a time, nobody forgotten, nobody overtaken."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from greenroom.actors.stream.key_line import KeyLine
from greenroom.actors.stream.waiting_line import Place, WaitingLine
from greenroom.protocol.execution import Status

KEYS = ("a", "b")
ENDED = (Status.COMPLETED, Status.FAILED)
STILL = (Status.WAITING, Status.PAUSED)


class KeyLineMachine(RuleBasedStateMachine):
    """Plays the stream. `status` and `owners` are the store's, and outlive a crash."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[int, str] = {}
        self.status: dict[int, Status] = {}
        self.owners: dict[str, int] = {}
        self.up: dict[str, set[int]] = {}  # who may come up in the line, as it was last
        self._new_instance()

    def _new_instance(self) -> None:
        self.line = WaitingLine()
        self.key_line = KeyLine(self.line, lambda key: self.owners.get(key, 0))

    def _pick(self, data: Any, *statuses: Status) -> int:
        return data.draw(st.sampled_from([one for one, s in self.status.items() if s in statuses]))

    def _any(self, *statuses: Status) -> bool:
        return any(one in statuses for one in self.status.values())

    def _queue(self, ordinal: int, *, fresh: bool) -> None:
        self.status[ordinal] = Status.QUEUED
        place = Place(fresh, 0.0, ordinal, str(ordinal), concurrency_key=self.keys[ordinal])
        self.key_line.join(place)

    def _begin(self, ordinal: int) -> None:
        key = self.keys[ordinal]
        assert self.owners.get(key, ordinal) == ordinal, "two at a time"
        self.owners[key] = ordinal
        self.status[ordinal] = Status.RUNNING

    def _stand(self, ordinal: int, status: Status) -> None:
        """It ends, or stands still: the commit first, then what the stream makes of it."""
        key = self.keys[ordinal]
        self.status[ordinal] = status
        if status in ENDED and self.owners.get(key) == ordinal:
            del self.owners[key]
        self.key_line.leave(key, self.line.leave(str(ordinal)), str(ordinal))

    @rule(key=st.sampled_from(KEYS), permit=st.booleans(), refused=st.booleans())
    def trigger(self, key: str, permit: bool, refused: bool) -> None:
        ordinal = len(self.keys) + 1
        may_begin = self.key_line.arrive(key, str(ordinal))
        before = [
            one
            for one, status in self.status.items()
            if self.keys[one] == key and (status is Status.QUEUED or self.owners.get(key) == one)
        ]
        assert may_begin == (not before)
        self.keys[ordinal] = key
        if refused:
            self.status[ordinal] = Status.COMPLETED  # the store has nothing of it
            self.key_line.leave(key, None, str(ordinal))
        elif may_begin and permit:
            self._begin(ordinal)
        else:
            self._queue(ordinal, fresh=True)

    @precondition(lambda self: self.line.first() is not None)
    @rule()
    def permit_comes(self) -> None:
        place = self.line.first()
        assert place is not None
        self.line.leave(place.execution_id)
        assert self.up[place.concurrency_key] == {place.ordinal}
        self._begin(place.ordinal)

    @precondition(lambda self: self._any(Status.RUNNING))
    @rule(data=st.data(), status=st.sampled_from((*ENDED, *STILL)))
    def run_ends(self, data: Any, status: Status) -> None:
        self._stand(self._pick(data, Status.RUNNING), status)

    @precondition(lambda self: self._any(Status.RUNNING))
    @rule(data=st.data())
    def requeued(self, data: Any) -> None:
        self._queue(self._pick(data, Status.RUNNING), fresh=False)

    @precondition(lambda self: self._any(Status.QUEUED))
    @rule(data=st.data(), status=st.sampled_from((Status.COMPLETED, Status.PAUSED)))
    def stopped_in_the_line(self, data: Any, status: Status) -> None:
        self._stand(self._pick(data, Status.QUEUED), status)

    @precondition(lambda self: self._any(*STILL, Status.FAILED))
    @rule(data=st.data())
    def taken_up(self, data: Any) -> None:
        self._queue(self._pick(data, *STILL, Status.FAILED), fresh=False)

    @precondition(lambda self: self._any(*STILL))
    @rule(data=st.data())
    def cancelled_while_it_stands(self, data: Any) -> None:
        self._stand(self._pick(data, *STILL), Status.COMPLETED)

    @rule()
    def crash(self) -> None:
        """A new instance reads the store: whoever is queued joins again, in order."""
        self._new_instance()
        for ordinal, status in self.status.items():
            if status is Status.QUEUED:
                self._queue(ordinal, fresh=False)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Everyone queued is in the line; of each key the right one, and only it, may come up."""
        ready = {place.ordinal for place in self.line._heap if self.line._is_current(place)}
        for key in KEYS:
            queued = [
                one
                for one, status in self.status.items()
                if status is Status.QUEUED and self.keys[one] == key
            ]
            assert all(str(one) in self.line for one in queued)
            owner = self.owners.get(key)
            up = ready & set(queued)
            if owner is not None:
                assert up == {owner} & set(queued)
            elif queued:
                # Whoever may come up already is not put back for one that is taken up later.
                assert up == {min(queued)} or up == self.up.get(key)
            self.up[key] = up
        assert len(self.line) == list(self.status.values()).count(Status.QUEUED)


KeyLineMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_any_order = KeyLineMachine.TestCase


def test_places_that_were_given_up_take_no_memory() -> None:
    """A queue that drops its oldest for ever, behind one that never ends."""
    line = WaitingLine()
    for number in range(10_000):
        line.join(Place(True, float(number), number, str(number)))
        if number >= 10:
            line.leave(str(number - 10))
    assert len(line) == 10
    assert len(line._heap) < 200
