"""What a graph is made of: types of fields, ids, and names of nodes that must be there."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from greenroom.protocol.engine.nesting import Level
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import InvalidId
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.ids import validate_id
from greenroom.protocol.limits import EDGES_MAX, NODES_MAX, STEPS_MAX


def type_problems(level: Level) -> Iterator[str]:
    """Check the types of all fields; constructing a Struct does not."""
    graph, within = level.graph, level.within
    for field, kind in (
        ("nodes", NodeSpec),
        ("edges", EdgeSpec),
        ("async_entry_points", EntryPointSpec),
    ):
        items = getattr(graph, field)
        if not isinstance(items, list | tuple):
            yield f"{within}graph {graph.id!a:.80}: {field} must be a list of {kind.__name__}"
            continue
        for at, item in enumerate(items):
            if not isinstance(item, kind):
                yield f"{within}{field}[{at}] is a {type(item).__name__}: use a {kind.__name__}"
                continue
            if isinstance(item, NodeSpec) and isinstance(item.graph, GraphSpec):
                item = msgspec.structs.replace(item, graph=None)  # it is a level of its own
            yield from _mistyped(f"{within}{field}[{at}]", item, kind)
    bare = msgspec.structs.replace(graph, nodes=[], edges=[], async_entry_points=[])
    yield from _mistyped(f"{within}graph", bare, GraphSpec)


def _mistyped(where: str, spec: msgspec.Struct, kind: type[msgspec.Struct]) -> Iterator[str]:
    try:
        plain = msgspec.to_builtins(spec, enc_hook=lambda _: None)
        msgspec.convert(plain, type=kind)
    except (msgspec.ValidationError, TypeError, OverflowError, RecursionError) as error:
        name = getattr(spec, "id", None)
        yield f"{where} (id {name!a:.80}): {error}"


def id_problems(graph: GraphSpec) -> Iterator[str]:
    """Ids and sizes: each id is one, and is given once."""
    named: list[tuple[str, str]] = [("graph", graph.id)]
    if graph.goal_id:
        named.append(("goal", graph.goal_id))
    named += [("node", node.id) for node in graph.nodes]
    named += [("edge", edge.id) for edge in graph.edges]
    named += [("entry point", name) for name in graph.entry_points]
    for kind, value in named:
        try:
            validate_id(kind, value)
        except InvalidId as error:
            yield str(error)
    for kind, ids in (
        ("node", [node.id for node in graph.nodes]),
        ("edge", [edge.id for edge in graph.edges]),
        ("async entry point", [entry_point.id for entry_point in graph.async_entry_points]),
    ):
        for value, same in groupby(sorted(ids)):
            count = len(list(same))
            if count > 1:
                yield f"{kind} id {value!r} is used {count} times: give each its own"
    if not graph.nodes:
        yield f"graph {graph.id!r} has no nodes"
    if len(graph.nodes) > NODES_MAX or len(graph.edges) > EDGES_MAX:
        yield f"graph {graph.id!r} has more than {NODES_MAX} nodes or {EDGES_MAX} edges"
    if not 1 <= graph.max_steps <= STEPS_MAX:
        yield f"graph {graph.id!r}: max_steps is {graph.max_steps}: use 1 to {STEPS_MAX}"


def reference_problems(graph: GraphSpec, entry_nodes: Iterable[str]) -> Iterator[str]:
    """Names of nodes that the graph has not."""
    known = {node.id for node in graph.nodes}
    named: list[tuple[str, str]] = [("entry_node", graph.entry_node)]
    named += [(f"entry point {name!r}", node) for name, node in graph.entry_points.items()]
    named += [
        (f"async entry point {entry_point.id!r}", entry_point.entry_node)
        for entry_point in graph.async_entry_points
    ]
    named += [("a registered entry point", node) for node in entry_nodes]
    named += [("terminal_nodes", node) for node in graph.terminal_nodes]
    named += [("pause_nodes", node) for node in graph.pause_nodes]
    for edge in graph.edges:
        named += [(f"edge {edge.id!r}: source", edge.source)]
        named += [(f"edge {edge.id!r}: target", edge.target)]
    for node in graph.nodes:
        named += [(f"node {node.id!r}: route {key!r}", to) for key, to in node.routes.items()]
    for where, node_id in named:
        if node_id not in known:
            yield f"{where} names node {node_id!r}, which is not in the graph"


def flat_id_problems(levels: Iterable[Level]) -> Iterator[str]:
    """Nodes of graphs within the graph have the ids of the nodes above them before their own."""
    owner: dict[str, Level] = {}
    for level in levels:
        for inner in dict.fromkeys(node.id for node in level.graph.nodes):
            flat = level.flat_id(inner)
            other = owner.setdefault(flat, level)
            if other is not level:
                yield (
                    f"{level.within}node {inner!r} has the id {flat!r} for the whole, and so has a "
                    f"node of {other.within or 'the outermost graph: '}rename one of them"
                )
            if level.path and _is_id(inner) and not _is_id(flat):
                yield (
                    f"{level.within}node {inner!r} has the id {flat!a:.300} for the whole, and "
                    "that is none: make it, or those of the nodes that it is in, shorter, and let "
                    "none begin or end with a dot"
                )


def _is_id(value: str) -> bool:
    try:
        validate_id("node", value)
    except InvalidId:
        return False
    return True
