"""A graph in words: nodes, edges, where it begins, and where its branches join."""

from collections.abc import Iterator, Sequence

from greenroom.actors.host.command_output import one_line
from greenroom.protocol.engine.joins import fan_outs, joins, ways_of
from greenroom.protocol.engine.nesting import Level
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec


def graph_lines(
    levels: Sequence[Level], entry_points: Sequence[EntryPointSpec] = ()
) -> Iterator[str]:
    """Yield the lines for the graph and those within it; `entry_points` come apart from it."""
    for level in levels:
        graph = level.graph
        if level.path:
            yield ""
            yield f"graph of node {level.flat_id('')[:-1]}: {graph.id}"
        else:
            yield f"graph {graph.id}, version {graph.version}, at most {graph.max_steps} steps"
        for title, rows in (
            ("begins", _beginnings(graph, () if level.path else entry_points)),
            ("nodes", [_node_row(node, graph) for node in graph.nodes]),
            ("edges", list(_edge_rows(graph))),
            ("fan-outs", list(_fan_rows(graph))),
        ):
            if rows:
                yield f"{title}:"
                yield from _columns(rows)


def map_ends(graph: GraphSpec) -> dict[str, str | None]:
    """Return, by the ids of the edges with a map, the nodes before which their runs end."""
    mapped = [edge for edge in graph.edges if edge.map is not None]
    if not mapped:
        return {}
    ways, known = ways_of(graph), {node.id for node in graph.nodes}
    return {
        edge.id: edge.map.until or (ways.join_after(edge.target) if edge.target in known else None)
        for edge in mapped
        if edge.map is not None
    }


def shown_map(spec: MapSpec, until: str | None) -> str:
    """A map in words; `until` is where its runs end."""
    index = f", its place as {spec.index}" if spec.index else ""
    kept = f"{spec.collect} of each" if spec.collect else "each"
    end = f"before {until}" if until else "at the end"
    return (
        f"for each of {spec.over} as {spec.item}{index}, {spec.concurrency} at a time, {kept} into "
        f"{spec.into} {end}"
    )


def shown_condition(edge: EdgeSpec) -> str:
    """When an edge is taken, in words."""
    if edge.kind is EdgeCondition.CONDITIONAL:
        return f"when {edge.condition_expr or 'true'}"
    return edge.kind.value.replace("_", " ")


def _beginnings(graph: GraphSpec, entry_points: Sequence[EntryPointSpec]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("entry node", "->", graph.entry_node, "")]
    pauses = {f"{node}_resume" for node in graph.pause_nodes}
    for name, node in graph.entry_points.items():
        if name not in pauses:
            rows.append((name, "->", node, "named in the graph"))
    for spec in (*graph.async_entry_points, *entry_points):
        rows.append((spec.id, "->", spec.entry_node, f"entry point, {spec.trigger.value}"))
    return rows


def _node_row(node: NodeSpec, graph: GraphSpec) -> tuple[str, ...]:
    calls = node.node_type != "subgraph" and (node.node_type != "router" or node.function)
    nullable = set(node.nullable_output_keys)
    writes = [f"{key}?" if key in nullable else key for key in node.output_keys]
    attempts = f"{node.attempts_max} attempt{'s' * (node.attempts_max > 1)}"
    marks = [f"by {node.route_on}"] if node.route_on else []
    if node.id in graph.terminal_nodes:
        marks.append("terminal")
    if node.id in graph.pause_nodes:
        resume_at = graph.entry_points.get(f"{node.id}_resume")
        marks.append("pause" + (f", goes on at {resume_at}" if resume_at else ""))
    if node.max_node_visits != 1:
        visits = node.max_node_visits
        marks.append(f"up to {visits} visits" if visits else "any number of visits")
    if node.timeout_s is not None:
        marks.append(f"at most {node.timeout_s:g} s")
    return (
        node.id,
        node.node_type,
        f"calls {node.function_name}" if calls else "",
        f"reads {', '.join(node.input_keys)}" if node.input_keys else "",
        f"writes {', '.join(writes)}" if writes else "",
        attempts if calls else "",
        "; ".join(marks),
    )


def _edge_rows(graph: GraphSpec) -> Iterator[tuple[str, ...]]:
    untils = map_ends(graph)
    for edge in sorted(graph.edges, key=lambda one: -one.priority):
        more = []
        if edge.priority:
            more.append(f"priority {edge.priority}")
        if edge.input_mapping:
            pairs = (f"{key} = {source}" for key, source in edge.input_mapping.items())
            more.append(f"with {', '.join(pairs)}")
        if edge.map is not None:
            more.append(shown_map(edge.map, untils.get(edge.id)))
        yield edge.source, "->", edge.target, shown_condition(edge), "; ".join(more)
    for node in graph.nodes:
        for key, target in node.routes.items():
            yield node.id, "->", target, f"route {key}", ""
    for node_id in graph.pause_nodes:
        if f"{node_id}_resume" in graph.entry_points:
            yield node_id, "->", graph.entry_points[f"{node_id}_resume"], "when resumed", ""


def _fan_rows(graph: GraphSpec) -> Iterator[tuple[str, ...]]:
    meeting = joins(graph)
    nodes = {node.id: node for node in graph.nodes}
    for node_id, starts in fan_outs(graph).items():
        settings = nodes[node_id].parallel or graph.parallel
        join = meeting[node_id]
        limit = settings.branch_timeout_seconds
        how = [str(settings.on_branch_failure), str(settings.memory_conflict_strategy)]
        how += [] if limit is None else [f"each at most {limit:g} s"]
        where = f"join at {join}" if join else "join at the end"
        yield node_id, "->", ", ".join(starts), where, ", ".join(how)


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    clean = [tuple(map(one_line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    for row in clean:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        yield "  " + "  ".join(cells).rstrip()
