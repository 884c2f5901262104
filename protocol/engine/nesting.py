"""Graphs within a graph: each with the path of nodes that leads to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from greenroom.protocol.graph import GraphSpec, NodeSpec
from greenroom.protocol.limits import NODES_MAX, SUBGRAPH_DEPTH_MAX

SEPARATOR: Final = "."


@dataclass(frozen=True, slots=True)
class Level:
    """One graph: `path` has the ids of the nodes that it is in, outermost first."""

    path: tuple[str, ...]
    graph: GraphSpec

    @property
    def within(self) -> str:
        """What a sentence about this graph begins with; empty for the outermost."""
        return f"graph of node {SEPARATOR.join(self.path)!r}: " if self.path else ""

    def flat_id(self, inner: str) -> str:
        """Return the id that a node of this graph has for the whole."""
        return SEPARATOR.join((*self.path, inner))


def levels_of(graph: GraphSpec) -> tuple[list[Level], list[str]]:
    """Return the graph and all that are in its nodes, each before those in it, and what is wrong
    with how they are nested: then that part is left out.

    Fields of a wrong type are passed over.
    """
    found: list[Level] = []
    problems: list[str] = []
    nodes = 0
    pending: list[tuple[Level, tuple[GraphSpec, ...]]] = [(Level((), graph), (graph,))]
    while pending:
        level, above = pending.pop()
        found.append(level)
        inner: list[tuple[Level, tuple[GraphSpec, ...]]] = []
        for node in nodes_of(level.graph):
            nodes += 1
            if not isinstance(node.graph, GraphSpec) or not isinstance(node.id, str):
                continue
            path = (*level.path, node.id)
            where = f"node {SEPARATOR.join(path)!a:.300}: "
            if any(node.graph is one for one in above):
                problems.append(f"{where}its graph is one that it is in: make another one of it")
            elif len(path) > SUBGRAPH_DEPTH_MAX:
                problems.append(
                    f"{where}graphs are nested more than {SUBGRAPH_DEPTH_MAX} deep: use fewer"
                )
            else:
                inner.append((Level(path, node.graph), (*above, node.graph)))
        if nodes > NODES_MAX:
            problems.append(f"the graphs have more than {NODES_MAX} nodes in all: use fewer")
            break
        pending += reversed(inner)
    return found, problems


def nodes_of(graph: GraphSpec) -> Iterator[NodeSpec]:
    """Return those of the graph's nodes that are nodes."""
    if isinstance(graph.nodes, list | tuple):
        yield from (node for node in graph.nodes if isinstance(node, NodeSpec))
