"""Several nodes of one execution in flight at once: they race, time out and stop one by one."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, EventType, NodeContext, NodeSpec, StateScope, Status
from greenroom.protocol.commit import StateKey
from greenroom.protocol.stream_messages import Drain

GLOBAL = StateScope.GLOBAL
BRANCHES = 20
INCREMENTS = 400
COUNT = StateKey("global", "", "count")


async def read_then_write(ctx: NodeContext) -> dict[str, int]:
    """Correct only because lost races are noticed, also those between branches."""
    count = await ctx.read("count", 0, GLOBAL) + 1
    await asyncio.sleep(0)
    await ctx.write("count", count, GLOBAL)
    return {"seen": count}


def read_then_write_plain(ctx: NodeContext) -> dict[str, int]:
    """The same in the pool, which has fewer threads than there are branches."""
    count = ctx.read_sync("count", 0, GLOBAL) + 1
    ctx.write_sync("count", count, GLOBAL)
    return {"seen": count}


@pytest.mark.asyncio
@pytest.mark.parametrize("function", [read_then_write, read_then_write_plain])
async def test_four_hundred_increments_of_branches_of_one_execution_are_all_counted(
    lab: Any, function: Any
) -> None:
    """Twenty branches go round until one of them has counted to four hundred."""
    nodes = [NodeSpec(id="count", max_retries=1, max_node_visits=0)]
    again = EdgeSpec(
        id="again", source="count", target="count", condition="conditional",
        condition_expr=f"seen < {INCREMENTS}",
    )  # fmt: skip
    points = [EntryPointSpec(id="main", entry_node="count", isolation_level="synchronized")]
    lab.plant(*["count"] * BRANCHES, isolation="synchronized")
    async with lab.runtime({"count": function}, nodes, [again], points, max_steps=9_999) as runtime:
        result = await runtime.wait_for_completion("planted", timeout=60)
        assert (result.status, result.retry_details) == (Status.COMPLETED, {})
        assert result.steps_executed == BRANCHES + INCREMENTS - 1, "each but the last led to one"
        assert await runtime.state_manager.read("count") == INCREMENTS
        async with asyncio.timeout(20):
            assert await runtime._assembly._state.turns.when_free(COUNT, ("nobody", 1))


@pytest.mark.asyncio
async def test_a_node_that_lost_its_races_and_waits_for_its_next_attempt_holds_no_turns(
    lab: Any,
) -> None:
    """Else whoever wants the key would wait as long as the backoff takes."""

    async def work(ctx: NodeContext) -> None:
        count = await ctx.read("k", 0, GLOBAL)
        other = runtime.state_manager.create_memory("other", "main", "shared")
        await other.write("k", count + 1, GLOBAL)
        await ctx.write("k", -1, GLOBAL)

    nodes = [NodeSpec(id="work", max_retries=2, backoff_initial_s=600.0)]
    points = [EntryPointSpec(id="main", entry_node="work", isolation_level="synchronized")]
    async with lab.runtime({"work": work}, nodes, [], points) as runtime:
        failed = asyncio.Event()
        runtime.event_bus.subscribe([EventType.NODE_FAILED], lambda event: failed.set())
        await runtime.trigger("main", {})
        async with asyncio.timeout(20):
            await failed.wait()
            key = StateKey("global", "", "k")
            assert await runtime._assembly._state.turns.when_free(key, ("next", 1))


@pytest.mark.asyncio
async def test_a_branch_that_was_not_started_does_not_time_out_beside_one_that_runs(
    lab: Any, new_gate: Any
) -> None:
    """It was dispatched on the way down, for the next start to run."""
    gate, still = new_gate(), new_gate()
    nodes = [
        NodeSpec(id="first", max_retries=1),
        NodeSpec(id="second", max_retries=1, timeout_s=0.5),
        NodeSpec(id="beside", max_retries=1),
        NodeSpec(id="long", max_retries=1, timeout_s=0.8),
    ]
    edges = [
        EdgeSpec(id="e", source="first", target="second"),
        EdgeSpec(id="b", source="second", target="beside"),
    ]
    points = [
        EntryPointSpec(id="main", entry_node="first"),
        EntryPointSpec(id="other", entry_node="long"),
    ]

    async def long() -> None:
        await asyncio.Event().wait()

    functions = {"first": lambda: gate.wait(), "second": lambda: None, "long": long,
                 "beside": lambda: still.wait()}  # fmt: skip
    lab.plant("first", "beside")
    async with lab.runtime(functions, nodes, edges, points) as runtime:
        await gate.came()
        await still.came()
        drained = runtime._assembly.streams.refs["main"].ask(Drain(), control=True)
        gate.let_go()
        await runtime.trigger_and_wait("other", {}, 20)
        assert not drained.done(), "the other branch runs"
        session = runtime._assembly.store.read(
            lambda reader: reader.load_state(reader.execution("planted").ordinal)
        )
        second = next(one for one in session.tokens.values() if one.node == "second")
        assert (second.failures, second.attempt) == (0, 1)
        still.let_go()
        assert await drained
