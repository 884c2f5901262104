"""Many streams change one key at once, through a whole runtime."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    EntryPointSpec,
    Goal,
    GraphSpec,
    NodeContext,
    NodeSpec,
    StateScope,
    create_agent_runtime,
)

STREAMS = 8
CONCURRENT = 10
INCREMENTS = 400
RUNS_MAX = 1200
GLOBAL = StateScope.GLOBAL

runs: list[str] = []


async def read_then_write(ctx: NodeContext) -> None:
    """The careless way: correct only because lost races are noticed."""
    runs.append(ctx.execution_id)
    count = await ctx.read("count", 0, GLOBAL)
    await asyncio.sleep(0)
    await ctx.write("count", count + 1, GLOBAL)


def read_then_write_plain(ctx: NodeContext) -> None:
    """The same in the pool, which has fewer threads than there are contenders."""
    runs.append(ctx.execution_id)
    ctx.write_sync("count", ctx.read_sync("count", 0, GLOBAL) + 1, GLOBAL)


def increment(count: int | None) -> int:
    return (count or 0) + 1


async def update(ctx: NodeContext) -> None:
    runs.append(ctx.execution_id)
    await ctx.update("count", increment, scope=GLOBAL)


async def compare_and_set(ctx: NodeContext) -> None:
    runs.append(ctx.execution_id)
    count = await ctx.read("count", 0, GLOBAL)
    while not await ctx.compare_and_set("count", count or None, count + 1, GLOBAL):
        count = await ctx.read("count", 0, GLOBAL)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("function", "isolation"),
    [
        (read_then_write, "synchronized"),
        (read_then_write_plain, "synchronized"),
        (update, "synchronized"),
        (update, "shared"),
        (compare_and_set, "shared"),
    ],
)
async def test_four_hundred_increments_of_eight_streams_are_all_counted(
    tmp_path: Path, function: Any, isolation: str
) -> None:
    runs.clear()
    runtime = create_agent_runtime(
        GraphSpec(id="g", entry_node="n", goal_id="goal", nodes=[NodeSpec(id="n")]),
        Goal(id="goal", name="count", description="count to four hundred"),
        tmp_path,
        [
            EntryPointSpec(
                id=f"s{number}",
                name=f"s{number}",
                entry_node="n",
                trigger_type="api",
                isolation_level=isolation,
                max_concurrent=CONCURRENT,
            )
            for number in range(STREAMS)
        ],
        functions={"n": function, "increment": increment},
    )
    async with runtime:
        results = await asyncio.gather(
            *(runtime.trigger_and_wait(f"s{number % STREAMS}", {}) for number in range(INCREMENTS))
        )
        assert [one.error for one in results if not one.success] == []
        assert await runtime.state_manager.read("count") == INCREMENTS
    assert len(runs) <= RUNS_MAX
    if function is update:
        assert len(runs) == INCREMENTS, "only the update and the commit are made again"
