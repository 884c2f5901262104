"""Cancelling in every state: the commit comes first, every waiter is released, nothing comes late.

Each test asserts that other work goes on: a permit that a cancelled execution kept would show.
"""

import asyncio
import threading
from typing import Any

import pytest

from greenroom import EntryPointSpec, NodeSpec
from greenroom.actors.kernel.testkit import Condition
from greenroom.protocol.execution import Status

ONE = [EntryPointSpec(id="main", entry_node="work", max_concurrent=1)]


async def _cancelled(runtime: Any, execution: str) -> None:
    """Cancel it, and see that everybody learns the same."""
    waiting = asyncio.ensure_future(runtime.wait_for_completion(execution))
    await asyncio.sleep(0)
    assert await runtime.cancel_execution("main", execution, "not wanted") is True
    result = runtime.get_execution_result("main", execution)
    assert result is not None, "the commit comes before the answer"
    assert result.status is Status.CANCELLED
    assert (result.success, result.execution_quality) == (False, "failed")
    assert result.error == "Execution cancelled: not wanted"
    async with asyncio.timeout(20):
        assert await waiting == result
    assert await runtime.cancel_execution("main", execution) is False, "it has ended"
    history = runtime.event_bus.get_history(execution_id=execution)
    ends = [event.type for event in history if event.type.startswith("execution_")]
    assert ends[0] == "execution_cancelled"
    assert "execution_failed" not in ends


@pytest.mark.asyncio
async def test_an_execution_that_is_queued(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=ONE) as runtime:
        first = await runtime.trigger("main")
        queued = [await runtime.trigger("main") for _ in range(3)]
        await gate.came()
        for one in queued[:2]:
            await _cancelled(runtime, one)
        assert runtime.get_stats()["streams"]["main"]["queued_executions"] == 1
        gate.open()
        for one in (first, queued[2]):
            assert (await runtime.wait_for_completion(one, timeout=20)).success
    assert gate.most == 1


@pytest.mark.asyncio
async def test_an_async_node_that_runs_is_stopped(lab: Any, new_gate: Any) -> None:
    gate, left = new_gate(), asyncio.Event()

    async def work() -> str:
        try:
            await gate.wait()
        finally:
            left.set()
        return "done"

    async with lab.runtime({"work": work}, entry_points=ONE) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        await _cancelled(runtime, execution)
        async with asyncio.timeout(20):
            await left.wait()
        gate.open()
        assert (await runtime.trigger_and_wait("main", timeout=20)).success
        result = runtime.get_execution_result("main", execution)
        assert result.status is Status.CANCELLED
        assert result.output == {}


@pytest.mark.asyncio
async def test_an_async_node_that_refuses_to_be_stopped_ends_in_vain(lab: Any) -> None:
    entered, go, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        entered.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        left.set()
        return "late"

    async with lab.runtime({"work": work}, entry_points=ONE) as runtime:
        execution = await runtime.trigger("main")
        await entered.wait()
        await _cancelled(runtime, execution)
        go.set()
        await left.wait()
        assert (await runtime.trigger_and_wait("main", timeout=20)).output == {"result": "late"}
        assert runtime.get_execution_result("main", execution).output == {}


@pytest.mark.asyncio
async def test_a_plain_node_in_the_pool_is_not_waited_for_and_its_result_refused(lab: Any) -> None:
    entered, go, left = Condition(), threading.Event(), Condition()

    def work() -> str:
        entered.add()
        go.wait(20)
        left.add()
        return "late"

    async with lab.runtime({"work": work}, entry_points=ONE) as runtime:
        execution = await runtime.trigger("main")
        await asyncio.to_thread(entered.wait, 1)
        await _cancelled(runtime, execution)
        go.set()
        await asyncio.to_thread(left.wait, 1)
        assert (await runtime.trigger_and_wait("main", timeout=20)).output == {"result": "late"}
        result = runtime.get_execution_result("main", execution)
        assert (result.status, result.output) == (Status.CANCELLED, {})


@pytest.mark.parametrize("backoff_s", [0.9, 30.0])
@pytest.mark.asyncio
async def test_a_backoff_short_or_long_is_cut_off(lab: Any, backoff_s: float) -> None:
    failing = True

    async def work() -> str:
        if failing:
            raise ValueError("not now")
        return "done"

    node = NodeSpec(id="work", max_retries=5, backoff_initial_s=backoff_s)
    runtime = lab.runtime({"work": work}, nodes=[node], entry_points=ONE)
    failed = asyncio.Event()
    runtime.subscribe_to_events("node_failed", lambda _: loop.call_soon_threadsafe(failed.set))
    loop = asyncio.get_running_loop()
    async with runtime:
        execution = await runtime.trigger("main")
        await failed.wait()
        stats = runtime.get_stats()["streams"]["main"]
        assert stats["active_executions"] == (1 if backoff_s < 1 else 0), "a long one frees permits"
        await _cancelled(runtime, execution)
        failing = False
        async with asyncio.timeout(20):
            assert (await runtime.trigger_and_wait("main")).success
        result = runtime.get_execution_result("main", execution)
        assert (result.status, result.retry_details) == (Status.CANCELLED, {"work": 1})


@pytest.mark.asyncio
async def test_what_has_ended_is_unknown_or_of_another_entry_point_is_not_cancelled(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    points = [*ONE, EntryPointSpec(id="other", entry_node="work")]
    async with lab.runtime({"work": gate.wait}, entry_points=points) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        assert await runtime.cancel_execution("main", "unknown") is False
        assert await runtime.cancel_execution("main", "not/an/id") is False
        assert await runtime.cancel_execution("other", execution) is False
        gate.open()
        assert (await runtime.wait_for_completion(execution)).success
        assert await runtime.cancel_execution("main", execution) is False
        assert runtime.get_execution_result("main", execution).success


@pytest.mark.asyncio
async def test_a_cancel_that_overtakes_nothing_meets_its_trigger(lab: Any) -> None:
    """A cancel sent right behind a trigger finds it, and one behind a refused trigger does not."""
    async with lab.runtime({"work": asyncio.Event().wait}, entry_points=ONE) as runtime:
        for number in range(20):
            name = f"mine-{number}"
            accepted, cancelled = await asyncio.gather(
                runtime.trigger("main", execution_id=name), runtime.cancel_execution("main", name)
            )
            assert (accepted, cancelled) == (name, True)
            result = await runtime.wait_for_completion(name, timeout=20)
            assert result.status is Status.CANCELLED
        repeated, cancelled = await asyncio.gather(
            runtime.trigger("main", execution_id="mine-0"),
            runtime.cancel_execution("main", "mine-0"),
        )
        assert (repeated, cancelled) == ("mine-0", False)
        assert runtime.get_stats()["streams"]["main"]["restarts"] == 0


@pytest.mark.asyncio
async def test_one_of_many_cancels_wins(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=ONE) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        answers = await asyncio.gather(
            *(runtime.cancel_execution("main", execution) for _ in range(10))
        )
        assert sorted(answers) == [False] * 9 + [True]


@pytest.mark.asyncio
async def test_a_cancelled_execution_that_waited_for_a_shared_permit_blocks_nobody(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    points = [EntryPointSpec(id=one, entry_node="work") for one in ("main", "second", "third")]
    settings: Any = {"entry_points": points, "max_concurrent_executions": 1}
    async with lab.runtime({"work": gate.wait}, **settings) as runtime:
        first = await runtime.trigger("third")
        await gate.came()
        gone = await runtime.trigger("main")
        last = await runtime.trigger("second")
        await _cancelled(runtime, gone)
        gate.let_go()
        assert (await runtime.wait_for_completion(first, timeout=20)).success
        await gate.came()
        gate.open()
        assert (await runtime.wait_for_completion(last, timeout=20)).success


@pytest.mark.asyncio
async def test_it_stays_cancelled_after_a_restart(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    runtime = lab.runtime({"work": gate.wait}, entry_points=ONE)
    async with runtime:
        running = await runtime.trigger("main")
        queued = await runtime.trigger("main")
        await gate.came()
        await _cancelled(runtime, running)
        await gate.came()
        await _cancelled(runtime, queued)
    async with runtime:
        assert runtime.recovery.total == 0
        for one in (running, queued):
            assert runtime.get_execution_result("main", one).status is Status.CANCELLED
    assert gate.entered.empty()


@pytest.mark.asyncio
async def test_a_repeated_trigger_hides_no_waiting_execution(lab: Any) -> None:
    """While it waits out a long backoff it is in the store only; a repeat must not stand before
    it."""

    async def work() -> None:
        raise ValueError("not now")

    node = NodeSpec(id="work", max_retries=5, backoff_initial_s=30)
    runtime = lab.runtime({"work": work}, nodes=[node], entry_points=ONE)
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()
    runtime.subscribe_to_events("node_failed", lambda _: loop.call_soon_threadsafe(failed.set))
    async with runtime:
        await runtime.trigger("main", execution_id="mine")
        await failed.wait()
        repeated, cancelled = await asyncio.gather(
            runtime.trigger("main", execution_id="mine"),
            runtime.cancel_execution("main", "mine"),
        )
        assert (repeated, cancelled) == ("mine", True)
        result = await runtime.wait_for_completion("mine", timeout=20)
        assert result.status is Status.CANCELLED
