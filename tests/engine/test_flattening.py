"""Graphs within a graph are laid out beside it, and nothing of them is lost."""

from typing import Any

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from greenroom.protocol.engine.flattening import flatten
from greenroom.protocol.engine.nesting import levels_of
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import InvalidGraph
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, ParallelExecutionConfig

STRICT = ParallelExecutionConfig(memory_conflict_strategy="error")
FIRST = ParallelExecutionConfig(memory_conflict_strategy="first_wins")

INNERMOST = GraphSpec(id="innermost", entry_node="x", nodes=[NodeSpec(id="x")], parallel=FIRST)
INNER = GraphSpec(
    id="inner",
    entry_node="draft",
    parallel=STRICT,
    terminal_nodes=["done"],
    pause_nodes=["wait"],
    entry_points={"wait_resume": "done", "named": "draft"},
    nodes=[
        NodeSpec(id="draft", name="Draft it", output_keys=["items"]),
        NodeSpec(id="item", function="handle"),
        NodeSpec(id="pick", node_type="router", routes={"a": "wait", "default": "done"}),
        NodeSpec(id="wait", parallel=FIRST),
        NodeSpec(id="done", node_type="subgraph", graph=INNERMOST),
    ],
    edges=[
        EdgeSpec(id="e", source="draft", target="item", map=MapSpec(over="items", until="pick")),
        EdgeSpec(id="f", source="item", target="pick", condition="on_success"),
    ],
)
OUTER = GraphSpec(
    id="outer",
    entry_node="begin",
    terminal_nodes=["s"],
    entry_points={"s.wait_resume": "begin", "late": "s"},
    async_entry_points=[EntryPointSpec(id="hook", entry_node="begin")],
    nodes=[NodeSpec(id="begin"), NodeSpec(id="s", node_type="subgraph", graph=INNER)],
    edges=[EdgeSpec(id="e", source="begin", target="s")],
)


def test_everything_that_names_a_node_names_it_by_its_new_id() -> None:
    flat = flatten(OUTER).graph
    nodes = {node.id: node for node in flat.nodes}
    assert list(nodes) == [
        *("begin", "s", "s.draft", "s.item", "s.pick", "s.wait", "s.done", "s.done.x"),
    ]
    assert [(edge.id, edge.source, edge.target) for edge in flat.edges] == [
        ("e", "begin", "s"),
        ("s.e", "s.draft", "s.item"),
        ("s.f", "s.item", "s.pick"),
    ]
    assert flat.edges[1].map == MapSpec(over="items", until="s.pick")
    assert nodes["s.pick"].routes == {"a": "s.wait", "default": "s.done"}
    assert flat.terminal_nodes == ["s", "s.done"]
    assert flat.pause_nodes == ["s.wait"]
    assert flat.entry_points == {"late": "s", "s.wait_resume": "s.done", "s.named": "s.draft"}
    assert flat.async_entry_points == OUTER.async_entry_points
    assert all(node.graph is None for node in flat.nodes)


def test_it_is_known_what_each_node_held_and_where_that_begins() -> None:
    flat = flatten(OUTER)
    assert flat.entries == {"s": "s.draft", "s.done": "s.done.x"}
    assert flat.inside == {
        "s": ("s.draft", "s.item", "s.pick", "s.wait", "s.done", "s.done.x"),
        "s.done": ("s.done.x",),
    }


def test_functions_keep_their_names_and_texts_tell_the_new_ids() -> None:
    nodes = {node.id: node for node in flatten(OUTER).graph.nodes}
    assert nodes["s.draft"].function_name == "draft"
    assert nodes["s.item"].function_name == "handle"
    assert nodes["s.done.x"].function_name == "x"
    assert nodes["s.pick"].function is None
    assert nodes["s.done"].function is None
    assert nodes["s.draft"].name == "Draft it"
    assert nodes["s.item"].name == "s.item"


def test_branches_behave_as_their_own_graph_says() -> None:
    nodes = {node.id: node for node in flatten(OUTER).graph.nodes}
    assert nodes["begin"].parallel is None
    assert nodes["s.draft"].parallel == STRICT
    assert nodes["s.wait"].parallel == FIRST
    assert nodes["s.done.x"].parallel == FIRST


def test_a_graph_that_holds_none_comes_back_as_it_is() -> None:
    flat = flatten(INNERMOST)
    assert flat.graph is INNERMOST
    assert (flat.entries, flat.inside) == ({}, {})


def test_a_graph_that_is_in_itself_is_refused() -> None:
    ring = GraphSpec(id="ring", entry_node="a", nodes=[])
    ring.nodes.append(NodeSpec(id="a", node_type="subgraph", graph=ring))
    with pytest.raises(InvalidGraph, match="its graph is one that it is in"):
        flatten(ring)


def graphs(inner: st.SearchStrategy[GraphSpec | None]) -> st.SearchStrategy[GraphSpec]:
    @st.composite
    def draw_one(draw: st.DrawFn) -> GraphSpec:
        ids = ["a", "b", "c"][: draw(st.integers(min_value=1, max_value=3))]
        some = st.sampled_from(ids)
        nodes = []
        for node in ids:
            held = draw(inner)
            kind: dict[str, Any] = {} if held is None else {"node_type": "subgraph", "graph": held}
            routes = {} if held else draw(st.dictionaries(st.sampled_from("xy"), some, max_size=2))
            nodes.append(NodeSpec(**{"id": node, "routes": routes} | kind))
        ends = draw(st.lists(st.tuples(some, some), max_size=4))
        return GraphSpec(
            id="g",
            entry_node=draw(some),
            nodes=nodes,
            edges=[EdgeSpec(id=f"{at}", source=a, target=b) for at, (a, b) in enumerate(ends)],
            terminal_nodes=draw(st.lists(some, max_size=2, unique=True)),
            pause_nodes=draw(st.lists(some, max_size=2, unique=True)),
        )

    return draw_one()


nested = st.recursive(
    graphs(st.none()), lambda inner: graphs(st.one_of(st.none(), inner)), max_leaves=6
)


@given(nested)
def test_nothing_is_lost_and_nothing_is_joined_that_was_apart(graph: GraphSpec) -> None:
    """Each node, edge, route and mark is there once, in its graph; once more changes nothing."""
    flat = flatten(graph)
    levels = levels_of(graph)[0]
    event(f"{len(levels)} graphs")
    nodes = {node.id: node for node in flat.graph.nodes}
    assert len(nodes) == len(flat.graph.nodes) == sum(len(one.graph.nodes) for one in levels)
    assert len(flat.graph.edges) == sum(len(one.graph.edges) for one in levels)
    assert len({edge.id for edge in flat.graph.edges}) == len(flat.graph.edges)
    home = {one.flat_id(node.id): one.path for one in levels for node in one.graph.nodes}
    ends = [(edge.source, edge.target) for edge in flat.graph.edges]
    ends += [(node.id, to) for node in flat.graph.nodes for to in node.routes.values()]
    assert all(home[source] == home[target] for source, target in ends)
    for level in levels:
        for node in level.graph.nodes:
            own = nodes[level.flat_id(node.id)]
            assert own.routes == {key: level.flat_id(to) for key, to in node.routes.items()}
            if node.graph is not None:
                assert flat.entries[own.id] == f"{own.id}.{node.graph.entry_node}"
                assert set(flat.inside[own.id]) == {
                    one for one in home if one.startswith(f"{own.id}.")
                }
        for edge in level.graph.edges:
            assert (level.flat_id(edge.source), level.flat_id(edge.target)) in ends
    for name in ("terminal_nodes", "pause_nodes"):
        marks = [one.flat_id(node) for one in levels for node in getattr(one.graph, name)]
        assert getattr(flat.graph, name) == marks
    assert flatten(flat.graph).graph is flat.graph
    assert msgspec.structs.asdict(flat.graph).keys() == msgspec.structs.asdict(graph).keys()
