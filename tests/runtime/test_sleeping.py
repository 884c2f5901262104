"""Executions that sleep: on real clocks, over restarts, and in the store alone."""

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec

pytestmark = pytest.mark.asyncio

WAY = [EdgeSpec(id="nap-after", source="nap", target="after")]
NODES = [NodeSpec(id="nap", input_keys=["seconds"], output_keys=["slept"]), NodeSpec(id="after")]


class Naps:
    """Two nodes: the first sleeps as long as it is told, the second says that it was run."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def nap(self, ctx: Any, seconds: float) -> str:
        self.runs.append("nap")
        ctx.sleep(seconds)
        return "yes"

    def after(self) -> dict[str, Any]:
        self.runs.append("after")
        return {"after": True}

    def runtime(self, lab: Any, **settings: Any) -> Any:
        functions = {"nap": self.nap, "after": self.after}
        return lab.runtime(functions, NODES, WAY, **settings)


async def fall_asleep(runtime: Any, seconds: float, **options: Any) -> str:
    """Trigger, and return once it sleeps."""
    asleep: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def heard(event: Any) -> None:
        loop.call_soon_threadsafe(asleep.put_nowait, event.execution_id)

    subscription = runtime.subscribe_to_events(["execution_waiting"], heard)
    execution = await runtime.trigger("main", {"seconds": seconds}, **options)
    async with asyncio.timeout(20):
        while await asleep.get() != execution:
            pass
    runtime.unsubscribe_from_events(subscription)
    return str(execution)


def held_states() -> int:
    """Executions that streams hold in memory."""
    gc.collect()
    streams = [one for one in gc.get_objects() if type(one).__name__ == "ExecutionStream"]
    return sum(len(one._roster) for one in streams)


async def test_a_sleeping_execution_goes_on_when_its_time_has_come(lab: Any) -> None:
    naps = Naps()
    async with naps.runtime(lab) as runtime:
        began = datetime.now(UTC).timestamp()
        result = await runtime.trigger_and_wait("main", {"seconds": 0.2}, timeout=20)
        assert datetime.now(UTC).timestamp() - began >= 0.2
    assert result.success
    assert result.output == {"seconds": 0.2, "slept": "yes", "after": True}
    assert naps.runs == ["nap", "after"]


async def test_it_holds_no_permit_and_no_memory(lab: Any) -> None:
    """Others run meanwhile, also with one permit."""
    naps = Naps()
    points = [EntryPointSpec(id="main", entry_node="nap", max_concurrent=1)]
    async with naps.runtime(lab, entry_points=points, max_concurrent_executions=1) as runtime:
        sleepers = [await fall_asleep(runtime, 3_600) for _ in range(3)]
        assert held_states() == 0
        assert runtime.get_stream("main").get_active_count() == 0
        assert (await runtime.trigger_and_wait("main", {"seconds": 0}, timeout=20)).success
        for one in sleepers:
            assert runtime.get_execution_result("main", one) is None


async def test_a_time_that_passed_while_the_store_was_closed_counts_at_once(lab: Any) -> None:
    """One that has not passed is waited for; neither runs its sleeping node again."""
    naps = Naps()
    async with naps.runtime(lab) as runtime:
        missed = await fall_asleep(runtime, 0.3)
        later = await fall_asleep(runtime, 3_600)
    assert naps.runs == ["nap", "nap"]
    await asyncio.sleep(_due(lab, missed) - datetime.now(UTC).timestamp())
    async with naps.runtime(lab) as runtime:
        assert runtime.recovery.waiting == 2
        assert (await runtime.wait_for_completion(missed, timeout=20)).success
        assert runtime.get_execution_result("main", later) is None
    assert naps.runs == ["nap", "nap", "after"]


def _due(lab: Any, execution: str) -> float:
    from_store = lab.look(execution)
    (token,) = from_store.tokens.values()
    return float(token.due)


async def test_many_who_wake_at_the_same_time_all_go_on(lab: Any) -> None:
    """More than one page of them; each once."""
    naps = Naps()
    points = [EntryPointSpec(id="main", entry_node="nap", max_concurrent=8)]
    async with naps.runtime(lab, entry_points=points) as runtime:
        results = await asyncio.gather(
            *(runtime.trigger_and_wait("main", {"seconds": 0.4}, timeout=30) for _ in range(300))
        )
        assert all(one.success for one in results)
        assert held_states() == 0
    assert naps.runs.count("after") == 300


async def test_a_sleep_is_cancelled_at_once(lab: Any) -> None:
    """Whoever waits is released."""
    naps = Naps()
    async with naps.runtime(lab) as runtime:
        execution = await fall_asleep(runtime, 3_600)
        waiter = asyncio.create_task(runtime.wait_for_completion(execution, timeout=20))
        assert await runtime.cancel_execution("main", execution)
        assert (await waiter).status is Status.CANCELLED
    assert naps.runs == ["nap"]


async def test_a_paused_sleep_goes_on_after_it_is_resumed_and_its_time_has_come(lab: Any) -> None:
    naps = Naps()
    async with naps.runtime(lab) as runtime:
        execution = await fall_asleep(runtime, 0.3)
        assert await runtime.pause(execution)
    async with naps.runtime(lab) as runtime:
        assert runtime.recovery.paused == 1
        await runtime.resume(execution, {"more": 1})
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert (result.success, result.output["more"]) == (True, 1)
    assert naps.runs == ["nap", "after"]


async def test_a_trigger_that_repeats_finds_the_sleeper(lab: Any) -> None:
    """By its key, and by its id."""
    naps = Naps()
    async with naps.runtime(lab) as runtime:
        by_key = await fall_asleep(runtime, 3_600, idempotency_key="k")
        by_id = await fall_asleep(runtime, 3_600, execution_id="e1")
        assert await runtime.trigger("main", {"seconds": 3_600}, idempotency_key="k") == by_key
        assert await runtime.trigger("main", {"seconds": 3_600}, execution_id="e1") == by_id
        # A wish that comes while the repeat is on its way reaches the sleeper.
        repeat = asyncio.create_task(runtime.trigger("main", {"seconds": 3_600}, execution_id="e1"))
        await asyncio.sleep(0)
        assert await runtime.cancel_execution("main", by_id)
        assert await repeat == by_id
        assert runtime.get_execution_result("main", by_id).status is Status.CANCELLED
    assert naps.runs == ["nap", "nap"]


async def test_a_failed_attempt_drops_its_sleep(lab: Any) -> None:
    """As everything else that it buffered."""
    attempts = []

    async def nap(ctx: Any, seconds: float) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            ctx.sleep(seconds)
            raise ConnectionError("again")
        return "yes"

    node = NodeSpec(id="nap", input_keys=["seconds"], backoff_initial_s=0)
    async with lab.runtime({"nap": nap}, [node]) as runtime:
        result = await runtime.trigger_and_wait("main", {"seconds": 3_600}, timeout=20)
    assert result.success
    assert attempts == [1, 2]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda ctx: ctx.sleep(-1), "sleep takes 0 to"),
        (lambda ctx: ctx.sleep(float("nan")), "sleep takes 0 to"),
        (lambda ctx: ctx.sleep("1"), "sleep takes 0 to"),
        (lambda ctx: ctx.sleep(True), "sleep takes 0 to"),
        (lambda ctx: ctx.sleep(1e12), "sleep takes 0 to"),
        (lambda ctx: ctx.sleep_until(datetime(2030, 1, 1)), "with a time zone"),  # noqa: DTZ001
        (lambda ctx: ctx.sleep_until(1_700_000_000), "with a time zone"),
        (lambda ctx: ctx.sleep_until(datetime(9999, 1, 1, tzinfo=UTC)), "too far away"),
    ],
)
async def test_what_is_no_time_to_sleep_fails_the_node(lab: Any, call: Any, text: str) -> None:
    async def nap(ctx: Any) -> None:
        call(ctx)

    async with lab.runtime({"nap": nap}) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
    assert result.status is Status.FAILED
    assert text in result.error


async def test_the_last_time_that_a_node_gives_counts(lab: Any) -> None:
    """A point in time in any zone; one that has passed does not wait."""

    async def nap(ctx: Any) -> None:
        ctx.sleep(3_600)
        ctx.sleep_until(datetime.now(UTC) - timedelta(days=1))

    async with lab.runtime({"nap": nap}) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
    assert result.success


async def test_sleepers_whose_node_is_gone_are_held_at_the_start(lab: Any) -> None:
    """Once: the next start with the same graph does not look at those that wait."""
    naps = Naps()
    async with naps.runtime(lab) as runtime:
        lost = await fall_asleep(runtime, 3_600)
    other = {"rest": naps.nap, "after": naps.after}
    nodes = [NodeSpec(id="rest", input_keys=["seconds"], output_keys=["slept"]), NODES[1]]
    way = [EdgeSpec(id="way", source="rest", target="after")]
    reason = (
        "it does not fit the graph: node 'nap' is not in graph 'graph' any more: put it back, or "
        "give a migration that maps it to another node"
    )
    async with lab.runtime(other, nodes, way) as runtime:
        assert runtime.recovery.held == {lost: reason}
        result = await runtime.wait_for_completion(lost, timeout=20)
        assert (result.status, result.error) == (Status.HELD, reason)
        kept = await fall_asleep(runtime, 3_600)
    async with lab.runtime(other, nodes, way) as runtime:
        assert runtime.recovery.held == {lost: reason}
        assert runtime.recovery.waiting == 1
        assert runtime.get_execution_result("main", kept) is None
