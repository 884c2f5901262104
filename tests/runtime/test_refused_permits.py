"""A trigger that is refused gives back the permit that it had taken, to whoever came meanwhile."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, NodeSpec, Status

NODES = [NodeSpec(id="work"), NodeSpec(id="done")]
EDGES = [EdgeSpec(id="e", source="work", target="done")]


@pytest.mark.asyncio
async def test_who_is_resumed_beside_a_repeated_trigger_gets_its_permit(lab: Any) -> None:
    """The only permit is with the repeat until the store knows it."""
    points = [EntryPointSpec(id="main", entry_node="work", max_concurrent=1)]
    functions = {"work": lambda: None, "done": lambda: None}
    async with lab.runtime(functions, NODES, EDGES, points, pauses=["work"]) as runtime:
        options = {"execution_id": "first", "idempotency_key": "k"}
        result = await runtime.trigger_and_wait("main", {}, 20, **options)
        assert result.status is Status.PAUSED
        _, again = await asyncio.gather(
            runtime.resume("first"), runtime.trigger("main", {}, idempotency_key="k")
        )
        assert again == "first"
        result = await runtime.wait_for_completion("first", timeout=20)
        assert result is not None, "it waits for a permit that nobody has"
        assert result.status is Status.COMPLETED
