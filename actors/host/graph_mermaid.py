"""A graph as a Mermaid flowchart, for pages that can draw one."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from greenroom.actors.host.graph_text import map_ends, shown_condition, shown_map
from greenroom.protocol.engine.joins import edges_together, fan_outs, joins
from greenroom.protocol.engine.nesting import Level
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec

# What else a label holds is written as a code: quotes end it, and %%{ or # mean something in it.
_NOT_PLAIN: Final = re.compile(r"[^\w .,:=!?+*/'()-]")
_NO_NAME: Final = re.compile(r"\W", re.ASCII)
_STYLES: Final = {
    "entry": "stroke-width:3px",
    "terminal": "stroke-width:3px,stroke-dasharray:8 3",
    "pause": "stroke-dasharray:3 3",
    "fan": "fill:#e8f0fe,color:#000",
    "join": "fill:#e6f4ea,color:#000",
    "missing": "stroke:#c00,color:#c00",
}


def mermaid_lines(
    levels: Sequence[Level], entry_points: Sequence[EntryPointSpec] = ()
) -> Iterator[str]:
    """Yield the lines of a flowchart of the graph and those within it.

    Routers are rhombs, graphs within the graph are frames, entry points that come from outside are
    rounded. A thick arrow is taken for each element of a list, a dotted one after a failure, at a
    pause or from an entry point. Nodes that begin, end or pause a run, that fan out, or at which
    branches join, have a class each.
    """
    drawing = _Drawing(levels)
    yield "flowchart TD"
    yield from drawing.level(levels[0], entry_points)
    for name, style in _STYLES.items():
        if members := drawing.classes.get(name):
            yield f"    classDef {name} {style}"
            yield f"    class {','.join(dict.fromkeys(members))} {name}"


class _Drawing:
    """Gives each node its name in the chart, and collects what is of which class."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels = {level.path: level for level in levels}
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()
        self.classes: dict[str, list[str]] = {}

    def level(self, level: Level, entry_points: Sequence[EntryPointSpec]) -> Iterator[str]:
        """Yield the nodes of one graph, with those within them, then its edges."""
        graph, indent = level.graph, "    " * (len(level.path) + 1)
        fans, meeting = fan_outs(graph), joins(graph)
        joined: dict[str, list[str]] = {}
        for source, join in meeting.items():
            if join is not None:
                joined.setdefault(join, []).append(source)
        for node in graph.nodes:
            name = self._name("n", level.flat_id(node.id))
            self._classify(name, node, graph, fans=node.id in fans, joins=node.id in joined)
            lines = [node.id]
            if node.name != node.id:
                lines.insert(0, node.name)
            if node.id in joined:
                lines.append(f"joins {', '.join(joined[node.id])}")
            label = "<br/>".join(map(escaped, lines))
            inner = self._levels.get((*level.path, node.id))
            if inner is not None:
                yield f'{indent}subgraph {name}["{label}"]'
                yield from self.level(inner, ())
                yield f"{indent}end"
            elif node.node_type == "router":
                yield f'{indent}{name}{{"{label}"}}'
            else:
                yield f'{indent}{name}["{label}"]'
        yield from self._missing(level, indent, entry_points)
        yield from self._entries(level, indent, entry_points)
        yield from self._ways(level, indent)

    def _classify(
        self, name: str, node: NodeSpec, graph: GraphSpec, *, fans: bool, joins: bool
    ) -> None:
        for kind, holds in (
            ("entry", node.id == graph.entry_node),
            ("terminal", node.id in graph.terminal_nodes),
            ("pause", node.id in graph.pause_nodes),
            ("fan", fans),
            ("join", joins),
        ):
            if holds:
                self.classes.setdefault(kind, []).append(name)

    def _missing(
        self, level: Level, indent: str, entry_points: Sequence[EntryPointSpec]
    ) -> Iterator[str]:
        """Nodes that are named and are not there: the chart shows what is wrong, too."""
        graph = level.graph
        named = [node for edge in graph.edges for node in (edge.source, edge.target)]
        named += [target for node in graph.nodes for target in node.routes.values()]
        named += [graph.entry_node, *graph.entry_points.values()]
        named += [spec.entry_node for spec in (*graph.async_entry_points, *entry_points)]
        known = {node.id for node in graph.nodes}
        for node_id in dict.fromkeys(named):
            if node_id not in known:
                name = self._name("n", level.flat_id(node_id))
                self.classes.setdefault("missing", []).append(name)
                yield f'{indent}{name}["{escaped(node_id)} is missing"]'

    def _entries(
        self, level: Level, indent: str, entry_points: Sequence[EntryPointSpec]
    ) -> Iterator[str]:
        graph = level.graph
        pauses = {f"{node}_resume" for node in graph.pause_nodes}
        entries = [pair for pair in graph.entry_points.items() if pair[0] not in pauses]
        for spec in (*graph.async_entry_points, *entry_points):
            entries.append((spec.id, spec.entry_node))
        for entry, node_id in entries:
            name = self._name("e", level.flat_id(entry))
            target = self._name("n", level.flat_id(node_id))
            yield f'{indent}{name}(["{escaped(entry)}"]) -.-> {target}'

    def _ways(self, level: Level, indent: str) -> Iterator[str]:
        graph = level.graph
        leaving: dict[str, list[EdgeSpec]] = {node: [] for node in fan_outs(graph)}
        for edge in graph.edges:
            leaving.get(edge.source, []).append(edge)
        together = {edge.id for edges in leaving.values() for edge in edges_together(edges)}
        untils = map_ends(graph)
        for edge in sorted(graph.edges, key=lambda one: -one.priority):
            arrow, label = _drawn(edge, untils.get(edge.id), edge.id in together)
            yield self._way(level, indent, edge.source, arrow, label, edge.target)
        for node in graph.nodes:
            for key, target in node.routes.items():
                yield self._way(level, indent, node.id, "-->", key, target)
        for node_id in graph.pause_nodes:
            target = graph.entry_points.get(f"{node_id}_resume", "")
            if target:
                yield self._way(level, indent, node_id, "-.->", "when resumed", target)

    def _way(
        self, level: Level, indent: str, source: str, arrow: str, label: str, target: str
    ) -> str:
        begin = self._name("n", level.flat_id(source))
        end = self._name("n", level.flat_id(target))
        text = f'|"{escaped(label)}"|' if label else ""
        return f"{indent}{begin} {arrow}{text} {end}"

    def _name(self, kind: str, flat_id: str) -> str:
        """The name of a node in the chart, which may be any but a word of the language."""
        found = self._names.get((kind, flat_id))
        if found is None:
            plain = f"{kind}_{_NO_NAME.sub('_', flat_id)}"
            found, number = plain, 1
            while found in self._taken:
                number += 1
                found = f"{plain}_{number}"
            self._taken.add(found)
            self._names[kind, flat_id] = found
        return found


def escaped(text: str) -> str:
    """Return the text for a label in quotes, in one line."""
    return _NOT_PLAIN.sub(lambda found: f"#{ord(found[0])};", " ".join(text.split()))


def _drawn(edge: EdgeSpec, until: str | None, together: bool) -> tuple[str, str]:
    """The arrow of an edge and its label."""
    parts = []
    if edge.kind not in (EdgeCondition.ON_SUCCESS, EdgeCondition.ALWAYS):
        parts.append(shown_condition(edge))
    if edge.map is not None:
        parts.append(shown_map(edge.map, until))
    elif together:
        parts.append("side by side")
    arrow = "==>" if edge.map is not None else "-->"
    if edge.kind is EdgeCondition.ON_FAILURE and edge.map is None:
        arrow = "-.->"
    return arrow, ", ".join(parts)
