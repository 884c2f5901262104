"""Everything at once, in orders that nobody thought of: what was accepted always ends."""

import asyncio
import random
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, NodeSpec
from greenroom.protocol.errors import Overloaded, RuntimeNotRunning, RuntimeStopped
from greenroom.protocol.execution import TERMINAL

CALLS = 250
POINTS = ("one", "two", "three")


def _functions(chance: random.Random) -> dict[str, Any]:
    async def first(ctx: Any) -> str:
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            raise ValueError("by chance")
        return "done"

    def second() -> str:
        if chance.random() < 0.2:
            raise ValueError("by chance")
        return "done"

    async def third(ctx: Any) -> None:
        await ctx.update("count", "plus", scope="global")

    return {
        "first": first,
        "second": second,
        "third": third,
        "plus": lambda value: (value or 0) + 1,
    }


def _runtime(lab: Any, chance: random.Random) -> Any:
    nodes = [
        NodeSpec(id="first", backoff_initial_s=0.002),
        NodeSpec(id="second", max_retries=2, backoff_initial_s=0),
        NodeSpec(id="third"),
    ]
    edges = [
        EdgeSpec(id="a", source="first", target="second", condition="on_success"),
        EdgeSpec(id="b", source="second", target="third"),
    ]
    points = [
        EntryPointSpec(
            id=name,
            entry_node="first",
            isolation_level=level,
            max_concurrent=2,
            max_queued=30,
            priority=priority,
        )
        for priority, (name, level) in enumerate(
            zip(POINTS, ("shared", "synchronized", "shared"), strict=True)
        )
    ]
    return lab.runtime(
        _functions(chance),
        nodes=nodes,
        edges=edges,
        entry_points=points,
        max_concurrent_executions=4,
    )


async def _one_call(runtime: Any, chance: random.Random, accepted: set[tuple[str, str]]) -> None:
    point = chance.choice(POINTS)
    name = f"{point}-{chance.randrange(60)}"
    try:
        match chance.randrange(5):
            case 0 | 1:
                await runtime.trigger(
                    point, {"a": 1}, execution_id=name, priority=chance.randrange(3)
                )
                accepted.add((point, name))
            case 2:
                await runtime.trigger_and_wait(point, execution_id=name)
                accepted.add((point, name))
            case 3:
                await runtime.trigger_and_wait(point, timeout=0.001, execution_id=name)
                accepted.add((point, name))
            case 4:
                await runtime.cancel_execution(point, name)
    except (Overloaded, RuntimeStopped, RuntimeNotRunning):
        return


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.asyncio
async def test_whatever_is_called_in_whatever_order_everything_accepted_ends(
    lab: Any, seed: int
) -> None:
    """Also with a stop and a start in the middle; no permit and no place is lost."""
    chance = random.Random(seed)
    accepted: set[tuple[str, str]] = set()
    for round_number in range(2):
        runtime = _runtime(lab, chance)
        async with asyncio.timeout(60):
            await runtime.start()
            calls = []
            for _ in range(CALLS):
                calls.append(asyncio.ensure_future(_one_call(runtime, chance, accepted)))
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            if round_number == 0:
                await runtime.stop()
                await asyncio.gather(*calls)
                continue
            await asyncio.gather(*calls)
            for point, name in sorted(accepted):
                result = await runtime.wait_for_completion(name)
                assert result is not None, name
                assert result.status in TERMINAL
                assert runtime.get_execution_result(point, name) == result
            numbers = runtime.get_stats()["streams"].values()
            assert [one["restarts"] for one in numbers] == [0, 0, 0]
            assert [one["queued_executions"] for one in numbers] == [0, 0, 0]
            for point in POINTS:  # all places and permits are free again
                results = await asyncio.gather(
                    *(runtime.trigger_and_wait(point) for _ in range(20))
                )
                assert {one.status for one in results} <= TERMINAL
            await runtime.stop()
