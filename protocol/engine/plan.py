"""The graph, compiled once into what the engine looks up on every step."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import msgspec

from greenroom.protocol.engine.conditions import Condition, compile_condition
from greenroom.protocol.engine.constraints import PlanConstraint, compile_constraints
from greenroom.protocol.engine.flattening import flatten
from greenroom.protocol.engine.joins import Ways, joins, ways_of
from greenroom.protocol.errors import NodeNotFound, UnsupportedSetting
from greenroom.protocol.goal import Constraint
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import PARALLEL_DEFAULT, MapSpec, ParallelExecutionConfig

_DIGEST_BYTES: Final = 8
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")

KeyMapping = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PlanEdge:
    """One outgoing edge: it may be taken when the flag of the source's outcome is set and
    `condition`, if any, holds. Of the `conditional` ones those of the highest priority are;
    `otherwise` is for when no other may be.

    `mapping` holds (key for the target, key of the source's output) pairs; empty means no mapping.
    With `map` the target runs for each element of a list, up to the node `until`.
    """

    id: str
    target: str
    after_success: bool
    after_failure: bool
    condition: Condition | None
    mapping: KeyMapping
    priority: int = 0
    conditional: bool = False
    otherwise: bool = False
    map: MapSpec | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One node, with its outgoing edges in the order in which they are tried.

    `function` is None for a router that only picks its next node: it is passed within a transition,
    never run. `blocking`: nothing can stop its function once it runs. With `pause` an execution
    stands still once the node has ended; `resume_at` is where it goes on then, None for the node's
    own edges. `required` are the declared output keys that may not be missing or blank.
    `mapping_to` is the mapping that a jump by `routes` applies: that of the first edge to the same
    target, if there is one. When several edges are taken their branches meet at `join`, None for at
    their ends. `inside` is the entry node of a graph within the graph. `next_node` is where every
    success leads on to as it is: by one edge, which asks and maps nothing.
    """

    id: str
    name: str
    spec: NodeSpec
    function: str | None
    terminal: bool
    pause: bool
    blocking: bool
    resume_at: str | None
    edges: tuple[PlanEdge, ...]
    required: tuple[str, ...]
    nullable: tuple[str, ...]
    visits_max: int  # 0 means no limit
    routes: Mapping[str, str]
    mapping_to: Mapping[str, KeyMapping]
    parallel: ParallelExecutionConfig = PARALLEL_DEFAULT
    join: str | None = None
    inside: str | None = None
    next_node: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """An immutable compiled graph. Equal digests mean equal decisions for equal ticks."""

    graph_id: str
    nodes: Mapping[str, PlanNode]
    max_steps: int
    digest: bytes
    constraints: tuple[PlanConstraint, ...] = ()
    tells_metrics: bool = False  # with the end of each execution that completes


def compile_plan(
    graph: GraphSpec,
    rules: Sequence[Constraint] = (),
    *,
    tells_metrics: bool = False,
    blocking: Collection[str] = (),
) -> Plan:
    """Compile `graph`, which `validate_graph` has found sound, with the goal's constraints.
    `blocking` names its functions that cannot be stopped once they run.

    Raises NodeNotFound when an edge or a route leads nowhere, InvalidExpression when a condition
    or a check does not parse, UnsupportedSetting for a condition that needs a language model. Pure;
    called once per graph.
    """
    flat = flatten(graph)
    graph, entries = flat.graph, flat.entries
    ids = {node.id for node in graph.nodes}
    leaving: dict[str, list[PlanEdge]] = {one: [] for one in ids}
    mapped = any(edge.map is not None for edge in graph.edges)
    ways = ways_of(graph, entries.values()) if mapped else None
    for edge in sorted(graph.edges, key=lambda one: -one.priority):
        if edge.source not in ids or edge.target not in ids:
            raise NodeNotFound(
                f"edge {edge.id!r} joins {edge.source!r} and {edge.target!r}: not both are nodes"
            )
        leaving[edge.source].append(_compile_edge(edge, ways))
    meeting = joins(graph, entries.values())
    nodes = {
        node.id: replace(
            _compile_node(node, tuple(leaving[node.id]), graph, ids, blocking),
            join=meeting.get(node.id),
            inside=entries.get(node.id),
        )
        for node in graph.nodes
    }
    constraints = compile_constraints(rules)
    return Plan(
        graph_id=graph.id,
        nodes=MappingProxyType(nodes),
        max_steps=graph.max_steps,
        digest=_digest(graph, constraints, entries),
        constraints=constraints,
        tells_metrics=tells_metrics,
    )


def _compile_edge(edge: EdgeSpec, ways: Ways | None) -> PlanEdge:
    kind = edge.kind
    if kind is EdgeCondition.LLM_DECIDE:
        raise UnsupportedSetting("condition='llm_decide'", f"edge {edge.id!r}")
    condition = None
    if kind is EdgeCondition.CONDITIONAL and edge.condition_expr and edge.condition_expr.strip():
        condition = compile_condition(edge.condition_expr)
    until = None if edge.map is None else edge.map.until
    if edge.map is not None and until is None and ways is not None:
        until = ways.join_after(edge.target)
    return PlanEdge(
        id=edge.id,
        target=edge.target,
        after_success=kind is not EdgeCondition.ON_FAILURE,
        after_failure=kind not in (EdgeCondition.ON_SUCCESS, EdgeCondition.OTHERWISE),
        condition=condition,
        mapping=tuple(edge.input_mapping.items()),
        priority=edge.priority,
        conditional=kind is EdgeCondition.CONDITIONAL,
        otherwise=kind is EdgeCondition.OTHERWISE,
        map=edge.map,
        until=until,
    )


def _compile_node(
    node: NodeSpec,
    edges: tuple[PlanEdge, ...],
    graph: GraphSpec,
    ids: set[str],
    blocking: Collection[str],
) -> PlanNode:
    named = node.node_type not in ("router", "subgraph")
    function = node.function_name if named else node.function
    resume_at = resume_node(graph, node.id)
    following = {*node.routes.values()} if resume_at is None else {*node.routes.values(), resume_at}
    lost = sorted(following - ids)
    if lost:
        raise NodeNotFound(f"node {node.id!r} routes to {lost[0]!r}, which is not a node")
    mapping_to: dict[str, KeyMapping] = {}
    for edge in edges:
        mapping_to.setdefault(edge.target, edge.mapping)
    nullable = tuple(node.nullable_output_keys)
    return PlanNode(
        id=node.id,
        name=node.name,
        spec=node,
        function=function,
        terminal=node.id in graph.terminal_nodes,
        pause=node.id in graph.pause_nodes,
        blocking=function in blocking,
        resume_at=resume_at,
        edges=edges,
        required=tuple(key for key in node.output_keys if key not in nullable),
        nullable=nullable,
        visits_max=node.max_node_visits,
        routes=MappingProxyType(dict(node.routes)),
        mapping_to=MappingProxyType(mapping_to),
        parallel=graph.parallel if node.parallel is None else node.parallel,
        next_node=_next_node(edges),
    )


def _next_node(edges: Sequence[PlanEdge]) -> str | None:
    after_success = [edge for edge in edges if edge.after_success]
    if len(after_success) != 1:
        return None
    edge = after_success[0]
    plain = edge.condition is None and not edge.mapping and edge.map is None
    return edge.target if plain else None


def resume_node(graph: GraphSpec, node_id: str) -> str | None:
    """Return where an execution goes on that paused at `node_id`, None for its edges."""
    if node_id not in graph.pause_nodes:
        return None
    return graph.entry_points.get(f"{node_id}_resume")


def _digest(
    graph: GraphSpec, constraints: Sequence[PlanConstraint], entries: Mapping[str, str]
) -> bytes:
    """Return a digest of what the engine decides by: texts for people and the order of nodes do not
    count.
    """
    nodes = sorted(
        (
            [
                node.id,
                node.name,
                node.node_type,
                node.function_name,
                node.function,
                node.input_keys,
                node.output_keys,
                node.nullable_output_keys,
                list(node.routes.items()),
                node.route_on,
                node.max_retries,
                node.retry_on,
                [node.backoff_initial_s, node.backoff_factor, node.backoff_max_s],
                node.max_node_visits,
                node.timeout_s,
                [node.no_retry_on, node.backoff_jitter],
                *([] if node.parallel is None else [node.parallel]),
            ]
            for node in graph.nodes
        ),
        key=lambda row: str(row[0]),
    )
    edges = [
        [
            *(edge.id, edge.source, edge.target, edge.kind, edge.condition_expr),
            edge.input_mapping,
            *([edge.priority] if edge.priority else []),
            *([] if edge.map is None else [edge.map]),
        ]
        for edge in sorted(graph.edges, key=lambda one: -one.priority)
    ]
    parts = [graph.id, graph.max_steps, sorted(graph.terminal_nodes), nodes, edges]
    if graph.pause_nodes:
        parts.append([[one, resume_node(graph, one)] for one in sorted(graph.pause_nodes)])
    if graph.parallel != PARALLEL_DEFAULT:
        parts.append(graph.parallel)
    if entries:
        parts.append(sorted(entries.items()))
    if constraints:
        parts.append([[one.id, one.hard, one.check.expression] for one in constraints])
    canonical = _encoder.encode(parts)
    return blake2b(canonical, digest_size=_DIGEST_BYTES).digest()
