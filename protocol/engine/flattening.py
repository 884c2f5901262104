"""Graphs within a graph, laid out beside it: one list of nodes and edges for the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from greenroom.protocol.engine.nesting import SEPARATOR, Level, levels_of
from greenroom.protocol.errors import InvalidGraph
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec


@dataclass(frozen=True, slots=True)
class FlatGraph:
    """A graph whose nodes hold no graphs.

    `entries` has the entry node of what each subgraph node held, and `inside` all the nodes that it
    held, at any depth. No edge leads into these nodes or out of them.
    """

    graph: GraphSpec
    entries: Mapping[str, str]
    inside: Mapping[str, tuple[str, ...]]


def flatten(graph: GraphSpec) -> FlatGraph:
    """Return the graph with all that is in its nodes beside them.

    Nodes, edges and entry points of a graph within it have "<node>." before their ids, at each
    depth, wherever these stand: in edges, routes, ends of maps, terminal and pause nodes, and in
    where a pause goes on. What a node calls is still found by its own id or `function`, and
    branches behave as the graph says that they are in. A graph without such nodes comes back as it
    is. Raises InvalidGraph when they cannot be laid out.
    """
    if all(node.graph is None for node in graph.nodes):
        return FlatGraph(graph, MappingProxyType({}), MappingProxyType({}))
    levels, problems = levels_of(graph)
    if problems:
        raise InvalidGraph(problems)
    nodes: list[NodeSpec] = []
    edges: list[EdgeSpec] = []
    terminal: list[str] = []
    pauses: list[str] = []
    entries: dict[str, str] = {}
    inside: dict[str, list[str]] = {}
    for level in levels:
        inner = level.graph
        nodes += [_node(level, node, graph) for node in inner.nodes]
        edges += [_edge(level, edge) for edge in inner.edges]
        terminal += map(level.flat_id, inner.terminal_nodes)
        pauses += map(level.flat_id, inner.pause_nodes)
        if level.path:
            entries[SEPARATOR.join(level.path)] = level.flat_id(inner.entry_node)
        for depth in range(1, len(level.path) + 1):
            above = SEPARATOR.join(level.path[:depth])
            inside.setdefault(above, []).extend(level.flat_id(node.id) for node in inner.nodes)
    flat = msgspec.structs.replace(
        graph,
        nodes=nodes,
        edges=edges,
        terminal_nodes=terminal,
        pause_nodes=pauses,
        entry_points=_entry_points(levels),
    )
    return FlatGraph(
        flat,
        MappingProxyType(entries),
        MappingProxyType({node: tuple(held) for node, held in inside.items()}),
    )


def _node(level: Level, node: NodeSpec, outermost: GraphSpec) -> NodeSpec:
    if not level.path and node.graph is None:
        return node
    flat_id, function = level.flat_id(node.id), node.function
    if node.node_type not in ("router", "subgraph"):
        function = node.function_name  # its default is the id, which changes
    parallel = node.parallel
    if parallel is None and level.graph.parallel != outermost.parallel:
        parallel = level.graph.parallel
    return msgspec.structs.replace(
        node,
        id=flat_id,
        name=flat_id if node.name == node.id else node.name,
        function=function,
        routes={key: level.flat_id(target) for key, target in node.routes.items()},
        parallel=parallel,
        graph=None,
    )


def _edge(level: Level, edge: EdgeSpec) -> EdgeSpec:
    if not level.path:
        return edge
    spec = edge.map
    if spec is not None and spec.until is not None:
        spec = msgspec.structs.replace(spec, until=level.flat_id(spec.until))
    return msgspec.structs.replace(
        edge,
        id=level.flat_id(edge.id),
        source=level.flat_id(edge.source),
        target=level.flat_id(edge.target),
        map=spec,
    )


def _entry_points(levels: Sequence[Level]) -> dict[str, str]:
    """Return them all. What another graph calls "<node>_resume", by chance, is left out: only the
    graph of a pause node says where that goes on.
    """
    resuming = {
        level.flat_id(f"{node}_resume"): level
        for level in levels
        for node in level.graph.pause_nodes
    }
    return {
        flat: level.flat_id(node)
        for level in levels
        for name, node in level.graph.entry_points.items()
        if resuming.get(flat := level.flat_id(name), level) is level
    }
