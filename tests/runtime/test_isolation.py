"""What nodes may read and write under each isolation level, and that no update is lost (B1)."""

import asyncio
from typing import Any

import pytest

from greenroom import EntryPointSpec, NodeSpec
from greenroom.protocol.execution import Status
from greenroom.protocol.isolation import StateScope

STREAMS, TRIGGERS, TIMES = 8, 10, 5


def _points(level: str, *names: str) -> list[EntryPointSpec]:
    return [EntryPointSpec(id=name, entry_node="work", isolation_level=level) for name in names]


@pytest.mark.parametrize("level", ["isolated", "shared", "synchronized"])
@pytest.mark.asyncio
async def test_a_level_says_which_scopes_a_node_may_touch(lab: Any, level: str) -> None:
    async def work(ctx: Any) -> dict[str, Any]:
        for scope in (StateScope.STREAM, StateScope.GLOBAL):
            await ctx.write("key", scope.value, scope)
        return {}

    async with lab.runtime(
        {"work": work},
        nodes=[NodeSpec(id="work", max_retries=1)],
        entry_points=_points(level, "main", "other"),
    ) as runtime:
        result = await runtime.trigger_and_wait("main")
        read = runtime.state_manager.read
        stored = [
            await read("key", scope=StateScope.STREAM, stream_id="main"),
            await read("key", scope=StateScope.GLOBAL),
        ]
        if level == "isolated":
            assert result.status is Status.FAILED
            assert "isolated" in result.error
            assert stored == [None, None]
        else:
            assert result.status is Status.COMPLETED
            assert stored == ["stream", "global"]


@pytest.mark.asyncio
async def test_shared_writes_are_seen_by_other_executions_and_other_streams(lab: Any) -> None:
    async def work(ctx: Any, value: Any = None) -> dict[str, Any]:
        seen = {
            "stream": await ctx.read("key", scope=StateScope.STREAM),
            "global": await ctx.read("key", scope=StateScope.GLOBAL),
        }
        if value is not None:
            await ctx.write("key", value, StateScope.STREAM)
            await ctx.write("key", value * 10, StateScope.GLOBAL)
        return {"seen": seen}

    node = NodeSpec(id="work", input_keys=["value"], output_keys=["seen"])
    points = _points("shared", "main", "other")
    for _ in range(2):  # the second time by another runtime on the same store
        async with lab.runtime({"work": work}, nodes=[node], entry_points=points) as runtime:
            await runtime.trigger_and_wait("main", {"value": 4})
            same = await runtime.trigger_and_wait("main")
            other = await runtime.trigger_and_wait("other")
    assert same.output["seen"] == {"stream": 4, "global": 40}
    assert other.output["seen"] == {"stream": None, "global": 40}


@pytest.mark.asyncio
async def test_writes_of_a_failed_node_are_seen_by_nobody(lab: Any) -> None:
    async def work(ctx: Any, fail: bool = False) -> Any:
        found = await ctx.read("key", scope=StateScope.GLOBAL)
        if fail:
            await ctx.write("key", 1, StateScope.GLOBAL)
            ctx.publish("custom", {"never": True})
            raise ValueError("too late")
        return {"found": found}

    node = NodeSpec(
        id="work",
        input_keys=["fail"],
        output_keys=["found"],
        max_retries=1,
        nullable_output_keys=["found"],
    )
    async with lab.runtime({"work": work}, nodes=[node]) as runtime:
        assert not (await runtime.trigger_and_wait("main", {"fail": True})).success
        assert (await runtime.trigger_and_wait("main")).output["found"] is None
        assert runtime.event_bus.get_history("custom") == []
        assert runtime.event_bus.get_history("state_changed") == []


def _plus(value: int | None) -> int:
    return (value or 0) + 1


@pytest.mark.parametrize(
    ("how", "level"),
    [("read_then_write", "synchronized"), ("update", "synchronized"), ("update", "shared")],
)
@pytest.mark.asyncio
async def test_four_hundred_increments_from_eight_streams_are_four_hundred(
    lab: Any, how: str, level: str
) -> None:
    """B1, and that a race costs few runs: 400 increments in at most 1,200."""
    runs = 0

    async def work(ctx: Any) -> None:
        nonlocal runs
        runs += 1
        if how == "update":
            await ctx.update("count", _plus, scope=StateScope.GLOBAL)
        else:
            found = await ctx.read("count", 0, StateScope.GLOBAL)
            await asyncio.sleep(0)
            await ctx.write("count", found + 1, StateScope.GLOBAL)

    names = [f"stream-{number}" for number in range(STREAMS)]
    functions = {"work": work, "plus": _plus}
    async with lab.runtime(
        functions,
        nodes=[NodeSpec(id="work", max_retries=1)],
        entry_points=_points(level, *names),
    ) as runtime:
        results = await asyncio.gather(
            *(
                runtime.trigger_and_wait(name)
                for _ in range(TIMES)
                for name in names
                for _ in range(TRIGGERS)
            )
        )
        assert all(one.success for one in results), [one.error for one in results if one.error][:3]
        assert await runtime.state_manager.read("count", scope=StateScope.GLOBAL) == 400
    assert runs <= 1_200
