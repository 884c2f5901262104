"""Budgets: what counts, when it is settled, and what a breach leads to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.budget import Budget
from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.ticks import Conflicted, Dispatch, Due, Pause, Recover, Resume
from greenroom.protocol.engine.transition import Finish, StopNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

LINE = (["a", "b", "c"], ["a>b", "b>c"])
PAUSING = Budget(steps=2, on_breach="pause")


def test_the_run_that_would_be_over_the_budget_never_begins(start: Any) -> None:
    """It is settled in the step that closes the last run that the budget allows."""
    run = start(*LINE, budget=Budget(steps=2))
    run.succeed()
    closing = run.succeed()
    assert (closing.cause.node, run.known.status) == ("b", Status.EXHAUSTED)
    assert run.known.error == "its budget of steps is used up: 2 of 2, at node 'c'"
    assert run.data("execution_exhausted") == {"error": run.known.error}
    result = run.result()
    assert (result.path, result.steps_executed) == (["a", "b"], 2)
    assert (run.token.node, run.token.attempt) == ("c", 0)


def test_a_budget_that_is_just_enough_is_enough(start: Any) -> None:
    run = start(*LINE, budget=Budget(steps=3))
    for _ in range(3):
        run.succeed()
    assert run.known.status is Status.COMPLETED
    assert run.known.node_runs == 3


def test_failed_attempts_count_and_a_retry_is_not_begun_without_a_budget(start: Any) -> None:
    nodes = [NodeSpec(id="a", max_retries=5, backoff_initial_s=0)]
    run = start(nodes, budget=Budget(steps=2))
    run.fail()
    closing = run.fail()
    assert run.known.status is Status.EXHAUSTED
    assert run.data("node_failed")["will_retry"] is False
    assert closing.patch.retries == 0
    assert (run.known.node_runs, run.known.retries) == (2, 1)


def test_what_came_to_no_end_does_not_count(start: Any) -> None:
    """A run that a crash or a pause cut off, and one that lost a race; and no router counts."""
    router = NodeSpec(id="r", node_type="router", routes={"default": "b"})
    run = start(["a", router, "b"], ["a>r"], budget=Budget(steps=2))
    run.tick(Recover(process_death=True, permit=True))
    run.tick(Conflicted(run.token_id, 1, run.token.attempt, ("global:k",)))
    run.tick(Pause())
    run.tick(Resume())
    run.tick(Dispatch())
    assert run.known.node_runs == 0
    run.succeed()
    run.succeed()
    assert (run.known.status, run.known.node_runs) == (Status.COMPLETED, 2)


def test_a_breach_may_pause_and_a_larger_budget_goes_on(start: Any) -> None:
    """What was used counts on; without a larger one it is paused again before anything runs."""
    run = start(*LINE, budget=PAUSING)
    run.succeed()
    run.succeed()
    reason = "its budget of steps is used up: 2 of 2, at node 'c'"
    assert (run.known.status, run.known.error) == (Status.PAUSED, reason)
    assert run.data("execution_paused") == {"reason": reason}
    assert (run.result().paused_at, run.result().error) == ("c", reason)
    run.tick(Resume())
    assert run.known.error is None
    run.tick(Dispatch())
    assert (run.known.status, run.known.error) == (Status.PAUSED, reason)
    run.tick(Resume(budget=Budget(steps=3)))
    run.tick(Dispatch())
    run.succeed()
    assert run.known.status is Status.COMPLETED
    assert run.known.path == ["a", "b", "c"]
    assert [event.node for event in run.events("node_started")] == ["a", "b", "c"]


def test_an_exhausted_execution_goes_on_with_a_larger_budget(start: Any) -> None:
    run = start([NodeSpec(id="a", max_retries=5, backoff_initial_s=0)], budget=Budget(steps=1))
    run.fail()
    assert run.known.status is Status.EXHAUSTED
    run.tick(Resume(budget=Budget(steps=2)))
    run.tick(Dispatch())
    assert (run.token.phase, run.token.attempt) == (Phase.RUNNING, 2)
    run.fail()
    assert run.known.status is Status.EXHAUSTED


def test_a_rerun_is_not_begun_either_when_the_budget_is_used_up(start: Any) -> None:
    """The node failed, and it was resumed with no more than it had."""
    nodes = [NodeSpec(id="a", max_retries=5, backoff_initial_s=0)]
    run = start(nodes, budget=Budget(steps=1, on_breach="pause"))
    run.fail()
    assert (run.known.status, run.token.attempt) == (Status.PAUSED, 1)
    run.tick(Resume(budget=Budget(steps=1, on_breach="pause")))
    run.tick(Dispatch())
    assert (run.known.status, run.token.attempt) == (Status.PAUSED, 1)


def test_a_failure_way_needs_the_budget_as_well_and_is_kept(start: Any) -> None:
    nodes = [NodeSpec(id="a", max_retries=1), "b"]
    run = start(nodes, [_on_failure("a", "b")], budget=Budget(steps=1, on_breach="pause"))
    run.fail()
    assert (run.known.status, run.token.node) == (Status.PAUSED, "b")
    run.tick(Resume(budget=Budget(steps=2)))
    run.tick(Dispatch())
    run.succeed()
    assert run.known.status is Status.COMPLETED


def _on_failure(source: str, target: str) -> Any:
    from_spec = {"id": "fail", "source": source, "target": target, "condition": "on_failure"}
    return EdgeSpec(**from_spec)


def test_without_a_budget_nothing_is_written(start: Any) -> None:
    run = start(*LINE)
    run.succeed()
    assert (run.last.patch.node_runs, run.last.patch.budget, run.known.node_runs) == (0, None, 0)


@given(
    steps=st.integers(1, 6),
    waits=st.sampled_from([0.0, 0.5, 2.0]),
    ends=st.lists(st.booleans(), min_size=12, max_size=12),
    more=st.integers(1, 4),
)
def test_no_more_runs_end_than_the_budget_allows(
    run_class: Any, steps: int, waits: float, ends: list[bool], more: int
) -> None:
    """Whatever succeeds and fails; and after a breach just as many more as were granted."""
    loop = NodeSpec(id="a", max_node_visits=0, max_retries=3, backoff_initial_s=waits)
    again = EdgeSpec(id="again", source="a", target="a")
    graph = GraphSpec(id="graph", entry_node="a", nodes=[loop], edges=[again], max_steps=1000)
    run = run_class(graph, {}, budget=Budget(steps=steps, on_breach="pause"))
    limit = steps
    for good in ends:
        if run.known.status is Status.PAUSED:
            assert run.known.node_runs == limit
            limit += more
            run.tick(Resume(budget=Budget(steps=limit, on_breach="pause")))
            run.tick(Dispatch())
        if run.known.status is Status.FAILED:
            return
        if run.token.phase is Phase.BACKOFF:
            run.now = run.token.due
            run.tick(Due(permit=True))
        run.succeed() if good else run.fail()
        assert run.known.node_runs <= limit


@pytest.mark.parametrize("on_breach", ["end", "pause"])
def test_max_steps_of_the_graph_stays_its_own_limit(start: Any, on_breach: str) -> None:
    run = start(*LINE, max_steps=1, budget=Budget(steps=5, on_breach=on_breach))
    run.succeed()
    assert run.known.status is Status.EXHAUSTED
    assert "max_steps of 1" in run.known.error


# --- time


def test_the_time_of_a_budget_stops_the_node_that_runs(start: Any) -> None:
    run = start(*LINE, budget=Budget(wall_s=10))
    run.now += 4
    run.succeed()
    assert due_at(run.known) == 1_010.0
    transition = run.come_due(permit=True)
    assert transition.commands == (StopNode(run.token_id), Finish(Status.EXHAUSTED))
    assert run.known.error == "its budget of time is used up: 10.000 of 10 s, at node 'b'"
    assert (run.token.node, run.token.phase) == ("b", Phase.READY)
    assert run.known.wall_s == pytest.approx(10)


def test_only_the_time_in_which_it_runs_is_counted(start: Any) -> None:
    """Not that in the line, of a long backoff, of a pause, nor while nobody looked."""
    nodes = [NodeSpec(id="a", max_retries=5, backoff_initial_s=5.0), "b"]
    run = start(nodes, ["a>b"], permit=False, budget=Budget(wall_s=10))
    run.now += 100
    run.tick(Dispatch())
    run.now += 2
    run.fail()
    assert (run.known.status, run.known.wall_s) == (Status.WAITING, 2)
    assert due_at(run.known) == run.token.due
    run.come_due(permit=True)
    run.now += 3
    run.tick(Pause())
    run.now += 100
    run.tick(Resume())
    run.tick(Dispatch())
    run.now += 50
    run.tick(Recover(process_death=True, permit=True))
    assert run.known.wall_s == 5
    run.now += 4
    run.succeed()
    assert (run.known.status, run.known.wall_s) == (Status.RUNNING, 9)
    assert due_at(run.known) == pytest.approx(run.now + 1)


def test_time_that_a_resume_adds_counts_from_what_was_used(start: Any) -> None:
    """Also after the end: unlike that of a timeout, the time of a budget is never forgiven."""
    run = start(*LINE, budget=Budget(wall_s=10))
    run.come_due(permit=True)
    assert run.known.status is Status.EXHAUSTED
    run.tick(Resume())
    run.tick(Dispatch())
    assert run.known.status is Status.EXHAUSTED, "nothing was added"
    run.tick(Resume(budget=Budget(wall_s=15, on_breach="pause")))
    run.tick(Dispatch())
    assert due_at(run.known) == pytest.approx(run.now + 5)
    run.come_due(permit=True)
    assert (run.known.status, run.token.node) == (Status.PAUSED, "a")
    run.tick(Resume(budget=Budget()))
    run.tick(Dispatch())
    assert due_at(run.known) is None
    for _ in range(3):
        run.succeed()
    assert run.known.status is Status.COMPLETED


def test_a_short_backoff_is_time_in_which_it_runs(start: Any) -> None:
    nodes = [NodeSpec(id="a", max_retries=5, backoff_initial_s=0.5)]
    run = start(nodes, budget=Budget(wall_s=1.2))
    run.now += 1
    run.fail()
    assert (run.known.status, run.token.phase) == (Status.RUNNING, Phase.BACKOFF)
    run.come_due(permit=True)
    assert run.known.status is Status.EXHAUSTED


@given(
    limit=st.floats(0.02, 50),
    passed=st.lists(st.floats(0, 20), min_size=1, max_size=20),
    start_at=st.sampled_from([1_000.0, 1_767_323_045.25]),
)
def test_whatever_the_clock_says_the_budget_ends_and_does_not_turn_in_a_circle(
    run_class: Any, limit: float, passed: list[float], start_at: float
) -> None:
    """Sums of times are not exact; a timer that fires must find its time used up."""
    loop = NodeSpec(id="a", max_node_visits=0)
    again = EdgeSpec(id="again", source="a", target="a")
    graph = GraphSpec(id="graph", entry_node="a", nodes=[loop], edges=[again], max_steps=1000)
    run = run_class(graph, {}, budget=Budget(wall_s=limit, on_breach="pause"))
    run.now = start_at
    run.tick(Pause())
    run.tick(Resume())
    run.tick(Dispatch())
    if run.known.status is Status.PAUSED:
        return
    for one in passed:
        due = due_at(run.known)
        assert due is not None
        if run.now + one >= due:
            run.come_due(permit=True)
            assert run.known.status is Status.PAUSED
            assert run.known.wall_s == pytest.approx(limit, abs=0.001)
            run.tick(Resume())
            run.tick(Dispatch())
            assert run.known.status is Status.PAUSED
            return
        run.now += one
        run.succeed()
        if run.known.status is Status.PAUSED:
            assert run.known.wall_s == pytest.approx(limit, abs=0.002)
            return
