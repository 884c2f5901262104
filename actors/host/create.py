"""An agent's runtime in one call."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.host.store_factory import StoreFactory, open_durable_store
from greenroom.actors.nodes.migrator import Migrate
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import UnsupportedSetting
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import GraphSpec


def create_agent_runtime(
    graph: GraphSpec,
    goal: Goal,
    storage_path: str | Path,
    entry_points: Iterable[EntryPointSpec],
    llm: None = None,
    tools: None = None,
    tool_executor: None = None,
    config: AgentRuntimeConfig | None = None,
    runtime_log_store: None = None,
    enable_logging: bool = True,
    checkpoint_config: CheckpointConfig | None = None,
    *,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    migrate: Migrate | None = None,
    store_factory: StoreFactory = open_durable_store,
) -> AgentRuntime:
    """An AgentRuntime with its entry points registered; not started. Raises as both do."""
    if not enable_logging:
        raise UnsupportedSetting("enable_logging")
    runtime = AgentRuntime(
        graph,
        goal,
        storage_path,
        llm,
        tools,
        tool_executor,
        config,
        runtime_log_store,
        checkpoint_config,
        functions=functions,
        migrate=migrate,
        store_factory=store_factory,
    )
    for spec in entry_points:
        runtime.register_entry_point(spec)
    return runtime
