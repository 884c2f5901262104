"""Branches of one execution change one key at once: no update is lost."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, NodeContext, NodeSpec, StateScope, Status
from greenroom.protocol.parallel import MapSpec

GLOBAL = StateScope.GLOBAL
INCREMENTS, TOGETHER = 400, 50
RUNS_MAX = 1_400

runs: list[int] = []


async def read_then_write(ctx: NodeContext, item: int) -> dict[str, int]:
    """Correct only because lost races are noticed, also those between branches."""
    runs.append(item)
    count = await ctx.read("count", 0, GLOBAL)
    await asyncio.sleep(0)
    await ctx.write("count", count + 1, GLOBAL)
    return {"did": item}


def read_then_write_plain(ctx: NodeContext, item: int) -> dict[str, int]:
    """The same in the pool, which has fewer threads than there are branches."""
    runs.append(item)
    ctx.write_sync("count", ctx.read_sync("count", 0, GLOBAL) + 1, GLOBAL)
    return {"did": item}


def increment(count: int | None) -> int:
    return (count or 0) + 1


async def update(ctx: NodeContext, item: int) -> dict[str, int]:
    runs.append(item)
    await ctx.update("count", increment, scope=GLOBAL)
    return {"did": item}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("function", "isolation"),
    [
        (read_then_write, "synchronized"),
        (read_then_write_plain, "synchronized"),
        (update, "synchronized"),
        (update, "shared"),
    ],
)
async def test_four_hundred_increments_of_a_map_are_all_counted(
    lab: Any, function: Any, isolation: str
) -> None:
    runs.clear()
    over = MapSpec(over="items", collect="did", until="done", concurrency=TOGETHER)
    nodes = [
        NodeSpec(id="make"),
        NodeSpec(id="add", input_keys=["item"], max_retries=1, max_node_visits=0),
        NodeSpec(id="done"),
    ]
    edges = [
        EdgeSpec(id="each", source="make", target="add", map=over),
        EdgeSpec(id="end", source="add", target="done"),
    ]
    functions = {
        "make": lambda: {"items": list(range(INCREMENTS))},
        "add": function,
        "done": lambda: None,
        "increment": increment,
    }
    points = [EntryPointSpec(id="main", entry_node="make", isolation_level=isolation)]
    async with lab.runtime(functions, nodes, edges, points, max_steps=1_000) as runtime:
        result = await runtime.trigger_and_wait("main", {}, 60)
        assert (result.status, result.error) == (Status.COMPLETED, None)
        assert result.output["results"] == list(range(INCREMENTS))
        assert await runtime.state_manager.read("count") == INCREMENTS
    assert len(runs) <= RUNS_MAX
    if function is update:
        assert len(runs) == INCREMENTS, "only the update and the commit are made again"
