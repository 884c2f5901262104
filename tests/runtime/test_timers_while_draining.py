"""A stream on its way down waits for nodes that run; those that it does not start lose no time."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, NodeSpec, Status
from greenroom.protocol.stream_messages import Drain

NODES = [
    NodeSpec(id="first", max_retries=1),
    NodeSpec(id="second", max_retries=1, timeout_s=0.5),
    NodeSpec(id="long", max_retries=1, timeout_s=0.8),
]
EDGES = [EdgeSpec(id="e", source="first", target="second")]
POINTS = [
    EntryPointSpec(id="main", entry_node="first"),
    EntryPointSpec(id="other", entry_node="long"),
]


@pytest.mark.asyncio
async def test_a_node_that_was_not_started_does_not_time_out(lab: Any, new_gate: Any) -> None:
    """It was dispatched on the way down, for the next start to run."""
    gate = new_gate()
    ran = []

    async def first() -> None:
        await gate.wait()

    async def long() -> None:
        await asyncio.Event().wait()

    functions = {"first": first, "second": lambda: ran.append("second"), "long": long}
    async with lab.runtime(functions, NODES, EDGES, POINTS) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        drained = runtime._assembly.streams.refs["main"].ask(Drain(), control=True)
        gate.let_go()
        assert await drained
        await runtime.trigger_and_wait("other", {}, 20)
    token = next(iter(lab.look(execution).tokens.values()))
    assert (token.node, token.failures, ran) == ("second", 0, [])
    async with lab.runtime(functions, NODES, EDGES, POINTS) as runtime:
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert (result.status, ran) == (Status.COMPLETED, ["second"])
