"""Edges, conditions, routers and input mapping."""

import pytest

from greenroom.protocol.engine.routing import DecodedView, pick_route
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.values import encode_value

ONCE = {"max_retries": 1}


def edge(target, condition="always", expr=None, priority=0, source="a", mapping=None):
    return EdgeSpec(
        id=f"{source}-{target}",
        source=source,
        target=target,
        condition=condition,
        condition_expr=expr,
        priority=priority,
        input_mapping=mapping or {},
    )


@pytest.mark.parametrize(
    ("condition", "after_success", "after_failure"),
    [("always", True, True), ("on_success", True, False), ("on_failure", False, True)],
)
def test_edges_look_at_the_outcome_of_their_source(start, condition, after_success, after_failure):
    """Taken, or the end."""
    for fails, taken in ((False, after_success), (True, after_failure)):
        run = start([NodeSpec(id="a", **ONCE), "b"], [edge("b", condition)])
        run.fail() if fails else run.succeed()
        if taken:
            assert run.token.node == "b"
        else:
            assert run.known.status is (Status.FAILED if fails else Status.COMPLETED)


@pytest.mark.parametrize(
    ("expr", "taken"),
    [
        ("output.score > 0.8", True),
        ("output.score > 0.95", False),
        ("memory.kind == 'bug'", True),
        ("kind == 'bug' and score > 0.5", True),
        ("'missing' in memory and missing > 1", False),
        ("output.get('missing', 7) == 7", True),
        ("len(memory) == 2 and len(output) == 1", True),
        ("str(output) == \"{'score': 0.9}\"", True),
        ("", True),
        (None, True),
    ],
)
def test_a_condition_reads_output_and_memory(start, expr, taken):
    """Memory already holds what the source wrote."""
    run = start(["a", "b"], [edge("b", "conditional", expr)], {"kind": "bug"})
    run.succeed({"score": 0.9})
    assert (run.known.status is Status.RUNNING) == taken


def test_a_condition_does_not_look_at_success(start):
    """It is asked after a failure too, with the error as the output."""
    nodes = [NodeSpec(id="a", **ONCE), "b"]
    run = start(nodes, [edge("b", "conditional", "'broken' in output.error")])
    run.fail("it is broken")
    assert run.token.node == "b"
    assert "error" not in run.known.memory


def test_of_conditional_edges_those_of_the_highest_priority_are_taken(start):
    """Unlike the others, all of which are: a condition and its fallback would both hold."""
    ways = [
        edge("b", "conditional", "true", priority=1),
        edge("c", "conditional", "true", priority=5),
        edge("d", "conditional", "true", priority=5),
        edge("e", priority=-3),
        edge("f", "otherwise"),
    ]
    run = start(["a", "b", "c", "d", "e", "f"], ways)
    run.succeed()
    assert [token.node for token in run.known.tokens.values()] == ["c", "d", "e"]


def test_after_a_failure_the_first_edge_alone_is_taken(start):
    """What is to happen then is one thing."""
    nodes = [NodeSpec(id="a", max_retries=1), "b", "c", "d"]
    ways = [edge("b", "on_failure"), edge("c", "on_failure", priority=5), edge("d")]
    run = start(nodes, ways)
    run.fail()
    assert run.token.node == "c"


def test_otherwise_is_for_a_success_after_which_no_other_edge_is_taken(start):
    """Not for a failure."""
    ways = [edge("b", "conditional", "n > 1"), edge("c", "otherwise")]
    for n, expected in ((1, "c"), (2, "b")):
        run = start(["a", "b", "c"], ways)
        run.succeed({"n": n})
        assert run.token.node == expected
    failed = start([NodeSpec(id="a", max_retries=1), "c"], [edge("c", "otherwise")])
    failed.fail()
    assert failed.known.status is Status.FAILED


def test_a_broken_condition_is_an_event_and_the_next_edge_is_tried(start):
    """The edge is not taken, and nobody has to guess why."""
    edges = [edge("b", "conditional", "output.missing > 1", priority=1), edge("c")]
    run = start(["a", "b", "c"], edges)
    run.succeed({"x": 1})
    assert run.token.node == "c"
    data = run.data("edge_error")
    assert (data["edge"], data["target"]) == ("a-b", "b")
    assert "missing" in data["error"]
    assert run.events("edge_error")[0].node == "a"


def test_an_execution_fails_when_no_edge_is_taken_and_a_condition_broke(start):
    """Never "completed"; the token stays where it was, parked."""
    edges = [edge("b", "conditional", "1 / 0 > 1"), edge("c", "conditional", "false")]
    run = start(["a", "b", "c"], edges)
    run.succeed({"x": 1})
    assert run.known.status is Status.FAILED
    assert "a-b" in run.result().error
    assert (run.token.node, run.token.phase) == ("a", Phase.READY)
    assert run.value("x") == 1
    assert run.data("execution_failed") == {"error": run.result().error}
    assert [type(command).__name__ for command in run.last.commands] == ["Finish"]


def test_a_condition_that_is_false_completes_the_execution(start):
    """No edge to take after a success is an end."""
    run = start(["a", "b"], [edge("b", "conditional", "false")])
    run.succeed()
    assert run.result().is_clean_success


def test_mapping_writes_memory_before_the_target_runs(start):
    """From the output first, else from memory; what is in neither is left out."""
    mapping = {"text": "body", "who": "user", "gone": "nowhere", "kept": "kept"}
    run = start(["a", "b"], [edge("b", mapping=mapping)], {"user": "ann", "kept": 1})
    run.succeed({"body": "hello", "kept": 2})
    assert run.value("text") == "hello"
    assert run.value("who") == "ann"
    assert run.value("kept") == 2
    assert "gone" not in run.known.memory


def test_mapping_reads_everything_before_it_writes(start):
    """Two keys can be swapped."""
    run = start(["a", "b"], [edge("b", mapping={"x": "y", "y": "x"})], {"x": 1, "y": 2})
    run.succeed()
    assert (run.value("x"), run.value("y")) == (2, 1)


def test_mapping_after_a_failure_can_read_the_error(start):
    """The failed source's output is its error."""
    run = start(
        [NodeSpec(id="a", **ONCE), "b"], [edge("b", "on_failure", mapping={"why": "error"})]
    )
    run.fail("no disk")
    assert run.value("why") == "no disk"


def router(routes, route_on="kind", node_id="r", **fields):
    return NodeSpec(id=node_id, node_type="router", routes=routes, route_on=route_on, **fields)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("bug", "b"),
        ("a bug report", "b"),
        ("question", "d"),
        (None, "d"),
        ([1], "d"),
        (7, "c"),
        (True, "e"),
        (False, "f"),
    ],
)
def test_a_router_picks_by_exact_key_then_part_then_default(start, value, target):
    """True and False stand for success and failure, numbers for their digits."""
    routes = {"bug": "b", "7": "c", "default": "d", "success": "e", "failure": "f"}
    run = start(["a", router(routes), "b", "c", "d", "e", "f"], ["a>r"])
    run.succeed({"kind": value})
    assert run.token.node == target


def test_a_router_costs_no_commit_but_counts_as_a_visit(start):
    """Started, completed, in the path, one step."""
    run = start(["a", router({"bug": "b"}), "b"], ["a>r"])
    run.succeed({"kind": "bug"})
    assert len(run.transitions) == 2
    assert run.known.path == ["a", "r", "b"]
    assert (run.known.steps, run.known.visits["r"]) == (3, 1)
    assert [(event.type, event.node) for event in run.last.events] == [
        ("node_completed", "a"),
        ("node_started", "r"),
        ("node_completed", "r"),
        ("node_started", "b"),
    ]


def test_a_router_looks_in_the_output_before_the_memory(start):
    """Without the key in the output the memory answers."""
    for outputs, target in (({"kind": "bug"}, "b"), ({}, "c")):
        run = start(["a", router({"bug": "b", "idea": "c"}), "b", "c"], ["a>r"], {"kind": "idea"})
        run.succeed(outputs)
        assert run.token.node == target


def test_a_router_reads_the_mapped_value_of_its_own_way(start):
    """The mapping of the edge to it makes its input."""
    edges = [edge("r", mapping={"kind": "label"})]
    run = start(["a", router({"bug": "b", "idea": "c"}), "b", "c"], edges)
    run.succeed({"kind": "idea", "label": "bug"})
    assert run.token.node == "b"


def test_a_router_without_a_match_follows_its_edges(start):
    """Conditions of those edges see the output of the node before."""
    edges = ["a>r", edge("c", "conditional", "output.kind == 'x'", source="r")]
    run = start(["a", router({"bug": "b"}), "b", "c"], edges)
    run.succeed({"kind": "x"})
    assert run.token.node == "c"


def test_a_router_without_a_key_goes_by_the_outcome(start):
    """Success or failure of the node before."""
    for fails, target in ((False, "b"), (True, "c")):
        nodes = [NodeSpec(id="a", **ONCE), router({"success": "b", "failure": "c"}, None), "b", "c"]
        run = start(nodes, ["a>r"])
        run.fail() if fails else run.succeed()
        assert run.token.node == target


def test_a_router_may_be_the_entry_and_routers_may_follow_each_other(start):
    """The accept alone passes both; the input is what they look at."""
    nodes = [router({"default": "q"}), router({"bug": "b"}, node_id="q"), "b"]
    run = start(nodes, (), {"kind": "bug"})
    assert len(run.transitions) == 1
    assert run.known.path == ["r", "q", "b"]
    assert run.token.node == "b"


def test_an_execution_of_routers_alone_ends_in_its_accept(start):
    """Nothing to run: completed at once."""
    run = start([router({"bug": "q"}), router({"x": "r"}, node_id="q")], (), {"kind": "bug"})
    assert run.known.status is Status.COMPLETED
    assert run.result().path == ["r", "q"]
    assert run.events()[0].type == "execution_started"


def test_a_terminal_router_ends_the_execution(start):
    """Its routes are not asked."""
    run = start([router({"default": "b"}), "b"], terminal=["r"])
    assert run.known.status is Status.COMPLETED


def test_a_jump_applies_the_mapping_of_the_edge_to_the_same_target(start):
    """A route and an edge to one node are one way."""
    edges = ["a>r", edge("b", "on_failure", source="r", mapping={"text": "kind"})]
    run = start(["a", router({"bug": "b"}), "b"], edges)
    run.succeed({"kind": "bug"})
    assert run.value("text") == "bug"


def test_a_router_with_a_function_runs_it_and_follows_its_choice(start):
    """The choice wins over `route_on`; without one `route_on` decides."""
    for route, target in (("idea", "c"), (None, "b")):
        nodes = [router({"bug": "b", "idea": "c"}, function="pick"), "b", "c"]
        run = start(nodes, (), {"kind": "bug"})
        assert run.token.node == "r"
        run.succeed({}, route=route)
        assert run.token.node == target


def test_a_router_that_breaks_on_its_edges_fails_there(start):
    """The parked token names the router."""
    edges = ["a>r", edge("b", "conditional", "nothing", source="r")]
    run = start(["a", router({"bug": "b"}), "b"], edges)
    run.succeed({"kind": "x"})
    assert run.known.status is Status.FAILED
    assert run.token.node == "r"


@pytest.mark.parametrize(
    ("label", "target"),
    [("x", "1"), ("axb", "1"), ("default", "9"), ("", "9"), ("success", "9")],
)
def test_routes_match_exactly_then_in_part_then_by_default(label, target):
    """An empty name and "default" never match as a part."""
    assert pick_route(
        {"": "0", "x": "1", "default": "9"} if label else {"default": "9"}, label
    ) == (target)


def test_the_view_decodes_each_value_once_and_only_when_asked():
    """Layers hide those behind them; keys come once."""
    view = DecodedView({"a": encode_value([1])}, {"a": b"\xc1", "b": b"\xc1"})
    assert view["a"] is view["a"]
    assert list(view) == ["a", "b"]
    assert len(view) == 2
    assert "b" in view
    assert "c" not in view
    assert view.get("c") is None
