"""Branches side by side in a real runtime: how they run, merge, count, are told of, and go on after
whatever interrupts them.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from greenroom import (
    Budget,
    EdgeSpec,
    EntryPointSpec,
    EventType,
    NodeContext,
    NodeSpec,
    StateScope,
    Status,
)

pytestmark = pytest.mark.asyncio

LIMIT_S = 20


def giving(**values: Any) -> Callable[[], Any]:
    """A node that returns this."""

    async def give() -> dict[str, Any]:
        await asyncio.sleep(0)
        return values

    return give


def told(runtime: Any, execution: str, *types: str) -> list[Any]:
    """The events of an execution, the oldest first."""
    found = runtime.event_bus.get_history(execution_id=execution, limit=1_000)
    return [one for one in reversed(found) if not types or one.type in types]


async def test_branches_are_many_nodes_deep_and_the_result_tells_of_all(fan_out: Any) -> None:
    deep = [f"n{number}" for number in range(12)]
    tried: Counter[str] = Counter()

    async def flaky() -> dict[str, int]:
        tried["flaky"] += 1
        if tried["flaky"] == 1:
            raise ConnectionError("again")
        return {"flaky": 1}

    functions = {name: giving(**{name: 1}) for name in ["a", *deep, "d"]} | {"flaky": flaky}
    specs = [NodeSpec(id="flaky", max_retries=2, backoff_initial_s=0)]
    chain = [f"{one}-{other}" for one, other in itertools.pairwise(deep)]
    ways = " ".join(["a-n0", "a-flaky", *chain, "n11-d", "flaky-d"])
    async with fan_out(functions, ways, specs=specs) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        assert result.is_degraded_success
        assert result.output == dict.fromkeys(functions, 1)
        assert (result.path[0], result.path[-1]) == ("a", "d")
        assert sorted(result.path) == sorted(functions)
        assert [one for one in result.path if one in deep] == deep
        assert result.node_visit_counts == dict.fromkeys(functions, 1)
        assert result.retry_details == {"flaky": 1}
        assert (result.total_retries, result.steps_executed) == (1, len(functions))


@pytest.mark.parametrize(
    ("strategy", "value"), [("last_wins", "c"), ("first_wins", "b"), ("error", None)]
)
async def test_the_order_of_the_edges_decides_who_wins_not_who_is_faster(
    fan_out: Any, new_gate: Any, strategy: str, value: str | None
) -> None:
    gate = new_gate()

    async def slow() -> dict[str, str]:
        await gate.wait()
        return {"who": "b"}

    async def fast() -> dict[str, str]:
        return {"who": "c"}

    functions = {"a": giving(), "b": slow, "c": fast, "d": giving(end=1)}
    parallel = {"memory_conflict_strategy": strategy}
    async with fan_out(functions, "a-b a-c b-d c-d", parallel=parallel) as runtime:
        c_ended = asyncio.Event()
        runtime.subscribe_to_events(
            [EventType.NODE_COMPLETED], lambda event: event.node_id == "c" and c_ended.set()
        )
        execution = await runtime.trigger("main")
        await gate.came()
        async with asyncio.timeout(LIMIT_S):
            await c_ended.wait()
        gate.open()
        result = await runtime.wait_for_completion(execution, LIMIT_S)
        assert result.output.get("who") == value
        if value is None:
            assert result.status is Status.FAILED
            assert "'who'" in result.error
            assert "node 'a'" in result.error
        else:
            assert result.status is Status.COMPLETED


async def test_what_happens_to_branches_is_told_in_order_with_all_that_names_them(
    fan_out: Any,
) -> None:
    async def broken() -> None:
        raise ValueError("broken")

    functions = {"a": giving(), "b": giving(b=1), "c": broken, "d": giving(d=1)}
    parallel = {"on_branch_failure": "continue_others"}
    async with fan_out(functions, "a-b a-c b-d c-d", parallel=parallel) as runtime:
        live: list[Any] = []
        kinds = [EventType.PARALLEL_STARTED, EventType.PARALLEL_JOINED, EventType.BRANCH_FAILED]
        heard = runtime.subscribe_to_events(kinds, live.append)
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        await runtime.event_bus.settled(heard)
        stored = told(runtime, result.execution_id, *kinds)
        assert [one.seq for one in live] == [one.seq for one in stored]
        assert [one.seq for one in stored] == sorted({one.seq for one in stored})
        assert [one.type for one in stored] == [
            "parallel_started", "branch_failed", "parallel_joined",
        ]  # fmt: skip
        for one in live:
            assert (one.stream_id, one.node_id) == ("main", "a")
            assert one.execution_id == result.execution_id
            assert one.data["visit"] == 1
        started, failed, joined = (one.data for one in live)
        assert (started["count"], started["branches"], started["join"]) == (2, ["b", "c"], "d")
        assert failed["branch"] == 1
        assert "broken" in failed["error"]
        assert (joined["count"], joined["failed"]) == (2, [1])
        whole = told(runtime, result.execution_id)
        last = [one.type for one in whole if one.node_id == "d"]
        assert last == ["node_started", "node_completed"]


async def test_eight_branches_count_fifty_each_to_four_hundred(lab: Any) -> None:
    names = [f"b{number}" for number in range(8)]

    async def add(ctx: NodeContext) -> dict[str, int]:
        count = await ctx.read("count", 0, StateScope.GLOBAL)
        await asyncio.sleep(0)
        await ctx.write("count", count + 1, StateScope.GLOBAL)
        return {"done": ctx.visit}

    functions = {"a": giving(), **dict.fromkeys(names, add), "d": giving(d=1)}
    specs = [NodeSpec(id=name, max_retries=1, max_node_visits=50) for name in names]
    nodes = [NodeSpec(id="a"), *specs, NodeSpec(id="d")]
    edges = []
    for name in names:
        edges.append(EdgeSpec(id=f"a-{name}", source="a", target=name))
        for target, check in ((name, "done < 50"), ("d", "done >= 50")):
            edges.append(
                EdgeSpec(
                    id=f"{name}-{target}", source=name, target=target,
                    condition="conditional", condition_expr=f"output.{check}",
                )
            )  # fmt: skip
    points = [EntryPointSpec(id="main", entry_node="a", isolation_level="synchronized")]
    async with lab.runtime(functions, nodes, edges, points, max_steps=1_000) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=60)
        assert result.status is Status.COMPLETED, result.error
        assert await runtime.state_manager.read("count") == 400
        assert result.node_visit_counts == {"a": 1, "d": 1, **dict.fromkeys(names, 50)}


@pytest.mark.parametrize("on_breach", ["end", "pause"])
async def test_a_budget_holds_over_all_branches_together(fan_out: Any, on_breach: str) -> None:
    """Six runs are owed, four may be."""
    runs: Counter[str] = Counter()

    async def work(ctx: NodeContext) -> dict[str, int]:
        await asyncio.sleep(0)
        runs[ctx.node_id] += 1
        return {ctx.node_id: 1}

    functions = dict.fromkeys(["a", "b", "b2", "c", "c2", "d"], work)
    specs = [NodeSpec(id=one, output_keys=[one, "more"], nullable_output_keys=["more"])
             for one in functions]  # fmt: skip
    entry = {"budget": Budget(steps=4, on_breach=on_breach)}
    ways = "a-b a-c b-b2 c-c2 b2-d c2-d"
    async with fan_out(functions, ways, specs=specs, entry=entry) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        ended = Status.EXHAUSTED if on_breach == "end" else Status.PAUSED
        assert result.status is ended
        assert "budget" in result.error
        assert runs.total() <= 4, "what runs beside counts, too"
        await runtime.resume(result.execution_id, budget=Budget(steps=100))
        result = await runtime.wait_for_completion(result.execution_id, LIMIT_S)
        assert result.status is Status.COMPLETED
        assert result.output == dict.fromkeys(functions, 1)
        assert runs["a"] == runs["d"] == 1


async def test_the_steps_of_all_branches_count_to_the_limit(fan_out: Any) -> None:
    functions = {name: giving(**{name: 1}) for name in ["a", "b", "b2", "c", "c2", "d"]}
    ways = "a-b a-c b-b2 c-c2 b2-d c2-d"
    async with fan_out(functions, ways, max_steps=5) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        assert (result.status, result.steps_executed) == (Status.EXHAUSTED, 5)
        assert "max_steps of 5" in result.error
        assert "'d'" in result.error
        assert sorted(result.path) == ["a", "b", "b2", "c", "c2"]


async def test_finished_branches_outlive_a_crash_of_the_stream_and_the_others_run_again(
    fan_out: Any, new_gate: Any, until_at: Any
) -> None:
    gate, runs = new_gate(), []

    async def work(ctx: NodeContext) -> dict[str, int]:
        runs.append((ctx.node_id, ctx.visit, ctx.attempt, ctx.idempotency_key))
        if ctx.node_id in ("c", "e2"):
            await gate.wait(ctx.node_id)
        return {ctx.node_id: 1}

    functions = dict.fromkeys(["a", "b", "c", "e", "e2", "d"], work)
    specs = [NodeSpec(id=one, max_retries=1, output_keys=[one, "more"],
                      nullable_output_keys=["more"]) for one in functions]  # fmt: skip
    async with fan_out(functions, "a-b a-c a-e e-e2 b-d c-d e2-d", specs=specs) as runtime:
        execution = await runtime.trigger("main")
        await gate.came(2)
        await until_at(runtime, execution, ["c", "e2"])
        async with asyncio.timeout(LIMIT_S):
            stream = runtime.get_stream("main")
            stream.ref.kill()
            await stream.ref.ready()
        assert sorted(await gate.came(2)) == ["c", "e2"]
        gate.open()
        result = await runtime.wait_for_completion(execution, LIMIT_S)
        assert result.output == dict.fromkeys(functions, 1)
        again = Counter(name for name, *_ in runs)
        assert again == Counter({"c": 2, "e2": 2, "a": 1, "b": 1, "e": 1, "d": 1})
        for name in ("c", "e2"):
            own = [run for run in runs if run[0] == name]
            assert [run[2] for run in own] == [1, 2]
            assert len({run[3] for run in own}) == 1, "the key is that of the visit"


async def test_a_stop_while_branches_run_loses_nothing(
    lab: Any, fan_out: Any, new_gate: Any
) -> None:
    gate, runs = new_gate(), Counter()

    def functions() -> dict[str, Any]:
        async def held(ctx: NodeContext) -> dict[str, int]:
            runs[ctx.node_id] += 1
            await gate.wait(ctx.node_id)
            return {"held": 1}

        async def quick(ctx: NodeContext) -> dict[str, int]:
            runs[ctx.node_id] += 1
            return {"quick": 1}

        return {"a": quick, "b": held, "c": quick, "c2": held, "d": quick}

    ways = "a-b a-c b-d c-c2 c2-d"
    async with fan_out(functions(), ways, shutdown_timeout_s=0.05) as runtime:
        execution = await runtime.trigger("main")
        await gate.came(2)
    state = lab.look(execution)
    assert sorted(token.node for token in state.tokens.values()) == ["b", "c2"]
    gate.open()
    async with fan_out(functions(), ways) as runtime:
        result = await runtime.wait_for_completion(execution, LIMIT_S)
        assert result.output == {"held": 1, "quick": 1}
    assert runs == Counter(a=1, b=2, c=1, c2=2, d=1)
