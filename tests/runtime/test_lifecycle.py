"""Starting and stopping: at any time, concurrently, half-way, again, and from other loops."""

import asyncio
import threading
from typing import Any

import pytest

from greenroom.protocol.config import WebhookRoute
from greenroom.protocol.errors import PortInUse, RuntimeNotRunning, RuntimeStopped, StoreInUse
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Status


async def _work() -> str:
    return "done"


@pytest.mark.asyncio
async def test_concurrent_starts_start_once_and_stops_stop_once(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    await asyncio.gather(*(runtime.start() for _ in range(5)))
    await runtime.start()
    started = runtime.event_bus.get_history(EventType.STREAM_STARTED)
    assert len(started) == 1
    await asyncio.gather(*(runtime.stop() for _ in range(5)))
    await runtime.stop()
    assert not runtime.is_running


@pytest.mark.asyncio
async def test_a_start_and_a_stop_at_once_take_turns(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    await asyncio.gather(runtime.start(), runtime.stop(), runtime.start(), runtime.stop())
    assert not runtime.is_running
    async with runtime:
        assert (await runtime.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_stop_before_start_does_nothing(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    await runtime.stop()
    assert not (lab.folder / "store").exists()
    async with runtime:
        assert (await runtime.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_start_works_again_and_everything_survives(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    seen: list[str | None] = []
    subscription = runtime.subscribe_to_events(
        EventType.EXECUTION_COMPLETED, lambda event: seen.append(event.execution_id)
    )
    ids = []
    for _ in range(3):
        async with runtime:
            ids.append((await runtime.trigger_and_wait("main")).execution_id)
            await runtime.event_bus.settled(subscription)
            for one in ids:
                found = runtime.get_execution_result("main", one)
                assert found is not None
                assert found.output == {"result": "done"}
    assert seen == ids


@pytest.mark.asyncio
async def test_stop_releases_every_waiter_with_the_execution_that_is_kept(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    runtime = lab.runtime({"work": gate.wait}, shutdown_timeout_s=0)
    await runtime.start()
    execution = await runtime.trigger("main")
    waits = [
        asyncio.ensure_future(runtime.wait_for_completion(execution)),
        asyncio.ensure_future(runtime.wait_for_completion(execution, timeout=100)),
        asyncio.ensure_future(runtime.trigger_and_wait("main", execution_id="mine")),
        asyncio.ensure_future(runtime.trigger_and_wait("main", timeout=100, execution_id="yours")),
    ]
    await gate.came(3)
    async with asyncio.timeout(30):
        await runtime.stop()
        errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(error) for error in errors] == [RuntimeStopped] * 4
    assert [error.execution_id for error in errors] == [execution, execution, "mine", "yours"]
    assert all(isinstance(error, RuntimeError) for error in errors)
    gate.open()
    async with runtime:
        for one in (execution, "mine", "yours"):
            result = await runtime.wait_for_completion(one, timeout=20)
            assert result is not None
            assert result.status is Status.COMPLETED


@pytest.mark.asyncio
async def test_a_trigger_that_meets_a_stop_is_accepted_or_names_its_execution(lab: Any) -> None:
    """Whatever the answer, repeating it with that id after the next start runs it once."""
    runtime = lab.runtime({"work": _work})
    await runtime.start()
    calls = [
        asyncio.ensure_future(runtime.trigger("main", execution_id=f"mine-{number}"))
        for number in range(50)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await runtime.stop()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    wanted = [f"mine-{number}" for number in range(50)]
    named = [one.execution_id if isinstance(one, RuntimeStopped) else one for one in answers]
    assert named == wanted
    async with runtime:
        assert (
            await asyncio.gather(*(runtime.trigger("main", execution_id=one) for one in wanted))
            == wanted
        )
        for one in wanted:
            assert (await runtime.wait_for_completion(one, timeout=20)).success


@pytest.mark.asyncio
async def test_a_cancel_that_meets_a_stop_says_that_the_runtime_stopped(lab: Any) -> None:
    runtime = lab.runtime({"work": asyncio.Event().wait}, shutdown_timeout_s=0)
    for _ in range(5):
        await runtime.start()
        for number in range(10):
            await runtime.trigger("main", execution_id=f"mine-{number}")
        calls = [
            asyncio.ensure_future(runtime.cancel_execution("main", f"mine-{number}"))
            for number in range(10)
        ]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await runtime.stop()
            answers = await asyncio.gather(*calls, return_exceptions=True)
        for number, answer in enumerate(answers):
            if isinstance(answer, RuntimeStopped):
                assert answer.execution_id == f"mine-{number}"
            else:
                assert answer in (True, False)


@pytest.mark.asyncio
async def test_no_caller_on_another_thread_hangs_when_the_runtime_stops(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})

    async def call_until_stopped() -> int:
        ended = 0
        while True:
            try:
                assert (await runtime.trigger_and_wait("main")).success
                await runtime.trigger("main")
                ended += 1
            except (RuntimeStopped, RuntimeNotRunning):
                return ended

    async def elsewhere() -> list[int]:
        async with asyncio.timeout(30):
            return await asyncio.gather(*(call_until_stopped() for _ in range(4)))

    loop, done = asyncio.get_running_loop(), asyncio.Event()
    runtime.subscribe_to_events(
        EventType.EXECUTION_COMPLETED, lambda _: loop.call_soon_threadsafe(done.set)
    )
    for _ in range(5):
        done.clear()
        await runtime.start()
        callers = [asyncio.ensure_future(asyncio.to_thread(asyncio.run, elsewhere())) for _ in "ab"]
        await done.wait()
        await runtime.stop()
        await asyncio.gather(*callers)


@pytest.mark.asyncio
async def test_stop_lets_the_node_in_flight_finish(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    runtime = lab.runtime({"work": gate.wait})
    await runtime.start()
    execution = await runtime.trigger("main")
    await gate.came()
    stopping = asyncio.ensure_future(runtime.stop())
    while runtime.is_running:  # noqa: ASYNC110  a few turns of the loop
        await asyncio.sleep(0)
    with pytest.raises(RuntimeNotRunning):
        await runtime.trigger("main")
    gate.open()
    await stopping
    async with runtime:
        result = runtime.get_execution_result("main", execution)
        assert result is not None
        assert result.status is Status.COMPLETED
        assert runtime.recovery.total == 0


@pytest.mark.asyncio
async def test_a_handler_may_stop_the_runtime_that_calls_it(lab: Any) -> None:
    """The handler is among what the stop ends; the stop itself goes on to its end."""
    runtime = lab.runtime({"work": _work})
    left = asyncio.Event()

    async def stop(_: Any) -> None:
        try:
            await runtime.stop()
        finally:
            left.set()

    runtime.subscribe_to_events(EventType.EXECUTION_COMPLETED, stop)
    await runtime.start()
    await runtime.trigger("main")
    async with asyncio.timeout(30):
        await left.wait()
        await runtime.stop()
    assert not runtime.is_running
    async with lab.runtime({"work": _work}) as again:
        assert (await again.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_a_start_that_fails_half_way_leaves_nothing_behind(lab: Any) -> None:
    route = WebhookRoute(source_id="hook", path="/hook", entry_point="main")
    settings: Any = {"webhook_routes": [route], "webhook_port": 0}
    async with lab.runtime({"work": _work}, store="first", **settings) as first:
        taken = first.webhook_server.port
        second = lab.runtime({"work": _work}, store="second", **{**settings, "webhook_port": taken})
        before = {thread.name for thread in threading.enumerate()}
        with pytest.raises(PortInUse, match=f"port {taken} on 127.0.0.1 is in use") as caught:
            await second.start()
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", taken)
        assert not second.is_running
        assert second.webhook_server is None
        assert {thread.name for thread in threading.enumerate()} <= before
    async with second:  # the same object, and the store is not locked
        assert (await second.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_a_store_in_use_is_refused_and_the_one_who_has_it_goes_on(lab: Any) -> None:
    async with lab.runtime({"work": _work}) as first:
        second = lab.runtime({"work": _work})
        with pytest.raises(StoreInUse, match="is in use by process"):
            await second.start()
        assert not second.is_running
        assert (await first.trigger_and_wait("main")).success
    async with second:
        assert (await second.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_a_start_whose_caller_is_cancelled_is_undone_by_stop(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    starting = asyncio.ensure_future(runtime.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await runtime.stop()
    assert not runtime.is_running
    async with runtime:
        assert (await runtime.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_another_loop_on_another_thread_triggers_waits_and_cancels(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}) as runtime:

        async def elsewhere() -> list[Any]:
            execution = await runtime.trigger("main", {"a": 1})
            early = await runtime.trigger_and_wait("main", timeout=0)
            waiting = asyncio.ensure_future(runtime.trigger_and_wait("main", execution_id="mine"))
            streams = runtime.get_stats()["streams"]
            while streams["main"]["accepted_executions"] < 3:
                await asyncio.sleep(0.001)
                streams = runtime.get_stats()["streams"]
            cancelled = await runtime.cancel_execution("main", "mine")
            return [execution, early, cancelled, (await waiting).status]

        execution, early, cancelled, status = await asyncio.to_thread(asyncio.run, elsewhere())
        assert (early, cancelled, status) == (None, True, Status.CANCELLED)
        gate.open()
        assert (await runtime.wait_for_completion(execution, timeout=20)).output["a"] == 1


def test_a_runtime_may_be_started_on_one_loop_after_another(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})

    async def life() -> str:
        async with runtime:
            return (await runtime.trigger_and_wait("main")).execution_id

    first, second = asyncio.run(life()), asyncio.run(life())
    assert first != second
