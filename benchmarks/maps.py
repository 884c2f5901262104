"""A map over a long list against as many steps in a row: how fast one execution goes on when many
of its branches are under way.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.benchmarks.agent import ENTRY, make_runtime
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec

CONCURRENCY: Final = 50


class Rates(NamedTuple):
    """Durable steps per second of one execution."""

    in_a_row: float
    mapped: float

    @property
    def ratio(self) -> float:
        """How fast the map is beside the steps in a row."""
        return self.mapped / self.in_a_row


async def measure(folder: Path, steps: int, *, map_first: bool) -> Rates:
    """Run `steps` steps of a trivial node twice: one after the other, and as a map over a list, at
    most `CONCURRENCY` at a time. Raises RuntimeError when either fails, or loses a result.
    """
    rates: dict[bool, float] = {}
    for mapped in (map_first, not map_first):
        path = folder / ("mapped" if mapped else "in-a-row")
        rates[mapped] = await (_map(path, steps) if mapped else _row(path, steps))
    return Rates(rates[False], rates[True])


async def _row(path: Path, steps: int) -> float:
    async def work(item: int) -> int:
        return item + 1

    graph = GraphSpec(
        id="row",
        entry_node="work",
        max_steps=steps + 1,
        nodes=[
            NodeSpec(id="work", input_keys=["item"], output_keys=["item"], max_node_visits=0),
        ],
        edges=[
            EdgeSpec(
                id="again",
                source="work",
                target="work",
                condition=EdgeCondition.CONDITIONAL,
                condition_expr=f"item < {steps}",
            ),
        ],
    )
    async with make_runtime(path, 1, functions={"work": work}, graph=graph) as runtime:
        return await _rate(runtime, steps, {"item": 0}, ("item", steps))


async def _map(path: Path, steps: int) -> float:
    async def plan() -> list[int]:
        return list(range(steps))

    async def work(item: int) -> int:
        return item + 1

    async def end() -> bool:
        return True

    over = MapSpec(over="list", collect="done", concurrency=CONCURRENCY)
    graph = GraphSpec(
        id="map",
        entry_node="plan",
        terminal_nodes=["end"],
        max_steps=steps + 2,
        nodes=[
            NodeSpec(id="plan", output_keys=["list"]),
            NodeSpec(id="work", input_keys=["item"], output_keys=["done"]),
            NodeSpec(id="end", output_keys=["ended"]),
        ],
        edges=[
            EdgeSpec(id="map", source="plan", target="work", map=over),
            EdgeSpec(id="done", source="work", target="end"),
        ],
    )
    functions: dict[str, Callable[..., Any]] = {"plan": plan, "work": work, "end": end}
    async with make_runtime(path, 1, functions=functions, graph=graph) as runtime:
        return await _rate(runtime, steps + 2, {}, ("results", list(range(1, steps + 1))))


async def _rate(
    runtime: AgentRuntime, steps: int, given: dict[str, int], wanted: tuple[str, object]
) -> float:
    key, value = wanted
    begun = time.perf_counter()
    result = await runtime.trigger_and_wait(ENTRY, given)
    took = time.perf_counter() - begun
    if result is None or not result.success or result.output[key] != value:
        raise RuntimeError(f"an execution of the benchmark failed: {result}")
    return steps / took
