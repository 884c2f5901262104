"""Cancel, hold, recovery and lost races."""

import pytest

from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import (
    Cancel,
    Conflicted,
    Dispatch,
    Due,
    Hold,
    NodeErrored,
    NodeSucceeded,
    Recover,
)
from greenroom.protocol.engine.transition import Finish, RunNode, StopNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.limits import CONFLICT_RUNS_MAX, PROCESS_DEATHS_MAX


def queued(start):
    return start(["a"], permit=False)


def running(start):
    return start(["a"])


def short_backoff(start):
    run = start([NodeSpec(id="a", backoff_initial_s=0.5)])
    run.fail()
    return run


def waiting(start):
    run = start(["a"])
    run.fail()
    return run


def sleeping(start):
    run = start(["a", "b"], ["a>b"])
    run.succeed(sleep_until=2_000.0)
    return run


def held(start):
    run = start(["a"])
    run.tick(Hold("the function is gone"))
    return run


def completed(start):
    run = start(["a"])
    run.succeed()
    return run


def failed(start):
    run = start([NodeSpec(id="a", max_retries=1)])
    run.fail()
    return run


def cancelled(start):
    run = start(["a"])
    run.tick(Cancel("enough"))
    return run


UNFINISHED = [queued, running, short_backoff, waiting, sleeping]


@pytest.mark.parametrize("state", [*UNFINISHED, held])
def test_cancel_works_in_every_state_that_is_not_an_end(start, state):
    """One event, of its own type; the token is parked; a running node is stopped."""
    run = state(start)
    was_running = run.token.phase is Phase.RUNNING
    run.now = 1_005.0
    transition = run.tick(Cancel("enough"))
    assert run.known.status is Status.CANCELLED
    assert run.known.ended_at == 1_005.0
    stops = (StopNode(run.token_id),) if was_running else ()
    assert transition.commands == (*stops, Finish(Status.CANCELLED))
    assert [event.type for event in transition.events] == ["execution_cancelled"]
    assert run.result().error == "Execution cancelled: enough"
    assert run.data("execution_cancelled") == {"error": "Execution cancelled: enough"}
    assert (run.token.phase, run.token.due) == (Phase.READY, None)
    assert not run.result().success


@pytest.mark.parametrize("state", UNFINISHED)
def test_hold_works_in_every_state_that_is_not_an_end(start, state):
    """The reason is the error; it has not ended."""
    run = state(start)
    transition = run.tick(Hold("the function is gone"))
    assert run.known.status is Status.HELD
    assert run.known.ended_at is None
    assert transition.commands[-1] == Finish(Status.HELD)
    assert [event.type for event in transition.events] == ["execution_held"]
    assert run.result().error == "the function is gone"
    assert run.token.phase is Phase.READY
    assert run.tick(Hold("again")) is None


@pytest.mark.parametrize("state", [completed, failed, cancelled])
def test_nothing_moves_an_execution_that_has_ended(start, state):
    """Every tick is stale then."""
    run = state(start)
    for tick in every_tick():
        assert run.tick(tick) is None


def test_only_cancel_moves_a_held_execution(start):
    """A person decides."""
    run = held(start)
    for tick in every_tick():
        if not isinstance(tick, Cancel):
            assert run.tick(tick) is None


def every_tick():
    return [
        Dispatch(),
        Due(permit=False),
        Due(permit=True),
        NodeSucceeded(1, 1, 1, {}, 1),
        NodeErrored(1, 1, 1, "x", (), 1),
        Conflicted(1, 1, 1, ("k",)),
        Recover(process_death=True, permit=True),
        Hold("x"),
        Cancel("x"),
    ]


def test_a_running_token_is_not_dispatched_again(start):
    """Nor due: two runs of one attempt would be two truths."""
    run = running(start)
    assert run.tick(Dispatch()) is None
    assert run.tick(Due(permit=True)) is None


def test_recovery_runs_a_node_in_flight_again_with_the_next_attempt(start):
    """Same visit, so the same idempotency keys; no failure is counted."""
    run = running(start)
    transition = run.tick(Recover(process_death=True, permit=True))
    assert transition.commands == (RunNode(run.token_id, "a", 1, 2),)
    assert [event.type for event in transition.events] == ["execution_recovered", "node_started"]
    assert run.data("execution_recovered") == {"visit": 1, "attempt": 2}
    assert (run.token.attempt, run.token.crashes, run.token.failures) == (2, 1, 0)
    assert run.known.visits == {"a": 1}
    assert run.known.steps == 1
    run.succeed()
    assert run.result().is_clean_success


def test_recovery_without_a_permit_queues(start):
    """The attempt is counted by the dispatch, since attempts count dispatches."""
    run = running(start)
    transition = run.tick(Recover(process_death=True, permit=False))
    assert transition.commands == ()
    assert (run.known.status, run.token.phase) == (Status.QUEUED, Phase.READY)
    assert (run.token.attempt, run.token.crashes) == (1, 1)
    assert run.data("execution_recovered") == {"visit": 1, "attempt": 2}
    run.tick(Dispatch())
    assert (run.known.status, run.token.attempt, run.token.crashes) == (Status.RUNNING, 2, 1)


def test_a_stream_that_restarts_counts_no_death_of_the_process(start):
    """A crash of ours is not the node's fault."""
    run = running(start)
    for _ in range(5):
        run.tick(Recover(process_death=False, permit=True))
    assert (run.token.attempt, run.token.crashes) == (6, 0)


@pytest.mark.parametrize("state", [queued, short_backoff, waiting, held, completed])
def test_recovery_changes_nothing_where_nothing_was_in_flight(start, state):
    """No commit for it."""
    run = state(start)
    assert run.tick(Recover(process_death=True, permit=True)) is None


@pytest.mark.parametrize("permit", [True, False])
def test_three_deaths_without_progress_hold_the_execution(start, permit):
    """The suspect is named."""
    run = running(start)
    for _ in range(PROCESS_DEATHS_MAX - 1):
        run.tick(Recover(process_death=True, permit=permit))
        if not permit:
            run.tick(Dispatch())
    transition = run.tick(Recover(process_death=True, permit=permit))
    assert run.known.status is Status.HELD
    assert transition.commands == (Finish(Status.HELD),)
    assert run.result().error == "node 'a' was running at 3 deaths of the process"
    assert run.token.crashes == PROCESS_DEATHS_MAX


def test_progress_clears_the_suspicion(start):
    """Deaths are counted per visit."""
    run = start(["a", "b"], ["a>b"])
    for _ in range(PROCESS_DEATHS_MAX - 1):
        run.tick(Recover(process_death=True, permit=True))
    run.succeed()
    assert run.token.crashes == 0


def test_crashes_do_not_use_up_attempts_of_max_retries(start):
    """Failures and crashes are counted apart."""
    run = start([NodeSpec(id="a", max_retries=2, backoff_initial_s=0)])
    run.tick(Recover(process_death=True, permit=True))
    run.fail()
    assert run.known.status is Status.RUNNING
    assert (run.token.attempt, run.token.failures, run.token.crashes) == (3, 1, 1)


@pytest.mark.parametrize(
    "tick",
    [
        Recover(process_death=True, permit=True),
        NodeSucceeded(1, 1, 1, {}, 1),
        NodeErrored(1, 1, 1, "x", (), 1),
        Conflicted(1, 1, 1, ()),
    ],
)
def test_a_node_that_the_graph_lost_holds_the_execution(start, graph_of, tick):
    """Another plan than the one it ran under: a person decides."""
    run = running(start)
    run.plan = compile_plan(graph_of(["other"], ()))
    run.tick(tick)
    assert run.known.status is Status.HELD
    assert run.result().error == "node 'a' is not in graph 'graph'"


def test_a_queued_entry_that_the_graph_lost_holds_the_execution(start, graph_of):
    """Also when the permit comes, or when it is accepted with one."""
    run = queued(start)
    run.plan = compile_plan(graph_of(["other"], ()))
    run.tick(Dispatch())
    assert run.known.status is Status.HELD
    assert start(["a"], entry="gone").known.status is Status.HELD


def test_a_lost_race_runs_the_step_again(start):
    """conflicts and attempt grow, failures do not; nothing of the run is kept."""
    run = running(start)
    transition = run.tick(Conflicted(run.token_id, 1, 1, ("total", "x" * 500)))
    assert transition.commands == (RunNode(run.token_id, "a", 1, 2),)
    assert [event.type for event in transition.events] == ["state_conflict", "node_started"]
    data = run.data("state_conflict")
    assert (data["visit"], data["attempt"], data["keys"][0]) == (1, 1, "total")
    assert (run.token.attempt, run.token.conflicts, run.token.failures) == (2, 1, 0)
    assert run.result().retry_details == {}


def test_a_step_that_lost_too_often_has_failed_once(start):
    """With StateConflict, which is retryable; the next attempt may lose as often again."""
    run = start([NodeSpec(id="a", max_retries=2, backoff_initial_s=0, retry_on=["StateConflict"])])
    for number in range(CONFLICT_RUNS_MAX):
        assert run.token.conflicts == number
        run.tick(Conflicted(run.token_id, 1, run.token.attempt, ("total",)))
    assert (run.token.failures, run.token.conflicts) == (1, 0)
    assert run.token.attempt == CONFLICT_RUNS_MAX + 1
    for _ in range(CONFLICT_RUNS_MAX):
        run.tick(Conflicted(run.token_id, 1, run.token.attempt, ("total",)))
    assert run.known.status is Status.FAILED
    assert "lost the race for total in 5 runs" in run.result().error


def test_conflict_events_stay_small(start):
    """However many and long the keys are."""
    run = running(start)
    run.tick(Conflicted(run.token_id, 1, 1, tuple("\U0001f600" * 500 for _ in range(5_000))))
    (event,) = run.events("state_conflict")
    assert len(event.data) <= 4_096
