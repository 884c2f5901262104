"""Rules about branches that run side by side: what they write, and where runs of a map may go."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from greenroom.protocol.engine.joins import Ways, fan_outs, ways_of
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, MemoryConflictStrategy

_SHOWN: Final = 8  # ids named in one sentence


@dataclass(frozen=True, slots=True)
class _Way:
    """One way from node to node, and what a user calls it."""

    name: str
    source: str
    target: str
    after_failure: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """The nodes between a fan-out, or the edge of a map, and the node `end` where it joins."""

    name: str
    source: str
    body: Sequence[str]
    end: str | None


def parallel_problems(graph: GraphSpec) -> Iterator[str]:
    """Everything about the fan-outs and the maps of one graph."""
    fans = fan_outs(graph)
    mapping = {edge.source for edge in graph.edges if edge.map is not None}
    for node in graph.nodes:
        if node.parallel is not None and node.id not in fans and node.id not in mapping:
            yield (
                f"node {node.id!r}: parallel is read after a fan-out or a map, and the node has "
                "neither: leave it out, or give it several edges that may be taken at once"
            )
    if not fans and not mapping:
        return
    ways = ways_of(graph)
    joins = {node: ways.join(starts) for node, starts in fans.items()}
    nodes = {node.id: node for node in graph.nodes}
    for node_id, starts in fans.items():
        targets = [nodes[one] for one in starts if one != joins[node_id]]
        yield from _branch_problems(graph, nodes[node_id], targets)
    if mapping:
        fanned = [
            _Part(f"the fan-out of node {node!r}", node, ways.body(fans[node], join), join)
            for node, join in joins.items()
        ]
        yield from _map_problems(graph, nodes, ways, fanned)


def _branch_problems(
    graph: GraphSpec, node: NodeSpec, targets: Sequence[NodeSpec]
) -> Iterator[str]:
    where = f"node {node.id!r}: its branches "
    facing = [one.id for one in targets if one.client_facing]
    if len(facing) > 1:
        yield (
            f"{where}begin at {len(facing)} client_facing nodes ({', '.join(facing)}): people can "
            "talk to one at a time, so let these run one after the other"
        )
    settings = node.parallel or graph.parallel
    strict = settings.memory_conflict_strategy is MemoryConflictStrategy.ERROR
    writers: dict[str, list[str]] = {}
    for one in targets:
        if one.node_type == "event_loop" or strict:
            for key in one.output_keys:
                if key not in one.nullable_output_keys:
                    writers.setdefault(key, []).append(one.id)
    for key, ids in writers.items():
        if len(ids) > 1:
            yield (
                f"{where}{', '.join(ids)} all write the output key {key!r}: give each a key of its "
                "own" + (", or use another memory_conflict_strategy than 'error'" * strict)
            )


def _map_problems(
    graph: GraphSpec, nodes: Mapping[str, NodeSpec], ways: Ways, fanned: Sequence[_Part]
) -> Iterator[str]:
    mapped: list[tuple[EdgeSpec, MapSpec, _Part]] = []
    for edge in graph.edges:
        if edge.map is None or edge.target not in nodes or edge.source not in nodes:
            continue
        why = _until_problem(edge.map, edge.target, nodes, ways)
        if why is not None:
            yield f"edge {edge.id!r}: map: {why}"
            continue
        until = edge.map.until or ways.join_after(edge.target)
        name = f"the map of edge {edge.id!r}"
        part = _Part(name, edge.source, ways.body([edge.target], until), until)
        mapped.append((edge, edge.map, part))
    labelled = list(_labelled(graph, nodes))
    parts = [*fanned, *(part for _, _, part in mapped)]
    for edge, spec, part in mapped:
        where = f"edge {edge.id!r}: map: "
        yield from _crossing_problems(where, edge, part, labelled, ways)
        yield from _joining_problems(where, edge, part, parts)
        yield from _collect_problems(where, edge, spec, part, nodes, graph)


def _until_problem(
    spec: MapSpec, target: str, nodes: Mapping[str, NodeSpec], ways: Ways
) -> str | None:
    if spec.until is None:
        return None
    if spec.until not in nodes:
        return f"until names node {spec.until!r}, which is not in the graph"
    if spec.until == target:
        return (
            f"until is the edge's own target {target!r}, so nothing would run: name the node that "
            "comes after the last one to run for each element"
        )
    if spec.until not in ways.body([target], None):
        return (
            f"until names node {spec.until!r}, to which no way leads from the target {target!r}: "
            "name one that follows it"
        )
    return None


def _labelled(graph: GraphSpec, nodes: Mapping[str, NodeSpec]) -> Iterator[_Way]:
    for edge in graph.edges:
        if (
            edge.source in nodes
            and edge.target in nodes
            and edge.source not in graph.terminal_nodes
        ):
            failed = edge.kind is EdgeCondition.ON_FAILURE
            yield _Way(f"edge {edge.id!r}", edge.source, edge.target, failed)
    for node in graph.nodes:
        for key, target in node.routes.items():
            if target in nodes:
                yield _Way(f"route {key!r} of node {node.id!r}", node.id, target, False)
        target = graph.entry_points.get(f"{node.id}_resume", "")
        if node.id in graph.pause_nodes and target in nodes:
            yield _Way(f"entry point '{node.id}_resume'", node.id, target, False)


def _crossing_problems(
    where: str, edge: EdgeSpec, part: _Part, labelled: Sequence[_Way], ways: Ways
) -> Iterator[str]:
    until = part.end
    if until is None:
        return
    body = set(part.body)
    for way in labelled:
        inside = way.source in body and not ways.leads(until, way.source)
        if inside and ways.leads(until, way.target):
            yield (
                f"{where}{way.name} leads from {way.source!r}, which runs for each element, past "
                f"{until!r}, where the runs end, to {way.target!r}: lead it to {until!r}, or set "
                "until to a node that all ways come to"
            )
        middle = way.target in body and way.target != edge.target and way.source not in body
        if middle and not way.after_failure and ways.leads(way.target, until):
            yield (
                f"{where}{way.name} leads from {way.source!r} into the middle of what runs for "
                f"each element, to {way.target!r}: lead it to {edge.target!r} or {until!r}"
            )


def _joining_problems(
    where: str, edge: EdgeSpec, part: _Part, parts: Sequence[_Part]
) -> Iterator[str]:
    body = set(part.body)
    for other in parts:
        if other is part or other.end not in body:
            continue
        within = part.source in other.body
        if other.source not in body and (other.end == edge.target or not within):
            yield (
                f"{where}{other.name} joins at {other.end!r}, which runs for each element, and "
                f"begins outside of that, at {other.source!r}: let it join before or behind"
            )
        elif within and edge.map is not None and edge.map.until is not None:
            yield (
                f"{where}its runs come past {other.end!r}, where {other.name}, which it is in, "
                f"joins, before they end at {part.end!r}: set until to {other.end!r}, or to a node "
                "before that"
            )


def _collect_problems(
    where: str,
    edge: EdgeSpec,
    spec: MapSpec,
    part: _Part,
    nodes: Mapping[str, NodeSpec],
    graph: GraphSpec,
) -> Iterator[str]:
    body = set(part.body)
    if spec.collect is None:
        return
    written = {spec.item, spec.index, *edge.input_mapping}
    for name in part.body:
        node = nodes[name]
        if not node.output_keys and (node.node_type != "router" or node.function is not None):
            return  # nobody knows what it writes
        written.update(node.output_keys)
    for inner in graph.edges:
        if inner.source in body and inner.target in body:
            written.update(inner.input_mapping)
            if inner.map is not None:
                written.add(inner.map.into)
    if spec.collect not in written:
        shown = ", ".join(part.body[:_SHOWN])
        yield (
            f"{where}collect is {spec.collect!r}, which no node that runs for each element "
            f"({shown}) has among its output_keys: collect one of those, or add it there"
        )
