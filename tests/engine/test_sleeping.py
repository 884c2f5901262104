"""Nodes that let their execution go on only later."""

import pytest

from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.ticks import Cancel, Due, Pause, Resume
from greenroom.protocol.engine.transition import Finish, RunNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec


def asleep(start, **more):
    run = start(["a", "b"], ["a>b"], **more)
    run.succeed({"x": 1}, sleep_until=2_000.0)
    return run


def test_a_node_that_sleeps_has_ended_and_holds_no_permit(start):
    """Its output is stored; the status is waiting, with an event that says until when."""
    run = start(["a", "b"], ["a>b"])
    transition = run.succeed({"x": 1}, sleep_until=2_000.0)
    assert run.known.status is Status.WAITING
    assert (run.token.node, run.token.phase, run.token.due) == ("a", Phase.SLEEPING, 2_000.0)
    assert run.token.ended is not None
    assert run.value("x") == 1
    assert transition.commands == ()
    assert [event.type for event in transition.events] == ["node_completed", "execution_waiting"]
    assert run.data("execution_waiting") == {"until": 2_000.0}
    assert due_at(run.known) == 2_000.0


def test_it_goes_on_by_its_edges_when_the_time_has_come(start):
    """Never before; the node itself is not run again."""
    run = asleep(start)
    run.now = 1_999.9
    assert run.tick(Due(permit=True)) is None
    run.now = 2_000.0
    assert run.tick(Due(permit=True)).commands == (RunNode(run.token_id, "b", 1, 1),)
    assert run.known.status is Status.RUNNING
    run.succeed()
    assert run.known.path == ["a", "b"]
    assert run.known.visits == {"a": 1, "b": 1}
    assert run.result().is_clean_success


def test_without_a_permit_it_queues_where_it_goes_on(start):
    """The next node is entered by the dispatch."""
    run = asleep(start)
    transition = run.come_due(permit=False)
    assert transition.commands == ()
    assert (run.known.status, run.token.node, run.token.attempt) == (Status.QUEUED, "b", 0)
    assert run.token.due is None


@pytest.mark.parametrize("until", [0.0, 999.0, 1_000.0])
def test_a_time_that_has_passed_costs_no_step(start, until):
    """As if the node had not asked."""
    run = start(["a", "b"], ["a>b"])
    assert run.succeed(sleep_until=until).commands == (RunNode(run.token_id, "b", 1, 1),)


def test_the_conditions_of_its_edges_see_its_output(start):
    """They are looked at when it wakes."""
    edges = [
        EdgeSpec(
            id=name, source="a", target=name, condition="conditional", condition_expr=expression
        )
        for name, expression in (("b", "output.x > 1"), ("c", "output.x == 1"))
    ]
    run = start(["a", "b", "c"], edges)
    run.succeed({"x": 1}, sleep_until=2_000.0)
    run.come_due(permit=True)
    assert run.token.node == "c"


def test_a_router_that_sleeps_keeps_its_choice(start):
    """It has chosen before."""
    router = NodeSpec(
        id="a", node_type="router", function="choose", routes={"left": "b", "right": "c"}
    )
    run = start([router, "b", "c"], ["a>b", "a>c"])
    run.succeed(route="right", sleep_until=2_000.0)
    run.come_due(permit=True)
    assert run.token.node == "c"


def test_a_terminal_node_may_sleep_before_the_end(start):
    """The execution is complete when the time has come."""
    run = start(["a"], terminal=["a"])
    run.succeed({"x": 1}, sleep_until=2_000.0)
    assert run.known.status is Status.WAITING
    run.come_due(permit=True)
    assert run.known.status is Status.COMPLETED
    assert run.known.ended_at == 2_000.0


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_pause_does_not_cut_a_sleep_short(start, cut_off):
    """Resumed early it sleeps on, resumed late it goes on; the new input counts in both cases."""
    edge = EdgeSpec(
        id="e", source="a", target="b", condition="conditional", condition_expr="output.go"
    )
    run = start(["a", "b"], [edge])
    run.succeed({"x": 1}, sleep_until=2_000.0)
    run.tick(Pause("wait"))
    assert (run.known.status, run.token.phase, due_at(run.known)) == (
        Status.PAUSED,
        Phase.READY,
        None,
    )
    assert run.tick(Due(permit=True)) is None
    run.now = 2_500.0 if cut_off else 1_500.0
    run.tick(Resume(run.encoded({"go": True})))
    if not cut_off:
        assert (run.known.status, run.token.phase) == (Status.WAITING, Phase.SLEEPING)
        run.come_due(permit=False)
    assert (run.known.status, run.token.node) == (Status.QUEUED, "b")


def test_a_pause_node_that_sleeps_does_both(run_class):
    """It pauses at once; resumed before its time it sleeps the rest, then goes where it resumes."""
    graph = GraphSpec(
        id="graph",
        entry_node="a",
        nodes=[NodeSpec(id="a"), NodeSpec(id="b")],
        pause_nodes=["a"],
        entry_points={"a_resume": "b"},
    )
    run = run_class(graph, {})
    run.succeed(sleep_until=2_000.0)
    assert run.known.status is Status.PAUSED
    run.tick(Resume({}))
    assert run.known.status is Status.WAITING
    run.come_due(permit=True)
    assert (run.known.status, run.token.node) == (Status.RUNNING, "b")


def test_a_cancelled_sleep_never_comes_due(start):
    """Its waiters are released; nothing is due any more."""
    run = asleep(start)
    assert run.tick(Cancel("enough")).commands == (Finish(Status.CANCELLED),)
    assert due_at(run.known) is None
    run.now = 3_000.0
    assert run.tick(Due(permit=True)) is None


def test_a_sleeper_whose_node_is_gone_is_held_when_it_wakes(start, run_class, graph_of):
    """A graph that changed meanwhile."""
    run = asleep(start)
    other = run_class(graph_of(["c"], []), {})
    run.plan = other.plan
    run.come_due(permit=True)
    assert run.known.status is Status.HELD
    assert run.result().error == "node 'a' is not in graph 'graph'"
