"""Every rule about what a user may declare, checked before anything starts."""

from collections.abc import Collection, Iterable, Iterator

from greenroom.protocol.engine.nesting import Level, levels_of
from greenroom.protocol.engine.validation_edges import (
    edge_problems,
    never_taken_problems,
    unreachable_problems,
)
from greenroom.protocol.engine.validation_nodes import node_problems
from greenroom.protocol.engine.validation_parallel import parallel_problems
from greenroom.protocol.engine.validation_shape import (
    flat_id_problems,
    id_problems,
    reference_problems,
    type_problems,
)
from greenroom.protocol.errors import InvalidGraph
from greenroom.protocol.graph import GraphSpec, NodeSpec


def validate_graph(
    graph: GraphSpec,
    *,
    entry_nodes: Iterable[str] = (),
    functions: Collection[str] | None = None,
) -> list[str]:
    """Return every problem of the graph as a sentence with the ids it concerns; empty means valid.

    `entry_nodes` are the entry nodes of entry points registered apart from the graph: they count
    for reachability. `functions` are the registered names; None leaves them unchecked. What is
    wrong in a graph within the graph begins with the path of nodes to it. Fields of a wrong type
    are reported alone, because the other rules cannot be applied to them.
    """
    problems = wrong_types(graph)
    if problems:
        return problems
    levels, nested_wrongly = levels_of(graph)
    entered = tuple(entry_nodes)
    for level in levels:
        own = _problems_of(level, () if level.path else entered)
        problems += [f"{level.within}{problem}" for problem in own]
    return [
        *problems,
        *nested_wrongly,
        *flat_id_problems(levels),
        *(
            f"node {node!r}: function {name!r} is not registered: call "
            f"register_function({name!r}, ...) before start"
            for node, name in missing_functions(graph, functions)
        ),
    ]


def check_graph(
    graph: GraphSpec,
    *,
    entry_nodes: Iterable[str] = (),
    functions: Collection[str] | None = None,
) -> None:
    """Raise InvalidGraph with all the problems that `validate_graph` finds, if there are any."""
    problems = validate_graph(graph, entry_nodes=entry_nodes, functions=functions)
    if problems:
        raise InvalidGraph(problems)


def wrong_types(graph: GraphSpec) -> list[str]:
    """Return the problems of fields that are not of their types, here and in graphs within it."""
    if not isinstance(graph, GraphSpec):
        return [f"the graph is a {type(graph).__name__}: use a GraphSpec"]
    return [found for level in levels_of(graph)[0] for found in type_problems(level)]


def missing_functions(graph: GraphSpec, functions: Collection[str] | None) -> list[tuple[str, str]]:
    """Return (node id, function name) of each node that calls one which is not in `functions`,
    those of graphs within the graph included, with the ids that they have for the whole.
    """
    if functions is None:
        return []
    return [
        (level.flat_id(node.id), node.function_name)
        for level in levels_of(graph)[0]
        for node in level.graph.nodes
        if calls_function(node) and node.function_name not in functions
    ]


def calls_function(node: NodeSpec) -> bool:
    """Return whether the node runs a registered function."""
    return node.node_type == "function" or node.function is not None


def _problems_of(level: Level, entry_nodes: Iterable[str]) -> Iterator[str]:
    graph = level.graph
    yield from id_problems(graph)
    yield from reference_problems(graph, entry_nodes)
    if level.path and graph.async_entry_points:
        names = ", ".join(repr(one.id) for one in graph.async_entry_points)
        yield f"it has async_entry_points ({names}): put them on the outermost graph"
    for node in graph.nodes:
        yield from node_problems(node)
    for edge in graph.edges:
        yield from edge_problems(edge)
    yield from never_taken_problems(graph)
    yield from parallel_problems(graph)
    yield from unreachable_problems(graph, entry_nodes)
