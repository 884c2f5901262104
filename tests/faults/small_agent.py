"""What the agents with a graph of their own share: their runtime, the outside that they call, and
how they tell the end. See agent.py for how they are asked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent import Reaper, append

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.protocol.engine.result import ExecutionResult
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import GraphSpec
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.store import Store, StoreOptions


class Outside:
    """Every call enters the ledger, between the points "inside" and "called"."""

    def __init__(self, request: dict[str, Any], reaper: Reaper) -> None:
        self._ledger, self._reaper = request["ledger"], reaper

    def call(self, name: str, idempotency_key: str) -> str:
        self._reaper.reach("inside")
        append(self._ledger, call=name, key=idempotency_key)
        self._reaper.reach("called")
        return f"{name} was called"

    async def call_async(self, name: str, idempotency_key: str) -> str:
        return self.call(name, idempotency_key)


def make_runtime(
    graph: GraphSpec,
    request: dict[str, Any],
    reaper: Reaper,
    functions: Mapping[str, Any],
    **options: Any,
) -> AgentRuntime:
    """A runtime of the graph with one entry point, which passes the reaper at every commit."""

    def factory(path: Path, store_options: StoreOptions) -> Store:
        return open_store(path, options=store_options, failpoint=reaper.reach)

    runtime = AgentRuntime(
        graph,
        Goal(id="goal"),
        request["store"],
        functions=functions,
        store_factory=factory,
        **options,
    )
    runtime.register_entry_point(EntryPointSpec(id="ep", entry_node=graph.entry_node))
    return runtime


def tell(request: dict[str, Any], result: ExecutionResult | None, **more: Any) -> None:
    """Say how the one execution ended."""
    assert result is not None
    append(
        request["said"],
        execution="e",
        status=result.status.value,
        output=result.output,
        path=result.path,
        **more,
    )
