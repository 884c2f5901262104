"""Time that runs out, in real runtimes: of nodes and of executions. B15, B17, B29."""

import asyncio
import gc
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec

pytestmark = pytest.mark.asyncio

SOON = 0.05
NEVER = 3_600.0


class Stuck:
    """An async node that waits for ever, and says when it came and that it was stopped."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.stopped = asyncio.Event()
        self.attempts: list[int] = []

    async def stuck(self, ctx: Any) -> None:
        self.attempts.append(ctx.attempt)
        self.came.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


async def ended(runtime: Any, execution: str) -> Any:
    result = await runtime.wait_for_completion(execution, timeout=20)
    assert result is not None
    return result


async def test_an_async_node_that_times_out_is_cancelled(lab: Any) -> None:
    node = Stuck()
    spec = NodeSpec(id="stuck", timeout_s=SOON, max_retries=2, backoff_initial_s=0)
    async with lab.runtime({"stuck": node.stuck}, [spec]) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
        await asyncio.wait_for(node.stopped.wait(), 20)
    assert (result.status, node.attempts) == (Status.FAILED, [1, 2])
    assert result.error == "Node 'stuck' failed after 2 attempts: it timed out after 0.05 s"


async def test_a_plain_node_that_times_out_is_left_behind_and_its_result_refused(lab: Any) -> None:
    """It cannot be stopped, so it gets no second run beside it; the way for failures is taken."""
    let_go, left = threading.Event(), threading.Event()
    runs = []

    def hangs(ctx: Any) -> dict[str, Any]:
        runs.append(ctx.attempt)
        ctx.write_sync("late", 1, "global")
        let_go.wait(20)
        left.set()
        return {"late": True}

    async def rescue() -> dict[str, Any]:
        return {"rescued": True}

    nodes = [NodeSpec(id="hangs", timeout_s=SOON), NodeSpec(id="rescue")]
    edge = EdgeSpec(id="e", source="hangs", target="rescue", condition="on_failure")
    points = [EntryPointSpec(id="main", entry_node="hangs")]
    points.append(EntryPointSpec(id="other", entry_node="rescue"))
    async with lab.runtime({"hangs": hangs, "rescue": rescue}, nodes, [edge], points) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
        assert (result.success, result.output) == (True, {"rescued": True})
        let_go.set()
        assert await asyncio.to_thread(left.wait, 20)
        assert (await runtime.trigger_and_wait("other", timeout=20)).success
        assert await runtime.state_manager.read("late", None) is None
        assert runtime.get_execution_result("main", result.execution_id) == result
    assert runs == [1]


async def test_no_time_at_all_never_begins_the_node(lab: Any) -> None:
    """B29: 0 is at once, and not for ever."""
    runs = []

    def work() -> None:
        runs.append(1)

    async with lab.runtime({"work": work}, [NodeSpec(id="work", timeout_s=0)]) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
    assert (result.status, runs) == (Status.FAILED, [])


async def test_an_execution_ends_when_it_has_run_for_its_timeout(lab: Any) -> None:
    """Its node is stopped, whoever waits is released, and the event has the name of the status."""
    node = Stuck()
    async with lab.runtime({"stuck": node.stuck}) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20, execution_timeout=SOON)
        await asyncio.wait_for(node.stopped.wait(), 20)
        assert result.status is Status.TIMED_OUT
        assert result.error == "Execution timed out: it has run for its 0.05 s"
        (event,) = runtime.event_bus.get_history("execution_timed_out")
        assert event.execution_id == result.execution_id
        assert not await runtime.cancel_execution("main", result.execution_id)
        assert runtime.get_stream("main").get_active_count() == 0


async def test_the_entry_point_gives_a_timeout_that_a_trigger_may_replace(lab: Any) -> None:
    node = Stuck()
    points = [EntryPointSpec(id="main", entry_node="stuck", timeout_s=SOON, max_concurrent=2)]
    async with lab.runtime({"stuck": node.stuck}, entry_points=points) as runtime:
        longer = await runtime.trigger("main", execution_timeout=NEVER)
        assert (await ended(runtime, await runtime.trigger("main"))).status is Status.TIMED_OUT
        assert runtime.get_execution_result("main", longer) is None
        assert await runtime.cancel_execution("main", longer)


async def _queued(runtime: Any, node: Stuck, **limits: Any) -> str:
    await runtime.trigger("main", execution_id="first")
    await node.came.wait()
    return str(await runtime.trigger("main", **limits))


async def _running(runtime: Any, node: Stuck, **limits: Any) -> str:
    execution = await runtime.trigger("main", **limits)
    await node.came.wait()
    return str(execution)


async def _waiting(runtime: Any, node: Stuck, **limits: Any) -> str:
    return str(await runtime.trigger("failing", **limits))


async def _sleeping(runtime: Any, node: Stuck, **limits: Any) -> str:
    return str(await runtime.trigger("sleepy", **limits))


async def _paused(runtime: Any, node: Stuck, **limits: Any) -> str:
    execution = await _running(runtime, node, **limits)
    assert await runtime.pause(execution)
    return execution


def _any_status(lab: Any, node: Stuck) -> Any:
    def failing() -> None:
        raise ConnectionError("not now")

    def sleepy(ctx: Any) -> None:
        ctx.sleep(NEVER)

    names = {"stuck": "main", "failing": "failing", "sleepy": "sleepy"}
    return lab.runtime(
        {"stuck": node.stuck, "failing": failing, "sleepy": sleepy},
        [
            NodeSpec(id="stuck"),
            NodeSpec(id="failing", backoff_initial_s=NEVER, backoff_max_s=NEVER),
            NodeSpec(id="sleepy"),
        ],
        entry_points=[
            EntryPointSpec(id=point, entry_node=name, max_concurrent=1)
            for name, point in names.items()
        ],
        shutdown_timeout_s=0,
    )


STATUSES = [_queued, _running, _waiting, _sleeping, _paused]


@pytest.mark.parametrize("bring", STATUSES)
async def test_a_deadline_ends_an_execution_in_any_status(lab: Any, bring: Any) -> None:
    """And whoever waits for it is released."""
    node = Stuck()
    async with _any_status(lab, node) as runtime:
        deadline = datetime.now(UTC) + timedelta(seconds=0.5)
        execution = await bring(runtime, node, deadline=deadline)
        result = await ended(runtime, execution)
        while result.status is Status.PAUSED:
            result = await ended(runtime, execution)
        assert datetime.now(UTC) >= deadline
        assert result.status is Status.TIMED_OUT
        assert result.error == "Execution timed out: its deadline has passed"


@pytest.mark.parametrize("bring", STATUSES)
async def test_cancelling_works_in_any_status_and_releases_whoever_waits(
    lab: Any, bring: Any
) -> None:
    """B15: also inside a retry's delay, and in a sleep."""
    node = Stuck()
    async with _any_status(lab, node) as runtime:
        execution = await bring(runtime, node)
        waiter = asyncio.create_task(ended(runtime, execution))
        point = {_waiting: "failing", _sleeping: "sleepy"}.get(bring, "main")
        assert await runtime.cancel_execution(point, execution)
        result = await waiter
        if result.status is Status.PAUSED:  # it was released by the pause already
            result = await ended(runtime, execution)
        assert result.status is Status.CANCELLED


@pytest.mark.parametrize("bring", STATUSES)
async def test_a_deadline_that_passes_while_the_store_is_closed_counts(
    lab: Any, bring: Any
) -> None:
    """At the next start, at once."""
    node = Stuck()
    async with _any_status(lab, node) as runtime:
        deadline = datetime.now(UTC) + timedelta(seconds=1)
        execution = await bring(runtime, node, deadline=deadline)
        await runtime.stop()
        assert datetime.now(UTC) < deadline
    await asyncio.sleep(max(0.0, (deadline - datetime.now(UTC)).total_seconds()))
    async with _any_status(lab, node) as runtime:
        result = await ended(runtime, execution)
        while result.status is not Status.TIMED_OUT:
            result = await ended(runtime, execution)


async def test_the_time_of_a_closed_store_is_no_time_in_which_it_ran(lab: Any) -> None:
    """A second of waiting for the next start does not use up half a second of running."""
    node = Stuck()
    async with lab.runtime({"stuck": node.stuck}, shutdown_timeout_s=0) as runtime:
        execution = await runtime.trigger("main", execution_timeout=0.5)
        await node.came.wait()
    await asyncio.sleep(0.6)
    node.came.clear()
    async with lab.runtime({"stuck": node.stuck}) as runtime:
        began = time.monotonic()
        assert (await ended(runtime, execution)).status is Status.TIMED_OUT
        assert time.monotonic() - began > 0.25
    assert node.attempts == [1, 2]


async def test_a_stop_waits_no_longer_than_a_node_may_take(lab: Any) -> None:
    """The time of a node runs out while the runtime lets nodes in flight finish, too."""
    node = Stuck()
    spec = NodeSpec(id="stuck", timeout_s=0.3, max_retries=1)
    runtime = lab.runtime({"stuck": node.stuck}, [spec], shutdown_timeout_s=NEVER)
    async with runtime:
        execution = await runtime.trigger("main")
        await node.came.wait()
        async with asyncio.timeout(20):
            await runtime.stop()
    assert lab.look(execution).status is Status.FAILED


@pytest.mark.parametrize(
    "limits", [{"execution_timeout": 0}, {"deadline": datetime(2020, 1, 1, tzinfo=UTC)}]
)
async def test_an_execution_without_any_time_is_accepted_and_ends(lab: Any, limits: Any) -> None:
    """B29; it has an id, a result and an event, and no node of it runs."""
    runs = []

    def work() -> None:
        runs.append(1)

    async with lab.runtime({"work": work}) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20, **limits)
        assert result.status is Status.TIMED_OUT
        assert runtime.get_execution_result("main", result.execution_id) == result
    assert runs == []


async def test_many_with_a_timeout_leave_nothing_behind(lab: Any) -> None:
    """Timers of executions that have ended are cleared away."""

    async def work() -> None:
        return None

    async with lab.runtime({"work": work}) as runtime:
        for _ in range(4):
            await asyncio.gather(
                *(
                    runtime.trigger_and_wait("main", timeout=20, execution_timeout=NEVER)
                    for _ in range(100)
                )
            )
        streams = [one for one in gc.get_objects() if type(one).__name__ == "ExecutionStream"]
        assert sum(len(one._timers._running) for one in streams) < 200
