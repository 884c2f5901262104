"""Compiling a graph."""

import dataclasses

import pytest

from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.errors import InvalidExpression, NodeNotFound, UnsupportedSetting
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec


def graph(**changes):
    declared = {
        "id": "graph",
        "entry_node": "a",
        "terminal_nodes": ["b"],
        "nodes": [
            NodeSpec(id="a", output_keys=["x", "y"], nullable_output_keys=["y"]),
            NodeSpec(id="r", node_type="router", routes={"default": "b"}),
            NodeSpec(id="b", function="shared_function"),
        ],
        "edges": [
            EdgeSpec(id="low", source="a", target="r"),
            EdgeSpec(id="high", source="a", target="b", priority=3, condition="on_failure"),
            EdgeSpec(id="also", source="a", target="b", input_mapping={"p": "q"}),
        ],
    }
    return GraphSpec(**{**declared, **changes})


def test_a_plan_holds_what_a_step_looks_up():
    """Edges in the order of trying, names of functions, terminal nodes, required keys."""
    plan = compile_plan(graph())
    a, r, b = plan.nodes["a"], plan.nodes["r"], plan.nodes["b"]
    assert [edge.id for edge in a.edges] == ["high", "low", "also"]
    assert (a.function, r.function, b.function) == ("a", None, "shared_function")
    assert (a.terminal, b.terminal) == (False, True)
    assert (a.required, a.nullable) == (("x",), ("y",))
    assert a.edges[2].mapping == (("p", "q"),)
    assert plan.max_steps == 100


def test_a_plan_cannot_be_changed():
    """It is shared by all executions of a stream."""
    plan = compile_plan(graph())
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.max_steps = 1
    with pytest.raises(TypeError):
        plan.nodes["a"] = plan.nodes["b"]
    with pytest.raises(TypeError):
        plan.nodes["r"].routes["x"] = "a"


def test_the_digest_is_the_same_for_the_same_decisions():
    """Eight bytes; texts for people and the order of nodes do not count."""
    digest = compile_plan(graph()).digest
    assert len(digest) == 8
    assert compile_plan(graph()).digest == digest
    assert compile_plan(graph(description="told anew")).digest == digest
    assert compile_plan(graph(nodes=list(reversed(graph().nodes)))).digest == digest


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 7},
        {"terminal_nodes": []},
        {"nodes": [*graph().nodes, NodeSpec(id="c")]},
        {"nodes": [NodeSpec(id="a", max_retries=9), *graph().nodes[1:]]},
        {"nodes": [NodeSpec(id="a", function="other"), *graph().nodes[1:]]},
        {"edges": graph().edges[:2]},
        {"edges": [graph().edges[2], *graph().edges[:2]]},
        {"edges": [EdgeSpec(id="low", source="a", target="r", priority=9), *graph().edges[1:]]},
    ],
)
def test_the_digest_tells_other_decisions_apart(changes):
    """Whatever the engine reads is in it."""
    assert compile_plan(graph(**changes)).digest != compile_plan(graph()).digest


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"edges": [EdgeSpec(id="e", source="a", target="gone")]}, NodeNotFound),
        ({"edges": [EdgeSpec(id="e", source="gone", target="a")]}, NodeNotFound),
        ({"nodes": [NodeSpec(id="r", node_type="router", routes={"x": "gone"})]}, NodeNotFound),
        (
            {
                "edges": [
                    EdgeSpec(
                        id="e",
                        source="a",
                        target="b",
                        condition="conditional",
                        condition_expr="import os",
                    )
                ]
            },
            InvalidExpression,
        ),
        (
            {"edges": [EdgeSpec(id="e", source="a", target="b", condition="llm_decide")]},
            UnsupportedSetting,
        ),
    ],
)
def test_a_graph_that_cannot_be_run_is_refused(changes, error):
    """Before anything starts."""
    changes = {"edges": [], **changes}
    with pytest.raises(error):
        compile_plan(graph(**changes))
