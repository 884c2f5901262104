"""Who is woken by a time gets a permit at once, or queues for one."""

from typing import Any

import pytest

from greenroom.actors.stream.admission_desk import SUSPECT_CRASHES, AdmissionDesk
from greenroom.actors.stream.live import Live
from greenroom.actors.stream.permits import PermitPool
from greenroom.actors.stream.waiting_line import Place
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Accepted, ExecutionState, Phase, Status, Token


class Stream:
    """What a pool of permits knows of a stream."""

    address = "streams/main"

    def tell(self, message: Any, *, control: bool = False) -> None:
        raise AssertionError(f"nobody waits for a permit: {message}")


def _woken(crashes: int) -> Live:
    accepted = Accepted(
        execution_id="e1",
        entry_point="main",
        entry_node="work",
        graph_id="g",
        goal_id="goal",
        correlation_id="e1",
        accepted_at=1.0,
    )
    token = Token(node="work", attempt=1, crashes=crashes, phase=Phase.BACKOFF, due=2.0)
    state = ExecutionState(accepted=accepted, status=Status.WAITING, tokens={1: token})
    return Live("e1", state, ordinal=1)


def _desk() -> AdmissionDesk:
    stream: Any = Stream()
    owner: Any = None
    spec = EntryPointSpec(id="main", entry_node="work")
    return AdmissionDesk(spec, PermitPool(4), stream, owner, lambda key: 0)


@pytest.mark.parametrize(("crashes", "taken"), [(0, True), (SUSPECT_CRASHES, False)])
def test_whoever_was_in_flight_at_two_deaths_queues_to_run_alone(crashes: int, taken: bool) -> None:
    """The line lets suspects go one at a time; waking must be no way around it."""
    desk, live = _desk(), _woken(crashes)
    assert desk.take_unless_others_wait(live) is taken
    assert (live.permit, desk.running) == (taken, int(taken))


def test_whoever_is_woken_queues_behind_those_who_wait_already() -> None:
    desk, live = _desk(), _woken(0)
    desk.join(Place(fresh=False, key=0.0, ordinal=2, execution_id="e2"))
    assert not desk.take_unless_others_wait(live)
    desk.leave("e2", "")
    assert desk.take_unless_others_wait(live)
    assert desk.take_unless_others_wait(live), "its permit is its own"
    assert desk.running == 1
