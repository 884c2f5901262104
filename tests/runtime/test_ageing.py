"""Waiting makes an execution older: a low priority delays it, and never starves it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.stream.commits import queue_key
from greenroom.actors.stream.permits import PermitPool
from greenroom.actors.stream.waiting_line import Place, WaitingLine
from greenroom.protocol.execution import Accepted
from greenroom.protocol.limits import PRIORITY_STEP_S

arrivals = st.lists(st.tuples(st.integers(0, 600), st.integers(-3, 3)), min_size=1, max_size=40)


def _place(ordinal: int, at: float, priority: int) -> Place:
    accepted = Accepted(
        execution_id=str(ordinal),
        entry_point="main",
        entry_node="work",
        graph_id="g",
        goal_id="goal",
        correlation_id=str(ordinal),
        accepted_at=at,
        priority=priority,
    )
    return Place(fresh=True, key=queue_key(accepted), ordinal=ordinal, execution_id=str(ordinal))


@given(arrivals=arrivals)
def test_nobody_is_overtaken_by_who_came_a_minute_later_for_each_priority(
    arrivals: list[tuple[int, int]],
) -> None:
    """However many come, and whatever their priority is."""
    line = WaitingLine()
    came = sorted(arrivals, key=lambda one: one[0])
    for ordinal, (at, priority) in enumerate(came, 1):
        line.join(_place(ordinal, at, priority))
    served: list[int] = []
    while (place := line.first()) is not None:
        line.leave(place.execution_id)
        served.append(place.ordinal)
    for position, overtaker in enumerate(served):
        for late in served[position + 1 :]:
            (at, priority), (before, low) = came[overtaker - 1], came[late - 1]
            assert at - before <= (priority - low) * PRIORITY_STEP_S


def test_a_low_priority_comes_next_after_its_minutes_of_a_flood_of_higher_ones() -> None:
    """One arrives each second and one is served each second, for ever: still its turn comes."""
    line = WaitingLine()
    line.join(_place(1, 0.0, -2))
    for second in range(1, 1000):
        line.join(_place(second + 1, float(second), 0))
        place = line.first()
        assert place is not None
        line.leave(place.execution_id)
        if place.ordinal == 1:
            assert second == 2 * PRIORITY_STEP_S
            return
    raise AssertionError("it starved")


class _Stream:
    """A stream that counts how often it is woken."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.woken = 0

    def tell(self, message: object, *, control: bool) -> None:
        self.woken += 1


class _Clock:
    """Moved by hand."""

    at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def test_a_stream_of_low_priority_gets_its_permit_in_the_end() -> None:
    """Against a stream of high priority that always wants the next one."""
    clock = _Clock()
    pool = PermitPool(1, clock)
    low: Any = _Stream("low")
    high: Any = _Stream("high")
    assert pool.take(high, 5)
    assert not pool.take(low, 0)
    rounds = 0
    while not low.woken:
        clock.at += 10
        rounds += 1
        assert not pool.take(high, 5)
        pool.give_back(high)
        if high.woken:
            high.woken = 0
            assert pool.take(high, 5)
    assert rounds * 10 == 5 * PRIORITY_STEP_S
