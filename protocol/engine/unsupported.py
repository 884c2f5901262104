"""Settings that are declared and have no behaviour yet: they are refused by name."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.engine.nesting import Level, levels_of
from greenroom.protocol.engine.validation_nodes import LATER_NODE_TYPES, NODE_TYPES
from greenroom.protocol.entry_point import EntryPointSpec, TriggerType
from greenroom.protocol.errors import UnsupportedSetting
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import EdgeCondition, GraphSpec

_GRAPH_LATER: Final = (
    *("memory_keys", "default_model", "max_tokens", "cleanup_llm_model", "max_retries_per_node"),
    *("loop_config", "conversation_mode", "identity_prompt"),
)
_NODE_LATER: Final = (
    *("input_schema", "output_schema", "system_prompt", "tools", "model"),
    *("output_model", "max_validation_retries", "client_facing", "success_criteria"),
)
_GOAL_LATER: Final = ("required_capabilities", "input_schema", "output_schema")


def unsupported_settings(
    graph: GraphSpec | None = None,
    entry_points: Iterable[EntryPointSpec] = (),
    checkpoint_config: CheckpointConfig | None = None,
    goal: Goal | None = None,
) -> list[UnsupportedSetting]:
    """Return one error for each setting that is declared and has no behaviour yet."""
    found: list[UnsupportedSetting] = []
    if graph is not None:
        for level in levels_of(graph)[0]:
            found += _unsupported_in(level)
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


def _unsupported_in(level: Level) -> list[UnsupportedSetting]:
    graph, within = level.graph, level.within
    found = _changed(f"{within}graph {graph.id!r}: ", graph, _GRAPH_LATER)
    for node in graph.nodes:
        found += _changed(f"{within}node {node.id!r}: ", node, _NODE_LATER)
        if node.node_type in LATER_NODE_TYPES:
            name = f"{within}node {node.id!r}: node_type {node.node_type!r}"
            found.append(UnsupportedSetting(name, f"use one of {', '.join(NODE_TYPES)}"))
    for edge in graph.edges:
        if edge.kind is EdgeCondition.LLM_DECIDE:
            name = f"{within}edge {edge.id!r}: condition 'llm_decide'"
            found.append(UnsupportedSetting(name, "use 'conditional' with a condition_expr"))
    return found


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
