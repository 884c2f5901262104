"""Graphs within a graph are checked like it, with the path of nodes to each."""

from typing import Any

import pytest

from greenroom.protocol.engine.validation import missing_functions, validate_graph
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import ID_CHARS_MAX, NODES_MAX, SUBGRAPH_DEPTH_MAX


def graph(*nodes: NodeSpec, **changes: Any) -> GraphSpec:
    first = nodes[0] if nodes else NodeSpec(id="in")
    fields: dict[str, Any] = {"id": "g", "entry_node": first.id, "nodes": list(nodes) or [first]}
    return GraphSpec(**fields | changes)


def sub(id: str, inner: GraphSpec | None, **fields: Any) -> NodeSpec:
    return NodeSpec(**{"id": id, "node_type": "subgraph", "graph": inner} | fields)


def nested(depth: int) -> GraphSpec:
    found = graph()
    for _ in range(depth):
        found = graph(sub("s", found))
    return found


def test_sound_graphs_in_graphs_have_no_problems() -> None:
    assert validate_graph(nested(SUBGRAPH_DEPTH_MAX)) == []
    shared = graph()
    twice = graph(
        sub("a", shared), sub("b", shared), edges=[EdgeSpec(id="e", source="a", target="b")]
    )
    assert validate_graph(twice) == []
    pausing = graph(pause_nodes=["in"], entry_points={"in_resume": "in"})
    assert validate_graph(graph(sub("s", pausing))) == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (
            graph(sub("s", None)),
            "node 's': a subgraph node needs a graph: set graph to a GraphSpec",
        ),
        (
            graph(NodeSpec(id="n", graph=graph())),
            "node 'n': graph is read by nodes of type 'subgraph' only: set node_type",
        ),
        (
            graph(sub("s", graph(), function="f")),
            "node 's': function is not read by a subgraph node: leave them out, or set them on "
            "nodes of its graph",
        ),
        (
            graph(sub("s", graph(), inline=True, max_retries=1)),
            "node 's': max_retries, inline are not read by a subgraph node: leave them out, or set "
            "them on nodes of its graph",
        ),
        (
            graph(sub("s", graph(), routes={"default": "s"})),
            "node 's': routes and route_on belong to nodes of type 'router'",
        ),
        (
            graph(sub("s", graph(sub("t", graph(max_steps=0))))),
            "graph of node 's.t': graph 'g': max_steps is 0: use 1 to 1000000",
        ),
        (
            graph(sub("s", graph(async_entry_points=[EntryPointSpec(id="p", entry_node="in")]))),
            "graph of node 's': it has async_entry_points ('p'): put them on the outermost graph",
        ),
        (
            graph(sub("s", graph(NodeSpec(id="x"), NodeSpec(id="y")))),
            "graph of node 's': node 'y' is unreachable: no entry node leads to it",
        ),
        (
            nested(SUBGRAPH_DEPTH_MAX + 1),
            f"node '{'.'.join('s' * (SUBGRAPH_DEPTH_MAX + 1))}': graphs are nested more than "
            f"{SUBGRAPH_DEPTH_MAX} deep: use fewer",
        ),
        (
            graph(sub("s", graph()), NodeSpec(id="s.in"), entry_points={"x": "s.in"}),
            "graph of node 's': node 'in' has the id 's.in' for the whole, and so has a node of "
            "the outermost graph: rename one of them",
        ),
        (
            graph(sub("s", graph(NodeSpec(id="x" * (ID_CHARS_MAX - 1))))),
            f"graph of node 's': node '{'x' * (ID_CHARS_MAX - 1)}' has the id "
            f"'s.{'x' * (ID_CHARS_MAX - 1)}' for the whole, and that is none: make it, or those of "
            "the nodes that it is in, shorter, and let none begin or end with a dot",
        ),
        (
            graph(sub("s.", graph())),
            "graph of node 's.': node 'in' has the id 's..in' for the whole, and that is none: "
            "make it, or those of the nodes that it is in, shorter, and let none begin or end with "
            "a dot",
        ),
        (
            graph(sub("s", graph(*(NodeSpec(id=f"{at}") for at in range(NODES_MAX)), edges=[]))),
            f"the graphs have more than {NODES_MAX} nodes in all: use fewer",
        ),
    ],
)
def test_each_problem_of_nesting_is_told(wrong: GraphSpec, problem: str) -> None:
    assert problem in validate_graph(wrong)


def test_a_graph_that_is_in_itself_is_refused() -> None:
    inner = graph(sub("t", graph()))
    inner.nodes.append(sub("again", inner))
    problems = validate_graph(graph(sub("s", inner)))
    assert "node 's.again': its graph is one that it is in: make another one of it" in problems


def test_graphs_that_hold_each_other_many_times_are_refused_at_once() -> None:
    """Two nodes a level double what is below: 2 to the 16th graphs, of which few are looked at."""
    found = graph()
    for _ in range(SUBGRAPH_DEPTH_MAX):
        found = graph(sub("a", found), sub("b", found), entry_points={"b": "b"})
    assert f"the graphs have more than {NODES_MAX} nodes in all: use fewer" in validate_graph(found)


def test_fields_of_a_wrong_type_are_told_with_the_path() -> None:
    wrong: Any = "x"
    (problem,) = validate_graph(graph(sub("s", graph(NodeSpec(id="n", max_retries=wrong)))))
    assert problem.startswith("graph of node 's': nodes[0] (id 'n'):")
    (problem,) = validate_graph(graph(sub("s", wrong)))
    assert problem.startswith("nodes[0] (id 's'):")


def test_functions_of_inner_graphs_are_looked_up_by_their_own_names() -> None:
    whole = graph(sub("s", graph(NodeSpec(id="x"), NodeSpec(id="y", function="f"))))
    assert missing_functions(whole, {"f"}) == [("s.x", "x")]
    assert missing_functions(whole, {"f", "x"}) == []
