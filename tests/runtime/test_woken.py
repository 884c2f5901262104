"""Who is woken by a time gets a permit at once, or queues for one."""

from typing import Any

import pytest
from msgspec.structs import replace

from greenroom.actors.stream.admission_desk import (
    SUSPECT_CRASHES,
    AdmissionDesk,
    suspects_in_flight,
)
from greenroom.actors.stream.live import Delete, Live, Pending
from greenroom.actors.stream.permits import PermitPool
from greenroom.actors.stream.waiting_line import Place
from greenroom.protocol.engine.ticks import Dispatch, Tick
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Accepted, ExecutionState, Phase, Status, Token


class Stream:
    """What a pool of permits knows of a stream."""

    address = "streams/main"

    def tell(self, message: Any, *, control: bool = False) -> None:
        raise AssertionError(f"nobody waits for a permit: {message}")


def _woken(crashes: int = 0, key: str = "") -> Live:
    accepted = Accepted(
        execution_id="e1",
        entry_point="main",
        entry_node="work",
        graph_id="g",
        goal_id="goal",
        correlation_id="e1",
        accepted_at=1.0,
        concurrency_key=key,
    )
    token = Token(node="work", attempt=1, crashes=crashes, phase=Phase.BACKOFF, due=2.0)
    state = ExecutionState(accepted=accepted, status=Status.WAITING, tokens={1: token})
    return Live("e1", state, ordinal=1)


def _desk(owner: Any = None, owners: dict[str, int] | None = None) -> AdmissionDesk:
    stream: Any = Stream()
    spec = EntryPointSpec(id="main", entry_node="work")
    return AdmissionDesk(spec, PermitPool(4), stream, owner, lambda key: (owners or {}).get(key, 0))


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


@pytest.mark.parametrize(("owner", "taken"), [(1, True), (2, False), (0, False)])
def test_whoever_is_woken_without_its_key_queues_for_it(owner: int, taken: bool) -> None:
    """It was taken back, after its end, to where it waits."""
    desk, live = _desk(owners={"k": owner}), _woken(key="k")
    assert desk.take_unless_others_wait(live) is taken


def test_one_permit_is_enough_for_who_is_due_and_then_comes_up_in_the_line() -> None:
    """Its deadline passes while it is behind its key, and the key comes free before that is
    stored.
    """
    live = _woken()
    assert live.state is not None
    queued = Token(node="work")
    live.state = replace(live.state, status=Status.QUEUED, tokens={1: queued})
    steps: list[Tick | Delete] = []

    class Owner:
        def find(self, execution_id: str) -> Live:
            return live

        def step(self, live: Live, pending: Pending) -> None:
            steps.append(pending.tick)

    desk = _desk(Owner())
    assert desk.take(live), "for what is due"
    desk.join(Place(fresh=True, key=0.0, ordinal=1, execution_id="e1"))
    desk.admit()
    assert (steps, desk.running) == ([Dispatch()], 1)
    desk.give_back(live)
    assert desk.running == 0


def _branches(*tokens: Token) -> Live:
    live = _woken()
    assert live.state is not None
    live.state = replace(
        live.state, status=Status.RUNNING, seq=7, tokens=dict(enumerate(tokens, start=1))
    )
    return live


RUNS = Token(node="work", attempt=1, phase=Phase.RUNNING)
WAITS = Token(node="work", attempt=1, phase=Phase.READY)


@pytest.mark.parametrize(
    ("tokens", "permit", "started"),
    [
        ((RUNS, WAITS), True, [Dispatch()]),
        ((RUNS, WAITS), False, []),
        ((RUNS, RUNS), True, []),
    ],
)
def test_a_branch_never_waits_for_a_permit_that_its_execution_has(
    tokens: tuple[Token, ...], permit: bool, started: list[Tick]
) -> None:
    """And it is started once: what that changes nothing of must not turn in a circle."""
    steps: list[Tick | Delete] = []

    class Owner:
        def step(self, live: Live, pending: Pending) -> None:
            steps.append(pending.tick)

    desk, live = _desk(Owner()), _branches(*tokens)
    assert live.state is not None
    assert not permit or desk.take(live)
    for _ in range(3):
        desk.start_the_rest(live, live.state)
    assert steps == started


SUSPECT = replace(RUNS, crashes=SUSPECT_CRASHES)


@pytest.mark.parametrize(
    ("tokens", "suspected"),
    [
        ((SUSPECT, SUSPECT), True),
        ((SUSPECT, RUNS), False),
        ((SUSPECT, replace(SUSPECT, phase=Phase.SLEEPING)), False),
    ],
)
def test_an_execution_is_a_suspect_while_another_of_its_suspects_runs(
    tokens: tuple[Token, ...], suspected: bool
) -> None:
    """One branch that made progress does not clear the others."""
    live = _branches(*tokens)
    assert live.state is not None
    assert suspects_in_flight(live.state, but=1) is suspected
