"""Time that runs out: of a node run, and of a whole execution."""

import pytest

from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import Due, Hold, NodeErrored, Pause, Recover, Resume
from greenroom.protocol.engine.transition import Finish, RunNode, StopNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec

QUICK = NodeSpec(id="a", timeout_s=5.0, backoff_initial_s=0, max_retries=2)


def test_a_node_run_that_takes_too_long_has_failed_and_is_stopped(start):
    """Counted from its dispatch; it gets its next attempt, with its own time."""
    run = start([QUICK])
    assert (run.token.due, due_at(run.known)) == (1_005.0, 1_005.0)
    run.now = 1_004.9
    assert run.tick(Due(permit=True)) is None
    run.now = 1_006.0
    transition = run.tick(Due(permit=True))
    assert transition.commands == (StopNode(run.token_id), RunNode(run.token_id, "a", 1, 2))
    assert [event.type for event in transition.events] == ["node_failed", "node_started"]
    failed = run.data("node_failed")
    assert (failed["error"], failed["error_type"]) == ("it timed out after 5 s", "NodeTimedOut")
    assert (run.token.due, run.token.failures) == (1_011.0, 1)
    assert transition.cause.error == "it timed out after 5 s"
    run.come_due(permit=True)
    assert run.result().error == "Node 'a' failed after 2 attempts: it timed out after 5 s"
    assert run.last.commands == (StopNode(run.token_id), Finish(Status.FAILED))


@pytest.mark.parametrize("raises", [False, True])
def test_the_end_of_a_run_after_its_time_is_refused(start, raises):
    """Also when nobody has noticed yet that the time is over."""
    run = start([QUICK])
    late = NodeErrored(run.token_id, 1, 1, "broken", ("E",), 1)
    run.now = 1_005.0
    transition = run.tick(late) if raises else run.succeed({"x": 1})
    assert not transition.closed
    assert run.data("node_failed")["error_type"] == "NodeTimedOut"
    assert "x" not in run.known.memory
    assert run.token.attempt == 2
    assert run.tick(late) is None


def test_an_end_in_time_counts(start):
    """The timer has nothing to do then."""
    run = start([QUICK, "b"], ["a>b"])
    run.now = 1_004.999
    run.succeed({"x": 1})
    assert (run.token.node, run.token.due) == ("b", None)
    run.now = 1_010.0
    assert run.tick(Due(permit=True)) is None


def test_no_time_at_all_means_at_once(start):
    """The function is never begun, and 0 is not "for ever"."""
    run = start([NodeSpec(id="a", timeout_s=0, max_retries=1)])
    assert run.last.commands == ()
    assert run.tick(Due(permit=True)).commands[-1] == Finish(Status.FAILED)
    assert run.result().error == "Node 'a' failed after 1 attempts: it timed out after 0 s"


def test_no_limit_means_none(start):
    """Nothing will come due."""
    assert due_at(start(["a"]).known) is None


def test_a_node_that_timed_out_follows_its_failure_edge(start):
    """As one that raised."""
    edge = EdgeSpec(id="e", source="a", target="b", condition="on_failure")
    run = start([NodeSpec(id="a", timeout_s=5.0, max_retries=1), "b"], [edge])
    transition = run.come_due(permit=True)
    assert run.token.node == "b"
    assert transition.commands == (StopNode(1), RunNode(run.token_id, "b", 1, 1))


@pytest.mark.parametrize(
    ("blocking", "retry_on", "again"),
    [
        (False, [], True),
        (False, ["ValueError"], False),
        (False, ["TimeoutError"], True),
        (True, [], False),
        (True, ["NodeTimedOut"], True),
        (True, ["TimeoutError"], True),
        (True, ["node_timed_out"], True),
        (True, ["ValueError"], False),
    ],
)
def test_what_cannot_be_stopped_runs_again_only_if_retry_on_names_it(
    start, blocking, retry_on, again
):
    """Its first run may go on beside the second."""
    run = start([NodeSpec(id="a", timeout_s=5.0, backoff_initial_s=0, retry_on=retry_on)])
    run.plan = compile_plan(run.graph, blocking=["a"] if blocking else [])
    run.come_due(permit=True)
    assert (run.known.status is Status.RUNNING) == again


def test_a_node_that_blocks_is_retried_after_other_failures(start):
    """Then it has ended."""
    run = start([NodeSpec(id="a", timeout_s=5.0, backoff_initial_s=0)])
    run.plan = compile_plan(run.graph, blocking=["a"])
    run.fail()
    assert run.known.status is Status.RUNNING


def test_recovery_gives_a_run_its_time_anew(start):
    """The time in which nobody had the store open does not count."""
    run = start([QUICK])
    run.now = 2_000.0
    run.tick(Recover(process_death=True, permit=True))
    assert (run.token.phase, run.token.due) == (Phase.RUNNING, 2_005.0)


def queued(start, **limits):
    return start(["a"], permit=False, **limits)


def running(start, **limits):
    return start(["a"], **limits)


def short_backoff(start, **limits):
    run = start([NodeSpec(id="a", backoff_initial_s=0.5)], **limits)
    run.fail()
    return run


def waiting(start, **limits):
    run = start([NodeSpec(id="a", backoff_initial_s=60.0)], **limits)
    run.fail()
    return run


def sleeping(start, **limits):
    run = start(["a", "b"], ["a>b"], **limits)
    run.succeed(sleep_until=9_000.0)
    return run


def paused(start, **limits):
    run = running(start, **limits)
    run.tick(Pause("wait"))
    return run


def held(start, **limits):
    run = running(start, **limits)
    run.tick(Hold("odd"))
    return run


@pytest.mark.parametrize("state", [queued, running, short_backoff, waiting, sleeping, paused, held])
def test_a_deadline_ends_an_execution_in_every_status_that_is_not_an_end(start, state):
    """One event of its own type; the token is parked; waiters are released; it is final."""
    run = state(start, deadline=1_000.25)
    assert due_at(run.known) == 1_000.25
    was_running = run.token.phase is Phase.RUNNING
    run.now = 1_000.25
    transition = run.tick(Due(permit=True))
    assert run.known.status is Status.TIMED_OUT
    stops = (StopNode(run.token_id),) if was_running else ()
    assert transition.commands == (*stops, Finish(Status.TIMED_OUT))
    assert [event.type for event in transition.events] == ["execution_timed_out"]
    error = "Execution timed out: its deadline has passed"
    assert run.data("execution_timed_out") == {"error": error}
    assert (run.result().error, run.result().success) == (error, False)
    assert (run.token.phase, run.token.due, run.known.ended_at) == (Phase.READY, None, 1_000.25)
    assert due_at(run.known) is None
    assert run.tick(Resume({})) is None
    assert run.tick(Due(permit=True)) is None


def test_an_execution_may_run_for_its_timeout(start):
    """Over all its nodes."""
    run = start(["a", "b"], ["a>b"], timeout_s=10.0)
    assert due_at(run.known) == 1_010.0
    run.now = 1_004.0
    run.succeed()
    assert due_at(run.known) == 1_010.0
    transition = run.come_due(permit=True)
    assert transition.commands == (StopNode(run.token_id), Finish(Status.TIMED_OUT))
    assert run.result().error == "Execution timed out: it has run for its 10 s"


def test_only_the_time_in_which_it_runs_counts(start):
    """Not that in the queue, of a long backoff, of a sleep, or of a pause."""
    run = start(
        [NodeSpec(id="a", backoff_initial_s=60.0), "b"], ["a>b"], permit=False, timeout_s=10.0
    )
    assert due_at(run.known) is None
    run.now += 100
    run.dispatch()
    run.now += 2
    run.fail()
    run.come_due(permit=False)
    run.now += 100
    run.dispatch()
    run.now += 2
    run.succeed(sleep_until=run.now + 100)
    run.come_due(permit=True)
    run.now += 2
    run.tick(Pause("wait"))
    run.now += 100
    run.tick(Resume({}))
    run.now += 100
    run.dispatch()
    assert run.known.active_s == 6.0
    assert due_at(run.known) == run.now + 4.0
    run.come_due(permit=True)
    assert run.known.status is Status.TIMED_OUT


def test_the_time_of_a_closed_store_does_not_count(start):
    """Nor what was not observed before it; a short backoff is no exception."""
    run = start([NodeSpec(id="a", backoff_initial_s=0.5), "b"], ["a>b"], timeout_s=10.0)
    run.now += 3
    run.fail()
    run.now += 1_000
    run.tick(Recover(process_death=True, permit=False))
    assert run.known.active_s == 3.0
    run.come_due(permit=True)
    run.now += 1_000
    run.tick(Recover(process_death=True, permit=True))
    assert due_at(run.known) == run.now + 7.0


def test_what_was_forgiven_has_its_time_anew(start):
    """A failed execution that is resumed; a paused one goes on counting."""
    run = start([NodeSpec(id="a", max_retries=1)], timeout_s=10.0)
    run.now += 9
    run.fail()
    run.tick(Resume({}))
    run.dispatch()
    assert due_at(run.known) == run.now + 10.0


@pytest.mark.parametrize("permit", [False, True])
@pytest.mark.parametrize("limits", [{"timeout_s": 0.0}, {"deadline": 1_000.0}, {"deadline": 1.0}])
def test_an_execution_without_any_time_ends_when_it_is_accepted(start, permit, limits):
    """In one commit; none of its nodes runs."""
    run = start(["a"], permit=permit, **limits)
    assert run.known.status is Status.TIMED_OUT
    assert run.last.commands == (Finish(Status.TIMED_OUT),)
    assert [event.type for event in run.events()] == ["execution_timed_out"]
    assert run.result().path == []


def test_the_earliest_time_counts(start):
    """Of a node and of its execution."""
    run = start([QUICK], timeout_s=4.0, deadline=1_003.0)
    assert due_at(run.known) == 1_003.0
    assert due_at(start([QUICK], timeout_s=4.0, deadline=1_009.0).known) == 1_004.0
    assert due_at(start([QUICK], timeout_s=8.0, deadline=1_009.0).known) == 1_005.0
