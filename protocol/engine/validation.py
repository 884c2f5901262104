"""Every rule about what a user may declare, checked before anything starts."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.engine.conditions import compile_condition
from greenroom.protocol.entry_point import EntryPointSpec, TriggerType
from greenroom.protocol.errors import (
    InvalidExpression,
    InvalidGraph,
    InvalidId,
    UnsupportedSetting,
)
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.ids import validate_id
from greenroom.protocol.limits import (
    ATTEMPTS_MAX,
    BACKOFF_FACTOR_MAX,
    BACKOFF_S_MAX,
    EDGES_MAX,
    NODE_VISITS_MAX,
    NODES_MAX,
    PRIORITY_MAX,
    STEPS_MAX,
    TIMEOUT_S_MAX,
)

NODE_TYPES: Final = ("function", "router")
LATER_NODE_TYPES: Final = ("llm_tool_use", "llm_generate", "human_input", "event_loop")

_GRAPH_LATER: Final = (
    *("memory_keys", "default_model", "max_tokens", "cleanup_llm_model", "max_retries_per_node"),
    *("loop_config", "conversation_mode", "identity_prompt"),
)
_NODE_LATER: Final = (
    *("input_schema", "output_schema", "system_prompt", "tools", "model"),
    *("output_model", "max_validation_retries", "client_facing", "success_criteria"),
)
_GOAL_LATER: Final = ("required_capabilities", "input_schema", "output_schema")


def validate_graph(
    graph: GraphSpec,
    *,
    entry_nodes: Iterable[str] = (),
    functions: Collection[str] | None = None,
) -> list[str]:
    """Return every problem of the graph as a sentence with the ids it concerns; empty means valid.

    `entry_nodes` are the entry nodes of entry points registered apart from the graph: they count
    for reachability. `functions` are the registered names; None leaves them unchecked. Fields of
    a wrong type are reported alone, because the other rules cannot be applied to them.
    """
    problems = list(_type_problems(graph))
    if problems:
        return problems
    entry_nodes = tuple(entry_nodes)
    return [
        *_id_problems(graph),
        *_reference_problems(graph, entry_nodes),
        *(problem for node in graph.nodes for problem in _node_problems(node, graph)),
        *(problem for edge in graph.edges for problem in _edge_problems(edge)),
        *_parallel_problems(graph),
        *_unreachable_problems(graph, entry_nodes),
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


def missing_functions(graph: GraphSpec, functions: Collection[str] | None) -> list[tuple[str, str]]:
    """Return (node id, function name) of each node that calls one which is not in `functions`."""
    if functions is None:
        return []
    return [
        (node.id, node.function_name)
        for node in graph.nodes
        if (node.node_type == "function" or node.function is not None)
        and node.function_name not in functions
    ]


def unsupported_settings(
    graph: GraphSpec | None = None,
    entry_points: Iterable[EntryPointSpec] = (),
    checkpoint_config: CheckpointConfig | None = None,
    goal: Goal | None = None,
) -> list[UnsupportedSetting]:
    """Return one error for each setting that is declared and has no behaviour yet."""
    found: list[UnsupportedSetting] = []
    if graph is not None:
        found += _changed(f"graph {graph.id!r}: ", graph, _GRAPH_LATER)
        for node in graph.nodes:
            found += _changed(f"node {node.id!r}: ", node, _NODE_LATER)
            if node.node_type in LATER_NODE_TYPES:
                name = f"node {node.id!r}: node_type {node.node_type!r}"
                found.append(UnsupportedSetting(name, f"use one of {', '.join(NODE_TYPES)}"))
        for edge in graph.edges:
            if edge.kind is EdgeCondition.LLM_DECIDE:
                name = f"edge {edge.id!r}: condition 'llm_decide'"
                found.append(UnsupportedSetting(name, "use 'conditional' with a condition_expr"))
        entry_points = [*graph.async_entry_points, *entry_points]
    for entry_point in entry_points:
        where = f"entry point {entry_point.id!r}: "
        if entry_point.trigger is TriggerType.TIMER:
            hint = "use 'manual' and trigger it from a timer of your own"
            found.append(UnsupportedSetting(where + "trigger_type 'timer'", hint))
        elif entry_point.trigger is not TriggerType.EVENT:
            found += _changed(where, entry_point, ("trigger_config",))
    if checkpoint_config is not None:
        found += checkpoint_config.unsupported()
    if goal is not None:
        found += _changed(f"goal {goal.id!r}: ", goal, _GOAL_LATER)
    return found


def refuse_unsupported(
    graph: GraphSpec | None = None,
    entry_points: Iterable[EntryPointSpec] = (),
    checkpoint_config: CheckpointConfig | None = None,
    goal: Goal | None = None,
) -> None:
    """Raise the first error of `unsupported_settings`, if there is one."""
    for error in unsupported_settings(graph, entry_points, checkpoint_config, goal):
        raise error


def _changed(where: str, spec: msgspec.Struct, names: Sequence[str]) -> list[UnsupportedSetting]:
    changed = []
    for field in msgspec.structs.fields(spec):
        if field.name in names:
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if getattr(spec, field.name) != default:
                changed.append(UnsupportedSetting(where + field.name, f"default: {default!r}"))
    return changed


def _type_problems(graph: GraphSpec) -> Iterator[str]:
    """Check the types of all fields; constructing a Struct does not."""
    if not isinstance(graph, GraphSpec):
        yield f"the graph is a {type(graph).__name__}: use a GraphSpec"
        return
    for field, kind in (
        ("nodes", NodeSpec),
        ("edges", EdgeSpec),
        ("async_entry_points", EntryPointSpec),
    ):
        items = getattr(graph, field)
        if not isinstance(items, list | tuple):
            yield f"graph {graph.id!a:.80}: {field} must be a list of {kind.__name__}"
            continue
        for at, item in enumerate(items):
            if not isinstance(item, kind):
                yield f"{field}[{at}] is a {type(item).__name__}: use a {kind.__name__}"
            else:
                yield from _mistyped(f"{field}[{at}]", item, kind)
    bare = msgspec.structs.replace(graph, nodes=[], edges=[], async_entry_points=[])
    yield from _mistyped("graph", bare, GraphSpec)


def _mistyped(where: str, spec: msgspec.Struct, kind: type[msgspec.Struct]) -> Iterator[str]:
    try:
        plain = msgspec.to_builtins(spec, enc_hook=lambda _: None)
        msgspec.convert(plain, type=kind)
    except (msgspec.ValidationError, TypeError, OverflowError, RecursionError) as error:
        name = getattr(spec, "id", None)
        yield f"{where} (id {name!a:.80}): {error}"


def _id_problems(graph: GraphSpec) -> Iterator[str]:
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


def _reference_problems(graph: GraphSpec, entry_nodes: Iterable[str]) -> Iterator[str]:
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


def _node_problems(node: NodeSpec, graph: GraphSpec) -> Iterator[str]:
    where = f"node {node.id!r}: "
    if node.node_type not in NODE_TYPES and node.node_type not in LATER_NODE_TYPES:
        yield f"{where}node_type is {node.node_type!r}: use one of {', '.join(NODE_TYPES)}"
    if not 0 <= node.max_retries <= ATTEMPTS_MAX:
        yield f"{where}max_retries is {node.max_retries}: use 0 to {ATTEMPTS_MAX} attempts"
    if not 0 <= node.max_node_visits <= NODE_VISITS_MAX:
        yield (
            f"{where}max_node_visits is {node.max_node_visits}: "
            f"use 1 to {NODE_VISITS_MAX}, or 0 for no limit"
        )
    for field, value, low, high in (
        ("backoff_initial_s", node.backoff_initial_s, 0, BACKOFF_S_MAX),
        ("backoff_max_s", node.backoff_max_s, 0, BACKOFF_S_MAX),
        ("backoff_factor", node.backoff_factor, 1, BACKOFF_FACTOR_MAX),
        ("backoff_jitter", node.backoff_jitter, 0, 1),
    ):
        if not low <= value <= high:
            yield f"{where}{field} is {value}: use {low:g} to {high:g}"
    if node.timeout_s is not None and not 0 <= node.timeout_s <= TIMEOUT_S_MAX:
        yield f"{where}timeout_s is {node.timeout_s}: use 0 to {TIMEOUT_S_MAX:g}, or None for none"
    for field in ("input_keys", "output_keys", "nullable_output_keys", "retry_on", "no_retry_on"):
        keys: list[str] = getattr(node, field)
        if not all(keys) or len(set(keys)) != len(keys):
            yield f"{where}{field} has an empty or repeated entry: {keys}"
    torn = sorted(set(node.retry_on) & set(node.no_retry_on))
    if torn:
        yield f"{where}{torn} are in retry_on and in no_retry_on: leave them out of one"
    stray = sorted(set(node.nullable_output_keys) - set(node.output_keys))
    if stray:
        yield f"{where}nullable_output_keys {stray} are not among its output_keys"
    yield from _routing_problems(where, node)


def _routing_problems(where: str, node: NodeSpec) -> Iterator[str]:
    if node.node_type == "router":
        if not node.routes:
            yield f"{where}a router needs routes, as in {{'default': 'next_node'}}"
        if node.function is not None and node.route_on is not None:
            yield f"{where}route_on is not read by a router with a function: leave one of them out"
        if node.function is None and node.timeout_s is not None:
            yield f"{where}timeout_s is not read by a router without a function: leave it out"
    elif node.routes or node.route_on is not None:
        yield f"{where}routes and route_on belong to nodes of type 'router'"


def _edge_problems(edge: EdgeSpec) -> Iterator[str]:
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


def _parallel_problems(graph: GraphSpec) -> Iterator[str]:
    taken: dict[tuple[str, EdgeCondition], list[str]] = {}
    for edge in graph.edges:
        if edge.kind in (EdgeCondition.ALWAYS, EdgeCondition.ON_SUCCESS, EdgeCondition.ON_FAILURE):
            taken.setdefault((edge.source, edge.kind), []).append(edge.id)
    for (source, kind), edges in taken.items():
        if len(edges) > 1:
            yield (
                f"ParallelNotAvailable: node {source!r} has {len(edges)} edges with condition "
                f"{kind.value!r} ({', '.join(edges)}): parallel branches are not available yet, "
                "keep one or make the others conditional"
            )


def _unreachable_problems(graph: GraphSpec, entry_nodes: Iterable[str]) -> Iterator[str]:
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
