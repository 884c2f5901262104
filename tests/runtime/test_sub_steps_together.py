"""Sub-steps that wait for the commit in flight go into the next one together."""

from collections import deque
from typing import Any

from greenroom.actors.stream.live import Pending
from greenroom.actors.stream.sub_steps import next_pending
from greenroom.protocol.effects import EffectChange
from greenroom.protocol.engine.ticks import Cancel, Progressed


class Asker:
    def __init__(self) -> None:
        self.answers: list[Any] = []

    def set(self, value: Any = None) -> None:
        self.answers.append(value)


def sub_step(slot: str, *, attempt: int = 1, token_id: int = 1) -> Pending:
    tick = Progressed(token_id, 1, attempt, (EffectChange(slot),))
    return Pending(tick, reply=Asker())  # type: ignore[arg-type]


def slots(pending: Pending) -> list[str]:
    assert isinstance(pending.tick, Progressed)
    return [change.slot for change in pending.tick.changes]


def test_those_of_one_run_in_a_row_are_taken_together_and_all_are_answered() -> None:
    waiting = [sub_step("a/1"), sub_step("b/1"), sub_step("c/1")]
    ticks = deque(waiting)
    taken = next_pending(ticks)
    assert slots(taken) == ["a/1", "b/1", "c/1"]
    assert not ticks
    assert taken.reply is not None
    taken.reply.set(True)
    assert [one.reply.answers for one in waiting] == [[True]] * 3  # type: ignore[union-attr]


def test_nothing_overtakes_and_other_runs_stay_apart() -> None:
    cancel = Pending(Cancel())
    other_run, other_token = sub_step("c/1", attempt=2), sub_step("d/1", token_id=2)
    ticks = deque([sub_step("a/1"), cancel, sub_step("b/1"), other_run, other_token])
    assert slots(next_pending(ticks)) == ["a/1"]
    assert next_pending(ticks) is cancel
    assert slots(next_pending(ticks)) == ["b/1"]
    assert next_pending(ticks) is other_run
    assert next_pending(ticks) is other_token
