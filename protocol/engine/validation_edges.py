"""Rules about one edge, about the edges of one node, and that every node can be reached."""

from collections.abc import Iterable, Iterator
from typing import Final

from greenroom.protocol.engine.conditions import compile_condition
from greenroom.protocol.errors import InvalidExpression
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec
from greenroom.protocol.limits import PRIORITY_MAX

_SURE: Final = (EdgeCondition.ALWAYS, EdgeCondition.ON_SUCCESS)


def edge_problems(edge: EdgeSpec) -> Iterator[str]:
    """Ranges, and the condition."""
    where = f"edge {edge.id!r}: "
    if not -PRIORITY_MAX <= edge.priority <= PRIORITY_MAX:
        yield f"{where}priority is {edge.priority}: use {-PRIORITY_MAX} to {PRIORITY_MAX}"
    if edge.kind is EdgeCondition.CONDITIONAL:
        try:
            compile_condition(edge.condition_expr)
        except InvalidExpression as error:
            yield f"{where}condition_expr {error}"
    elif edge.condition_expr and edge.kind is not EdgeCondition.LLM_DECIDE:
        yield f"{where}condition_expr is read for condition='conditional' only: set that"


def never_taken_problems(graph: GraphSpec) -> Iterator[str]:
    """Edges that another one of the same node leaves no case for."""
    sure: dict[str, str] = {}
    failing: dict[str, str] = {}
    for edge in sorted(graph.edges, key=lambda one: -one.priority):
        if edge.kind in _SURE:
            sure.setdefault(edge.source, edge.id)
        elif edge.kind is EdgeCondition.ON_FAILURE:
            first = failing.setdefault(edge.source, edge.id)
            if first != edge.id:
                yield (
                    f"edge {edge.id!r}: condition is 'on_failure', but edge {first!r} of node "
                    f"{edge.source!r} is taken after every failure, and after a failure one edge "
                    "is: leave one of them out"
                )
    for edge in graph.edges:
        if edge.kind is EdgeCondition.OTHERWISE and edge.source in sure:
            yield (
                f"edge {edge.id!r}: condition is 'otherwise', but edge {sure[edge.source]!r} of "
                f"node {edge.source!r} is taken after every success: give that one a "
                "condition_expr, or this one another condition"
            )


def unreachable_problems(graph: GraphSpec, entry_nodes: Iterable[str]) -> Iterator[str]:
    """Nodes to which nothing leads from where executions begin."""
    following: dict[str, list[str]] = {node.id: list(node.routes.values()) for node in graph.nodes}
    for edge in graph.edges:
        following.setdefault(edge.source, []).append(edge.target)
    pending: list[str] = [graph.entry_node, *graph.entry_points.values(), *entry_nodes]
    pending += [entry_point.entry_node for entry_point in graph.async_entry_points]
    reached: set[str] = set()
    while pending:
        node_id = pending.pop()
        if node_id not in reached:
            reached.add(node_id)
            pending += following.get(node_id, [])
    for node in graph.nodes:
        if node.id not in reached and node.id not in graph.pause_nodes:
            yield f"node {node.id!r} is unreachable: no entry node leads to it"
