"""Graph validation: every problem is listed, each with the ids that it concerns."""

from typing import Any

import msgspec
import pytest

from greenroom.protocol.engine.validation import (
    check_graph,
    missing_functions,
    validate_graph,
)
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import InvalidGraph
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import EDGES_MAX


def chain(**changes: Any) -> GraphSpec:
    """a -> b -> c, with fields replaced."""
    plain = GraphSpec(
        id="g",
        entry_node="a",
        terminal_nodes=["c"],
        nodes=[NodeSpec(id="a"), NodeSpec(id="b"), NodeSpec(id="c")],
        edges=[
            EdgeSpec(id="ab", source="a", target="b", condition="on_success"),
            EdgeSpec(id="bc", source="b", target="c"),
        ],
    )
    return msgspec.structs.replace(plain, **changes)


def edges(*more: EdgeSpec) -> list[EdgeSpec]:
    return [*chain().edges, *more]


def nodes(*more: NodeSpec) -> list[NodeSpec]:
    return [*chain().nodes, *more]


def test_a_sound_graph_has_no_problems() -> None:
    assert validate_graph(chain(), functions={"a", "b", "c"}) == []
    check_graph(chain())


def test_a_graph_with_disjoint_entry_nodes_is_fine() -> None:
    graph = chain(
        nodes=nodes(NodeSpec(id="x"), NodeSpec(id="y"), NodeSpec(id="z")),
        async_entry_points=[EntryPointSpec(id="hook", entry_node="x")],
        entry_points={"named": "y"},
    )
    assert validate_graph(graph, entry_nodes=iter(["z"])) == []
    assert validate_graph(graph) == ["node 'z' is unreachable: no entry node leads to it"]


def test_routes_lead_to_nodes() -> None:
    router = NodeSpec(id="r", node_type="router", route_on="kind", routes={"bug": "x"})
    graph = chain(
        nodes=nodes(router, NodeSpec(id="x")),
        edges=edges(
            EdgeSpec(
                id="ar", source="a", target="r", condition="conditional", condition_expr="x > 1"
            )
        ),
    )
    assert validate_graph(graph) == []


def edge(condition: str = "always", **fields: Any) -> EdgeSpec:
    return EdgeSpec(**{"id": "e", "source": "a", "target": "b"} | fields, condition=condition)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"entry_node": "zz"}, ["entry_node", "'zz'"]),
        ({"entry_points": {"start": "zz"}}, ["'start'", "'zz'"]),
        ({"entry_points": {"a/b": "a"}}, ["entry point id 'a/b'"]),
        ({"terminal_nodes": ["zz"]}, ["terminal_nodes", "'zz'"]),
        ({"pause_nodes": ["zz"]}, ["pause_nodes", "'zz'"]),
        (
            {"async_entry_points": [EntryPointSpec(id="hook", entry_node="zz")]},
            ["async entry point 'hook'", "'zz'"],
        ),
        (
            {"async_entry_points": [EntryPointSpec(id="hook", entry_node="a")] * 2},
            ["async entry point id 'hook'", "2 times"],
        ),
        ({"nodes": nodes(NodeSpec(id="b"))}, ["node id 'b'", "2 times"]),
        ({"edges": edges(edge("conditional", id="ab"))}, ["edge id 'ab'", "2 times"]),
        ({"edges": edges(edge(source="zz"))}, ["edge 'e': source", "'zz'"]),
        ({"edges": edges(edge(target="zz"))}, ["edge 'e': target", "'zz'"]),
        ({"edges": edges(edge("conditional", condition_expr="x >"))}, ["edge 'e'", "parse"]),
        ({"edges": edges(edge("conditional", condition_expr="x._y"))}, ["edge 'e'", "_y"]),
        ({"edges": edges(edge(condition_expr="x > 1"))}, ["edge 'e'", "conditional"]),
        ({"edges": edges(edge(priority=10**6))}, ["edge 'e'", "priority"]),
        ({"nodes": nodes(NodeSpec(id="x"))}, ["node 'x' is unreachable"]),
        ({"nodes": []}, ["graph 'g' has no nodes"]),
        ({"edges": [edge()] * (EDGES_MAX + 1)}, ["graph 'g' has more than", f"{EDGES_MAX} edges"]),
        ({"id": "a b"}, ["graph id 'a b'"]),
        ({"goal_id": "../x"}, ["goal id '../x'"]),
        ({"max_steps": 0}, ["max_steps is 0"]),
        ({"max_steps": "ten"}, ["max_steps"]),
        ({"terminal_nodes": "c"}, ["terminal_nodes"]),
        ({"nodes": {"a": 1}}, ["nodes must be a list of NodeSpec"]),
        ({"nodes": [{"id": "a"}]}, ["nodes[0] is a dict"]),
        ({"edges": [1]}, ["edges[0] is a int"]),
    ],
)
def test_each_problem_is_reported_with_its_ids(changes: dict[str, Any], parts: list[str]) -> None:
    problems = validate_graph(chain(**changes))
    assert any(all(part in problem for part in parts) for problem in problems), problems


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"node_type": "functoin"}, "node_type is 'functoin'"),
        ({"max_retries": -1}, "max_retries is -1"),
        ({"max_retries": 10**9}, "max_retries"),
        ({"max_node_visits": -1}, "max_node_visits is -1"),
        ({"backoff_initial_s": -1.0}, "backoff_initial_s"),
        ({"backoff_factor": 0.5}, "backoff_factor"),
        ({"backoff_max_s": float("inf")}, "backoff_max_s"),
        ({"backoff_max_s": float("nan")}, "backoff_max_s"),
        ({"backoff_max_s": 10**400}, "backoff_max_s"),
        ({"timeout_s": -0.1}, "timeout_s"),
        ({"backoff_jitter": 1.5}, "backoff_jitter"),
        ({"backoff_jitter": float("nan")}, "backoff_jitter"),
        ({"no_retry_on": ["E", "E"]}, "no_retry_on"),
        ({"retry_on": ["E"], "no_retry_on": ["E"]}, "retry_on"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"node_type": "router", "routes": {"default": "a"}, "timeout_s": 1.0}, "timeout_s"),
        ({"input_keys": ["k", "k"]}, "input_keys"),
        ({"output_keys": [""]}, "output_keys"),
        ({"nullable_output_keys": ["k"]}, "nullable_output_keys ['k']"),
        ({"routes": {"x": "b"}}, "routes"),
        ({"route_on": "x"}, "route_on"),
        ({"node_type": "router"}, "needs routes"),
        (
            {"node_type": "router", "routes": {"x": "a"}, "function": "f", "route_on": "k"},
            "route_on is not read",
        ),
        ({"node_type": "router", "routes": {"x": "zz"}}, "route 'x' names node 'zz'"),
        ({"max_retries": "3"}, "max_retries"),
        ({"input_keys": "key"}, "input_keys"),
        ({"retry_on": [ValueError]}, "retry_on"),
        ({"inline": "yes"}, "inline"),
        ({"id": 7}, "id"),
        ({"id": "a/b"}, "node id 'a/b'"),
    ],
)
def test_each_problem_of_a_node_is_reported(fields: dict[str, Any], why: str) -> None:
    problems = validate_graph(chain(nodes=nodes(NodeSpec(**{"id": "n"} | fields))))
    assert any(why in problem for problem in problems), problems


def test_all_problems_are_listed_at_once() -> None:
    graph = chain(entry_node="zz", max_steps=0, edges=edges(edge(target="yy")))
    problems = validate_graph(graph)
    assert len(problems) >= 4  # also everything is unreachable from a node that does not exist
    with pytest.raises(InvalidGraph) as caught:
        check_graph(graph)
    assert caught.value.problems == problems


def test_conditional_edges_and_other_classes_may_leave_the_same_node() -> None:
    more = [
        edge("conditional", id="c1", condition_expr="x > 1"),
        edge("conditional", id="c2", target="c", condition_expr="x < 1"),
        edge("on_failure", id="f1", target="c"),
    ]
    assert validate_graph(chain(edges=edges(*more))) == []


def test_functions_that_were_never_registered_are_named() -> None:
    graph = chain(nodes=[NodeSpec(id="a"), NodeSpec(id="b", function="f"), NodeSpec(id="c")])
    assert missing_functions(graph, {"a"}) == [("b", "f"), ("c", "c")]
    problems = validate_graph(graph, functions={"a", "c"})
    assert problems == [
        "node 'b': function 'f' is not registered: call register_function('f', ...) before start"
    ]


def test_an_edge_takes_its_condition_as_text_and_refuses_an_unknown_one() -> None:
    assert edge("on_failure").condition is EdgeCondition.ON_FAILURE
    with pytest.raises(InvalidGraph, match=r"edge 'e'.*'sometimes'.*always, on_success"):
        edge("sometimes")


def test_a_graph_survives_the_way_through_bytes() -> None:
    graph = chain(async_entry_points=[EntryPointSpec(id="hook", entry_node="a")])
    raw = msgspec.msgpack.encode(graph)
    assert msgspec.msgpack.decode(raw, type=GraphSpec) == graph


def test_outgoing_edges_come_in_the_order_in_which_they_are_tried() -> None:
    low, high = edge("conditional", id="low"), edge("conditional", id="high", priority=5)
    order = [found.id for found in chain(edges=edges(low, high)).get_outgoing_edges("a")]
    assert order == ["high", "ab", "low"]


def test_backoff_grows_by_its_factor_up_to_its_maximum() -> None:
    node = NodeSpec(id="n")
    assert [node.backoff_s(failures) for failures in (1, 2, 3, 7, 5000)] == [1, 2, 4, 60, 60]
    assert NodeSpec(id="n", backoff_initial_s=0).backoff_s(5000) == 0
    assert [NodeSpec(id="n", max_retries=tries).attempts_max for tries in (0, 1, 3)] == [1, 1, 3]
