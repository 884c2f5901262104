"""How long results stay, and what goes on answering after them."""

import asyncio
from typing import Any

import pytest

from greenroom import EntryPointSpec
from greenroom.protocol.execution import Status
from greenroom.storage.lmdb_store import open_reader

KEPT = 20
PRUNED_EACH = 100


@pytest.mark.asyncio
async def test_results_past_the_limit_leave_the_store_and_memory_per_entry_point(lab: Any) -> None:
    """B27: `execution_result_max` prunes; the other entry point keeps its own."""

    async def work() -> str:
        return "done"

    points = [EntryPointSpec(id=one, entry_node="work") for one in ("main", "other")]
    runtime = lab.runtime({"work": work}, entry_points=points, execution_result_max=KEPT)
    async with runtime:
        elsewhere = await runtime.trigger_and_wait("other")
        names = [f"run-{number:04}" for number in range(3 * PRUNED_EACH)]
        for name in names:
            result = await runtime.trigger_and_wait("main", execution_id=name, idempotency_key=name)
            assert result.status is Status.COMPLETED, "a waiter gets its result in any case"
        assert runtime.get_execution_result("main", names[0]) is None
        assert await runtime.wait_for_completion(names[0]) is None
        assert runtime.get_execution_result("main", names[-1]).success
        assert runtime.get_execution_result("other", elsewhere.execution_id).success
        assert await runtime.cancel_execution("main", names[0]) is False
        again = await runtime.trigger("main", idempotency_key=names[0])
        assert again == names[0], "the key still answers"
    reader = open_reader(lab.folder / "store")
    try:
        counts = reader.read(lambda one: one.counts("main"))
    finally:
        reader.close()
    assert KEPT <= counts[Status.COMPLETED] <= KEPT + PRUNED_EACH


@pytest.mark.asyncio
async def test_unfinished_executions_are_never_pruned(lab: Any, new_gate: Any) -> None:
    gate = new_gate()

    async def work(ctx: Any) -> str:
        if ctx.execution_id == "slow":
            await gate.wait()
        return "done"

    async with lab.runtime({"work": work}, execution_result_max=1) as runtime:
        await runtime.trigger("main", execution_id="slow")
        await gate.came()
        for _ in range(2 * PRUNED_EACH):
            await runtime.trigger_and_wait("main")
        waiting = asyncio.ensure_future(runtime.wait_for_completion("slow", timeout=20))
        gate.open()
        result = await waiting
        assert result is not None
        assert result.success


@pytest.mark.asyncio
async def test_results_that_are_too_old_leave_and_waiters_get_theirs(lab: Any) -> None:
    """B27: `execution_result_ttl_seconds` prunes, also what ended before the start."""

    async def work() -> str:
        return "done"

    async def leaves(runtime: Any, execution_id: str) -> None:
        async with asyncio.timeout(20):
            while runtime.get_execution_result("main", execution_id) is not None:
                result = await runtime.trigger_and_wait("main")
                assert result.output == {"result": "done"}

    async with lab.runtime({"work": work}) as runtime:
        old = await runtime.trigger_and_wait("main", idempotency_key="first")
        assert runtime.get_execution_result("main", old.execution_id) is not None
    async with lab.runtime({"work": work}, execution_result_ttl_seconds=0.0) as runtime:
        await leaves(runtime, old.execution_id)
        assert await runtime.wait_for_completion(old.execution_id) is None
        assert await runtime.get_run(old.execution_id) is None
        again = await runtime.trigger("main", idempotency_key="first")
        assert again == old.execution_id, "the key still answers"
        newer = await runtime.trigger_and_wait("main")
        await leaves(runtime, newer.execution_id)


@pytest.mark.asyncio
async def test_events_that_are_too_old_leave_a_quiet_log(lab: Any) -> None:
    """Also those of before the start; the subscribers had theirs."""
    heard: list[str] = []

    async def work() -> str:
        return "done"

    async with lab.runtime({"work": work}) as runtime:
        first = await runtime.trigger_and_wait("main")
    async with lab.runtime({"work": work}, event_log_ttl_seconds=1.0) as runtime:
        subscription = runtime.subscribe_to_events(
            ["execution_completed"], lambda event: heard.append(event.execution_id)
        )
        second = await runtime.trigger_and_wait("main")
        await runtime.event_bus.settled(subscription)
        assert heard == [second.execution_id]
        async with asyncio.timeout(20):
            while any(
                one.execution_id == first.execution_id
                for one in runtime.event_bus.get_history(limit=1_000)
            ):
                await runtime.trigger_and_wait("main")
