"""Visit limits, max_steps, loops, and what a new visit resets."""

from greenroom.protocol.engine.ticks import Dispatch
from greenroom.protocol.engine.walk import NODES_PASSED_MAX
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec


def looping(node_id, visits, **fields):
    return NodeSpec(id=node_id, max_node_visits=visits, **fields)


def back(expr, source="b", target="a"):
    return EdgeSpec(
        id="back", source=source, target=target, condition="conditional", condition_expr=expr
    )


def test_a_loop_visits_its_nodes_again_with_fresh_counters(start):
    """Visit 2 begins at attempt 1; path, visits and steps count each visit."""
    run = start([looping("a", 0, backoff_initial_s=0), looping("b", 0)], ["a>b", back("n < 2")])
    run.fail()
    run.succeed({"n": 1})
    run.succeed()
    assert (run.token.node, run.token.visit, run.token.attempt) == ("a", 2, 1)
    assert run.token.failures == 0
    run.succeed({"n": 2})
    run.succeed()
    result = run.result()
    assert result.path == ["a", "b", "a", "b"]
    assert result.node_visit_counts == {"a": 2, "b": 2}
    assert result.steps_executed == 4


def test_a_node_over_its_visit_limit_is_skipped(start):
    """It takes a step and no place in the path; its edges are followed as after a success."""
    nodes = ["a", looping("b", 0), "c"]
    leave = EdgeSpec(id="out", source="a", target="c", condition="otherwise")
    stay = EdgeSpec(
        id="stay", source="a", target="b", condition="conditional", condition_expr="n < 2"
    )
    run = start(nodes, [stay, leave, back("true")], {"n": 1})
    run.succeed()
    transition = run.succeed({"n": 2})
    assert run.token.node == "c"
    assert transition.patch.steps == 2
    assert run.known.visits == {"a": 2, "b": 1, "c": 1}
    assert run.known.path == ["a", "b", "c"]
    assert [(event.type, event.node) for event in transition.events] == [
        ("node_completed", "b"),
        ("node_started", "c"),
    ]


def test_a_skipped_node_gives_the_memory_as_its_output(start):
    """Conditions on its edges still have something to read."""
    edges = [
        EdgeSpec(
            id="out",
            source="a",
            target="c",
            condition="conditional",
            condition_expr="output.get('done', false)",
        ),
        EdgeSpec(id="in", source="a", target="b", condition="otherwise"),
        "b>a",
    ]
    run = start(["a", "b", "c"], edges)
    run.succeed()
    run.succeed({"done": True})
    assert run.token.node == "c"


def test_a_skipped_node_without_an_edge_completes_the_execution(start):
    """There is nowhere left to go."""
    run = start(["a", looping("b", 0)], ["a>b", back("true")], terminal=["a"])
    assert run.token.node == "a"
    run.succeed()
    assert run.known.status is Status.COMPLETED


def test_max_steps_ends_as_exhausted_and_not_as_success(start):
    """The node that would be one too many is not started; its token stays, parked."""
    run = start([looping("a", 0), looping("b", 0)], ["a>b", "b>a"], max_steps=3)
    for _ in range(3):
        assert run.known.status is Status.RUNNING
        run.succeed({"x": 1})
    result = run.result()
    assert run.known.status is Status.EXHAUSTED
    assert (result.success, result.execution_quality) == (False, "failed")
    assert result.steps_executed == 3
    assert "max_steps of 3" in result.error
    assert run.data("execution_exhausted") == {"error": result.error}
    assert not run.events("execution_failed")
    assert (run.token.node, run.token.visit, run.token.attempt) == ("b", 2, 0)
    assert run.token.phase is Phase.READY
    assert result.output == {"x": 1}


def test_the_last_allowed_step_may_complete(start):
    """The limit is on starting one more."""
    run = start(["a", "b"], ["a>b"], max_steps=2)
    run.succeed()
    run.succeed()
    assert run.known.status is Status.COMPLETED


def test_retries_use_no_steps(start):
    """Attempts are counted apart."""
    run = start([NodeSpec(id="a", backoff_initial_s=0)], max_steps=1)
    run.fail()
    run.fail()
    run.succeed()
    assert run.result().is_degraded_success
    assert run.known.steps == 1


def test_routers_in_a_circle_use_up_the_steps(start):
    """One transition; it ends."""
    nodes = [
        NodeSpec(id="r", node_type="router", routes={"default": "q"}, max_node_visits=0),
        NodeSpec(id="q", node_type="router", routes={"default": "r"}, max_node_visits=0),
    ]
    run = start(nodes, max_steps=50)
    assert run.known.status is Status.EXHAUSTED
    assert run.known.steps == 50


def test_a_transition_passes_a_bounded_number_of_nodes(start):
    """With a huge max_steps too: the stream must not stand still for one execution."""
    nodes = [
        NodeSpec(id="r", node_type="router", routes={"default": "q"}, max_node_visits=0),
        NodeSpec(id="q", node_type="router", routes={"default": "r"}, max_node_visits=0),
    ]
    run = start(nodes, max_steps=1_000_000)
    assert run.known.status is Status.EXHAUSTED
    assert run.known.steps == NODES_PASSED_MAX
    assert "circle" in run.result().error


def test_nullable_outputs_are_reset_on_a_new_visit(start):
    """Not on the first, and not those of other nodes."""
    first = looping("a", 0, output_keys=["n", "note"], nullable_output_keys=["note"])
    run = start([first, looping("b", 0)], ["a>b", back("n < 2")], {"note": "given"})
    assert run.value("note") == "given"
    run.succeed({"n": 1, "note": "mine"})
    run.succeed({"other": 1})
    assert run.token.visit == 2
    assert run.value("note") is None
    assert run.value("other") == 1


def test_a_retry_resets_nothing(start):
    """It belongs to the same visit."""
    node = looping("a", 0, output_keys=["note"], nullable_output_keys=["note"], backoff_initial_s=0)
    run = start([node], (), {"note": "given"})
    run.fail()
    assert run.value("note") == "given"


def test_a_limit_met_at_dispatch_is_honoured(start):
    """A queued execution meets its limits when it starts."""
    run = start(["a"], max_steps=0, permit=False)
    run.tick(Dispatch())
    assert run.known.status is Status.EXHAUSTED
