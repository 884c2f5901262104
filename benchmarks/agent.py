"""The agent whose steps are measured: three trivial nodes in a row, about 240 bytes of memory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from greenroom.actors.host.create import create_agent_runtime
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

ENTRY: Final = "benchmark"
COMMITS_PER_EXECUTION: Final = 4  # the acceptance, and one for each node
INPUT: Final = {"ticket": "the printer prints nothing but the letter e, over and over again"}

GRAPH: Final = GraphSpec(
    id="benchmark",
    entry_node="first",
    terminal_nodes=["third"],
    nodes=[
        NodeSpec(id="first", input_keys=["ticket"], output_keys=["label"]),
        NodeSpec(id="second", input_keys=["label"], output_keys=["assignee"]),
        NodeSpec(id="third", input_keys=["assignee"], output_keys=["reply"]),
    ],
    edges=[
        EdgeSpec(id="first-second", source="first", target="second"),
        EdgeSpec(id="second-third", source="second", target="third"),
    ],
)


async def first(ticket: str) -> str:
    """Returns about 50 bytes."""
    return "hardware/printers/second-floor/urgent/has-workaround"


async def second(label: str) -> str:
    """Returns about 50 bytes."""
    return "the hardware desk, second floor, on duty until noon"


async def third(assignee: str) -> str:
    """Returns about 50 bytes."""
    return "thank you: somebody will come and look at it today"


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "first": first,
    "second": second,
    "third": third,
}


def make_runtime(
    path: Path,
    concurrent: int,
    *,
    functions: Mapping[str, Callable[..., Any]] = FUNCTIONS,
    graph: GraphSpec = GRAPH,
) -> AgentRuntime:
    """An agent with a store at `path` that runs up to `concurrent` executions at once."""
    entry = EntryPointSpec(
        id=ENTRY,
        entry_node=graph.entry_node,
        max_concurrent=concurrent,
        max_queued=max(concurrent, 1000),
    )
    return create_agent_runtime(
        graph,
        Goal(id="benchmark"),
        path,
        [entry],
        config=AgentRuntimeConfig(max_concurrent_executions=concurrent),
        functions=functions,
    )
