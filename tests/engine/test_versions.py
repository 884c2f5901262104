"""Which sessions of one version of a graph fit another, and why the others do not."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.versions import describe, differences
from greenroom.protocol.execution import Accepted, Ended, ExecutionState, Phase, Token
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import REASONS_MAX

GRAPH = GraphSpec(
    id="graph",
    entry_node="a",
    terminal_nodes=["c"],
    nodes=[
        NodeSpec(id="a", input_keys=["x", "y"], output_keys=["one", "two"]),
        NodeSpec(id="b", nullable_output_keys=["maybe"], output_keys=["maybe"]),
        NodeSpec(id="c"),
        NodeSpec(id="way", node_type="router", route_on="x", routes={"1": "b", "default": "c"}),
    ],
    edges=[
        EdgeSpec(id="a-b", source="a", target="b", condition="on_success"),
        EdgeSpec(id="b-c", source="b", target="c", condition="conditional", condition_expr="x"),
        EdgeSpec(id="b-a", source="b", target="a", condition="on_failure"),
    ],
)
WAS = describe(compile_plan(GRAPH), "1")


def standing(*nodes: str) -> ExecutionState:
    """A session with a token at each of the nodes, each in another phase."""
    accepted = Accepted(
        execution_id="e",
        entry_point="ep",
        entry_node="a",
        graph_id="graph",
        goal_id="goal",
        correlation_id="e",
        accepted_at=0.0,
    )
    phases = list(Phase)
    tokens = {
        number: Token(node=node, phase=phases[number % len(phases)], ended=Ended())
        for number, node in enumerate(nodes)
    }
    return ExecutionState(accepted=accepted, tokens=tokens)


def node(graph: GraphSpec, name: str, **changes: Any) -> GraphSpec:
    """The graph with one of its nodes changed."""
    nodes = [replace(one, **changes) if one.id == name else one for one in graph.nodes]
    return replace(graph, nodes=nodes)


def without_edge(graph: GraphSpec, edge: str) -> GraphSpec:
    return replace(graph, edges=[one for one in graph.edges if one.id != edge])


def reasons(graph: GraphSpec, *at: str, known: Callable[[str], bool] = lambda name: True) -> Any:
    return differences(WAS, compile_plan(graph), known).of(standing(*at))


def gone(name: str) -> GraphSpec:
    edges = [one for one in GRAPH.edges if name not in (one.source, one.target)]
    nodes = [one for one in GRAPH.nodes if one.id != name]
    return replace(GRAPH, nodes=nodes, edges=edges)


UNFIT = {
    "gone": (
        replace(gone("a"), entry_node="b"),
        "a",
        "node 'a' is not in graph 'graph' any more: put it back, or give a migration that maps it "
        "to another node",
    ),
    "another type": (
        node(GRAPH, "c", node_type="router"),
        "c",
        "node 'c' was of node_type 'function' and is of 'router': change it back, or give a "
        "migration",
    ),
    "another input": (
        node(GRAPH, "a", input_keys=["x"]),
        "a",
        "node 'a' had input_keys ['x', 'y'] and has ['x']: change it back, or give a migration",
    ),
    "another output": (
        node(GRAPH, "a", output_keys=["one", "three"]),
        "a",
        "node 'a' had output_keys ['one', 'two'] and has ['one', 'three']: change it back, or give "
        "a migration",
    ),
    "another first output": (
        node(GRAPH, "a", output_keys=["two", "one"]),
        "a",
        "node 'a' had output_keys ['one', 'two'] and has ['two', 'one']: change it back, or give "
        "a migration",
    ),
    "not nullable any more": (
        node(GRAPH, "b", nullable_output_keys=[]),
        "b",
        "node 'b' had nullable_output_keys ['maybe'] and has []: change it back, or give a "
        "migration",
    ),
    "its edge is gone": (
        without_edge(GRAPH, "a-b"),
        "a",
        "node 'a' led to 'b', and leads nowhere now, so that the session ends: give it an edge, or "
        "give a migration",
    ),
    "its way is not sure any more": (
        node(GRAPH, "way", routes={"1": "b"}),
        "way",
        "node 'way' led to 'b' or 'c', and may lead nowhere now, so that the session ends: give it "
        "an edge, or give a migration",
    ),
    "terminal now": (
        replace(GRAPH, terminal_nodes=["a", "c"]),
        "a",
        "node 'a' led to 'b' and is terminal, so that the session ends: change it back, or give a "
        "migration",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_each_reason_names_the_node_what_changed_and_how_to_mend_it(name: str) -> None:
    """And is one of whoever stands there, and of nobody else."""
    graph, at, expected = UNFIT[name]
    assert reasons(graph, at) == (expected,)
    others = [one.id for one in GRAPH.nodes if one.id != at]
    assert reasons(graph, *others) == ()
    assert reasons(graph, *others, at, at) == (expected,)


FIT = {
    "nothing": GRAPH,
    "the order of inputs": node(GRAPH, "a", input_keys=["y", "x"]),
    "another function": node(GRAPH, "a", function="other"),
    "attempts and times": node(GRAPH, "a", max_retries=9, timeout_s=1.0, max_node_visits=7),
    "a node more": replace(GRAPH, nodes=[*GRAPH.nodes, NodeSpec(id="d")]),
    "led elsewhere": replace(
        without_edge(GRAPH, "a-b"), edges=[EdgeSpec(id="a-c", source="a", target="c")]
    ),
    "a pause": replace(GRAPH, pause_nodes=["a", "b", "way"]),
    "steps": replace(GRAPH, max_steps=3),
    "not terminal any more": replace(GRAPH, terminal_nodes=[]),
    "without the edge for failures": without_edge(GRAPH, "b-a"),
}


@pytest.mark.parametrize("name", FIT)
def test_what_lies_ahead_may_change(name: str) -> None:
    """It is what the session goes on with."""
    if name == "led elsewhere":
        assert reasons(FIT[name], "a", "c", "way") == ()
    else:
        assert reasons(FIT[name], "a", "b", "c", "way") == ()


def test_an_edge_with_a_condition_that_is_taken_away_is_a_way_less() -> None:
    """It may not have been taken, but it might have been."""
    (reason,) = reasons(without_edge(GRAPH, "b-c"), "b")
    assert "leads nowhere now" in reason


def test_a_function_that_is_not_registered_is_a_reason() -> None:
    graph = node(GRAPH, "a", function="other")
    assert reasons(graph, "a", "b", known=lambda name: name != "other") == (
        "node 'a' runs function 'other', which is not registered: register it",
    )


def test_of_a_version_that_nobody_knows_only_missing_nodes_can_be_told() -> None:
    plan = compile_plan(GRAPH)
    unknown = differences(None, plan, lambda name: True)
    assert unknown.any
    assert unknown.of(standing("a", "b")) == ()
    (reason,) = unknown.of(standing("a", "z"))
    assert reason.startswith("node 'z' is not in graph 'graph' any more")


def test_reasons_are_bounded() -> None:
    names = [f"n{number}" for number in range(3 * REASONS_MAX)]
    many = replace(GRAPH, nodes=[NodeSpec(id=one) for one in names], entry_node="n0", edges=[])
    was = describe(compile_plan(replace(many, terminal_nodes=[])))
    changed = [NodeSpec(id=one, input_keys=["k" * 5_000]) for one in names]
    other = compile_plan(replace(many, terminal_nodes=[], nodes=changed))
    found = differences(was, other, lambda name: True).of(standing(*names))
    assert len(found) == REASONS_MAX + 1
    assert found[-1] == f"and {2 * REASONS_MAX} reasons more"
    assert all(len(one) <= 900 for one in found)


@given(st.data())
def test_a_version_fits_itself_and_is_different_only_where_it_says_so(data: st.DataObject) -> None:
    """Any two of the graphs above: `any` is false exactly when nobody anywhere has a reason."""
    graphs = [graph for graph, _, _ in UNFIT.values()] + list(FIT.values())
    one, other = data.draw(st.sampled_from(graphs)), data.draw(st.sampled_from(graphs))
    was = describe(compile_plan(one))
    plan = compile_plan(other)
    found = differences(was, plan, lambda name: True)
    everywhere = found.of(standing(*[each.id for each in one.nodes]))
    assert found.any == bool(everywhere)
    assert not differences(was, compile_plan(one), lambda name: True).any
