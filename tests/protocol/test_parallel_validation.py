"""Fan-outs and maps: what cannot be is refused, with the ids and how to mend it."""

from typing import Any

import pytest

from greenroom.protocol.engine.validation import validate_graph
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, ParallelExecutionConfig

STRICT = ParallelExecutionConfig(memory_conflict_strategy="error")
FAILURE = "on_failure"


def way(source: str, target: str, condition: str = "on_success", **fields: Any) -> EdgeSpec:
    return EdgeSpec(
        **{"id": f"{source}-{target}"} | fields, source=source, target=target, condition=condition
    )


def each(source: str, target: str, condition: str = "on_success", **fields: Any) -> EdgeSpec:
    """An edge that runs its target for each element of a list."""
    return way(source, target, condition, map=MapSpec(over="items", **fields))


def graph(*edges: EdgeSpec, **changes: Any) -> GraphSpec:
    """The graph of the edges; `changes` of nodes are by their ids, others of the graph."""
    ids = dict.fromkeys(node for edge in edges for node in (edge.source, edge.target))
    specs = {node: changes.pop(node, {}) for node in ids}
    return GraphSpec(
        **{"id": "g", "entry_node": "a"} | changes,
        nodes=[NodeSpec(**{"id": node, "output_keys": [node]} | of) for node, of in specs.items()],
        edges=list(edges),
    )


DIAMOND = (way("a", "b"), way("a", "c"), way("b", "d"), way("c", "d"))
MAPPED = (each("a", "m"), way("m", "n"), way("n", "u"))
LONG = (each("a", "m", until="u"), way("m", "n"), way("n", "u"), way("u", "v"))


@pytest.mark.parametrize(
    "sound",
    [
        graph(*DIAMOND),
        graph(*DIAMOND, way("b", "h", FAILURE), way("c", "h", FAILURE), way("d", "h", FAILURE)),
        graph(*DIAMOND, pause_nodes=["b", "d"], entry_points={"b_resume": "d"}),
        graph(*DIAMOND, b={"output_keys": ["same"]}, c={"output_keys": ["same"]}),
        graph(*DIAMOND, a={"parallel": STRICT}),
        graph(way("a", "b", "otherwise"), way("a", "c", "otherwise")),
        graph(way("a", "b", "otherwise"), way("a", "c", "conditional"), way("a", "d", FAILURE)),
        graph(*MAPPED),
        graph(*MAPPED, a={"parallel": STRICT}),
        graph(*LONG),
        graph(*LONG, way("m", "h", FAILURE), way("a", "h", FAILURE), way("v", "h", FAILURE)),
        graph(*LONG, way("a", "n", FAILURE)),
        graph(*LONG, way("a", "x", FAILURE), way("x", "m")),
        graph(*LONG, way("u", "m", "conditional")),
        graph(each("a", "m", until="u", collect="m"), *LONG[1:]),
        graph(each("a", "m", until="u", collect="item"), *LONG[1:]),
        graph(each("a", "m", until="u", collect="any"), *LONG[1:], n={"output_keys": []}),
        graph(each("a", "m", until="u"), each("m", "n", until="p"), way("n", "p"), way("p", "u")),
        graph(way("a", "b"), way("a", "c"), each("b", "m"), way("m", "d"), way("c", "d")),
    ],
)
def test_sound_fan_outs_and_maps_have_no_problems(sound: GraphSpec) -> None:
    assert validate_graph(sound) == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (
            graph(way("a", "b"), way("a", "c", "otherwise")),
            "edge 'a-c': condition is 'otherwise', but edge 'a-b' of node 'a' is taken after every "
            "success: give that one a condition_expr, or this one another condition",
        ),
        (
            graph(way("a", "b", FAILURE), way("a", "c", FAILURE, priority=1)),
            "edge 'a-b': condition is 'on_failure', but edge 'a-c' of node 'a' is taken after "
            "every failure, and after a failure one edge is: leave one of them out",
        ),
        (
            graph(way("a", "b"), b={"parallel": STRICT}),
            "node 'b': parallel is read after a fan-out or a map, and the node has neither: leave "
            "it out, or give it several edges that may be taken at once",
        ),
        (
            graph(*DIAMOND, b={"client_facing": True}, c={"client_facing": True}),
            "node 'a': its branches begin at 2 client_facing nodes (b, c): people can talk to one "
            "at a time, so let these run one after the other",
        ),
        (
            graph(
                *DIAMOND,
                b={"output_keys": ["same"], "node_type": "event_loop"},
                c={"output_keys": ["same"], "node_type": "event_loop"},
            ),
            "node 'a': its branches b, c all write the output key 'same': give each a key of its "
            "own",
        ),
        (
            graph(*DIAMOND, parallel=STRICT, b={"output_keys": ["x"]}, c={"output_keys": ["x"]}),
            "node 'a': its branches b, c all write the output key 'x': give each a key of its own, "
            "or use another memory_conflict_strategy than 'error'",
        ),
        (
            graph(each("a", "m", until="zz"), way("m", "n")),
            "edge 'a-m': map: until names node 'zz', which is not in the graph",
        ),
        (
            graph(each("a", "m", until="m"), way("m", "n")),
            "edge 'a-m': map: until is the edge's own target 'm', so nothing would run: name the "
            "node that comes after the last one to run for each element",
        ),
        (
            graph(each("a", "m", until="a"), way("m", "n")),
            "edge 'a-m': map: until names node 'a', to which no way leads from the target 'm': "
            "name one that follows it",
        ),
        (
            graph(each("a", "m", collect="zz"), *MAPPED[1:]),
            "edge 'a-m': map: collect is 'zz', which no node that runs for each element (m) has "
            "among its output_keys: collect one of those, or add it there",
        ),
        (
            graph(*LONG, way("m", "v", "conditional")),
            "edge 'a-m': map: edge 'm-v' leads from 'm', which runs for each element, past 'u', "
            "where the runs end, to 'v': lead it to 'u', or set until to a node that all ways come "
            "to",
        ),
        (
            graph(*LONG, n={"node_type": "router", "routes": {"done": "v"}, "output_keys": []}),
            "edge 'a-m': map: route 'done' of node 'n' leads from 'n', which runs for each element,"
            " past 'u', where the runs end, to 'v': lead it to 'u', or set until to a node that "
            "all ways come to",
        ),
        (
            graph(*LONG, way("m", "k", FAILURE), pause_nodes=["k"], entry_points={"k_resume": "v"}),
            "edge 'a-m': map: entry point 'k_resume' leads from 'k', which runs for each element, "
            "past 'u', where the runs end, to 'v': lead it to 'u', or set until to a node that all "
            "ways come to",
        ),
        (
            graph(*LONG, way("v", "n", "conditional")),
            "edge 'a-m': map: edge 'v-n' leads from 'v' into the middle of what runs for each "
            "element, to 'n': lead it to 'm' or 'u'",
        ),
        (
            graph(way("a", "b"), way("a", "c"), each("b", "m"), way("c", "m"), way("m", "u")),
            "edge 'b-m': map: the fan-out of node 'a' joins at 'm', which runs for each element, "
            "and begins outside of that, at 'a': let it join before or behind",
        ),
        (
            graph(each("a", "m", until="u"), each("m", "n", until="v"), *LONG[2:]),
            "edge 'm-n': map: its runs come past 'u', where the map of edge 'a-m', which it is in, "
            "joins, before they end at 'v': set until to 'u', or to a node before that",
        ),
    ],
)
def test_each_problem_of_branches_is_told_alone(wrong: GraphSpec, problem: str) -> None:
    assert validate_graph(wrong) == [problem]


def test_a_key_that_may_be_left_out_is_no_conflict() -> None:
    shared = {"output_keys": ["x"], "nullable_output_keys": ["x"]}
    assert validate_graph(graph(*DIAMOND, parallel=STRICT, b=shared, c=shared)) == []
