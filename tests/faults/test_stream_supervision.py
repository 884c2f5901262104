"""A stream that crashes comes back with all its work; one that is given up harms nobody else."""

import asyncio
from collections import Counter

import pytest

from greenroom.protocol.errors import ActorStopped, StreamUnavailable
from greenroom.protocol.execution import Status
from greenroom.storage.lmdb_store import open_reader

pytestmark = [pytest.mark.faults, pytest.mark.asyncio]

LIMIT_S = 30


async def give_up(runtime, stream_id: str, failed: asyncio.Event) -> None:
    """Kill the stream, each time it is up, until its supervisor gives it up."""
    ref = runtime.get_stream(stream_id).ref
    async with asyncio.timeout(LIMIT_S):
        while not failed.is_set():
            try:
                await ref.ready()
            except ActorStopped:
                await failed.wait()
                return
            ref.kill()
            await asyncio.sleep(0)


async def test_kills_with_64_in_flight_lose_and_repeat_nothing(line, line_runtime) -> None:
    nodes = line()
    runtime = line_runtime(nodes)
    ends: Counter[str] = Counter()
    restarted = asyncio.Event()
    async with asyncio.timeout(LIMIT_S), runtime:
        runtime.subscribe_to_events(
            ["execution_completed"], lambda event: ends.update([event.execution_id])
        )
        runtime.subscribe_to_events(["stream_restarted"], lambda event: restarted.set())
        stream = runtime.get_stream("ep")
        waiters = []
        for batch in range(4):
            waiters += [
                asyncio.create_task(
                    runtime.trigger_and_wait("ep", {"number": n}, timeout=None if n % 2 else 25)
                )
                for n in range(batch * 64, batch * 64 + 64)
            ]
            nodes.entered["first"].clear()
            await nodes.entered["first"].wait()
            if batch < 3:
                stream.ref.kill()
                await stream.ref.ready()
        results = await asyncio.gather(*waiters)
        await restarted.wait()
        assert [one.status for one in results] == [Status.COMPLETED] * 256
        assert [one.output["answer"] for one in results] == [2 * n + 1 for n in range(256)]
        await runtime.event_bus.settled("sub_1")
        assert ends == Counter({one.execution_id: 1 for one in results})
        assert stream.get_stats()["restarts"] >= 1


async def test_a_stream_that_is_given_up_says_so_and_keeps_its_work(line, line_runtime) -> None:
    nodes = line("middle")
    runtime = line_runtime(nodes, ep={"max_concurrent": 4}, other={})
    failed = asyncio.Event()
    told = asyncio.Event()
    reports = []

    def on_failed(stream: str, error: BaseException | None) -> None:
        reports.append((stream, error))
        failed.set()

    runtime.on_stream_failed(on_failed)
    async with asyncio.timeout(LIMIT_S), runtime:
        runtime.subscribe_to_events(["stream_failed"], lambda event: told.set())
        accepted = [await runtime.trigger("ep", {"number": n}) for n in range(10)]
        await nodes.entered["middle"].wait()
        await give_up(runtime, "ep", failed)
        await told.wait()
        assert [stream for stream, _ in reports] == ["ep"]
        assert isinstance(reports[0][1], Exception)
        stream = runtime.get_stream("ep")
        assert not stream.is_running
        with pytest.raises(StreamUnavailable, match="restart_stream"):
            await runtime.trigger("ep", {"number": 1})
        with pytest.raises(StreamUnavailable):
            await runtime.trigger_and_wait("ep", {"number": 1})
        with pytest.raises(StreamUnavailable):
            await runtime.cancel_execution("ep", accepted[0])
        assert runtime.get_stats()["streams"]["ep"]["running"] is False

        nodes.open_all()
        result = await runtime.trigger_and_wait("other", {"number": 4})
        assert result.output["answer"] == 9

        assert await runtime.restart_stream("ep")
        assert not await runtime.restart_stream("ep")
        assert await runtime.trigger("ep", {"number": 10})  # it is up when the call returns
        results = [await runtime.wait_for_completion(one) for one in accepted]
        assert [one.output["answer"] for one in results] == [2 * n + 1 for n in range(10)]


async def test_triggers_under_way_are_refused_when_their_stream_is_given_up(
    line, line_runtime
) -> None:
    """Nobody waits for ever; what was stored all the same is there after the restart."""
    nodes = line()
    runtime = line_runtime(nodes, ep={"max_concurrent": 2})
    failed = asyncio.Event()
    runtime.on_stream_failed(lambda stream, error: failed.set())
    async with asyncio.timeout(LIMIT_S), runtime:
        tasks: dict[str, asyncio.Task[str]] = {}

        async def feed() -> None:
            n = 0
            while not failed.is_set():
                name = f"x{n}"
                call = runtime.trigger if n % 2 else runtime.trigger_and_wait
                tasks[name] = asyncio.create_task(call("ep", {"number": n}, execution_id=name))
                n += 1
                await asyncio.sleep(0.001)

        feeding = asyncio.create_task(feed())
        await give_up(runtime, "ep", failed)
        await feeding
        triggers = [task for n, task in enumerate(tasks.values()) if n % 2]
        outcomes = await asyncio.gather(*triggers, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, BaseException)]
        assert {type(one) for one in refused} <= {StreamUnavailable}
        assert await runtime.restart_stream("ep")
        # The bound of the queue is whole: nothing that went down holds a place in it.
        ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
        for n, end in enumerate(ends):
            if isinstance(end, StreamUnavailable):
                again = await runtime.trigger_and_wait(
                    "ep", {"number": n}, execution_id=f"x{n}", timeout=10
                )
            else:
                again = await runtime.wait_for_completion(f"x{n}", 10)
            assert again is not None
            assert again.output["answer"] == 2 * n + 1


async def test_a_stream_that_is_given_up_gives_back_its_permits_and_places(
    line, line_runtime
) -> None:
    nodes = line("middle")
    runtime = line_runtime(
        nodes,
        ep={"max_concurrent": 4, "max_queued": 0},
        other={},
        config={"max_concurrent_executions": 2},
    )
    failed = asyncio.Event()
    runtime.on_stream_failed(lambda stream, error: failed.set())
    async with asyncio.timeout(LIMIT_S), runtime:
        first = [await runtime.trigger("ep", {"number": n}) for n in range(2)]
        await nodes.entered["middle"].wait()
        queued = await runtime.trigger("other", {"number": 7})  # both permits are taken
        await give_up(runtime, "ep", failed)
        nodes.open_all()
        result = await runtime.wait_for_completion(queued, 10)
        assert result is not None
        assert result.output["answer"] == 15
        assert await runtime.restart_stream("ep")
        for one in first:
            assert (await runtime.wait_for_completion(one, 10)).success
        results = await asyncio.gather(
            *(runtime.trigger_and_wait("ep", {"number": n}) for n in range(2))
        )
        assert all(one.success for one in results)


async def test_a_runtime_with_a_stream_that_was_given_up_stops(line, line_runtime) -> None:
    nodes = line("middle")
    runtime = line_runtime(nodes, ep={}, other={})
    failed = asyncio.Event()
    runtime.on_stream_failed(lambda stream, error: failed.set())
    async with asyncio.timeout(LIMIT_S):
        await runtime.start()
        one = await runtime.trigger("ep", {"number": 1})
        await give_up(runtime, "ep", failed)
        await runtime.stop()
        nodes.open_all()
        async with runtime:
            result = await runtime.wait_for_completion(one, 10)
            assert result.output["answer"] == 3


async def test_a_freed_permit_finds_whoever_can_use_it(line, line_runtime) -> None:
    """A stream that was woken in vain passes the permit on."""
    nodes = line("middle")
    runtime = line_runtime(nodes, a={}, b={}, c={}, config={"max_concurrent_executions": 1})
    async with asyncio.timeout(LIMIT_S), runtime:
        running = await runtime.trigger("a", {"number": 1})
        await nodes.entered["middle"].wait()
        gone = await runtime.trigger("b", {"number": 2})
        waiting = await runtime.trigger("c", {"number": 3})
        assert await runtime.cancel_execution("b", gone)
        nodes.open_all()
        assert (await runtime.wait_for_completion(running, 10)).success
        result = await runtime.wait_for_completion(waiting, 10)
        assert result is not None, "nothing runs, and it still waits"


async def test_10_000_queued_messages_survive_a_restart_in_order(line, line_runtime) -> None:
    nodes = line()
    runtime = line_runtime(nodes, config={"execution_result_max": 20_000})
    async with asyncio.timeout(60), runtime:
        stream = runtime.get_stream("ep")
        names = [f"n{n:05}" for n in range(10_000)]
        tasks = [
            asyncio.ensure_future(
                runtime.trigger("ep", {"number": n}, execution_id=name, idempotency_key=name)
            )
            for n, name in enumerate(names)
        ]
        await asyncio.sleep(0)  # all of them are on their way now
        stream.ref.kill()
        assert await asyncio.gather(*tasks) == names
        assert stream.get_stats()["restarts"] >= 1
        for name in names:
            assert (await runtime.wait_for_completion(name)).success
        assert nodes.runs["last"] == 10_000
    assert stored_order(runtime) == names


def stored_order(runtime) -> list[str]:
    reader = open_reader(runtime._path)
    try:
        found = reader.read(lambda one: one.executions(limit=100_000))
    finally:
        reader.close()
    return [one.summary.execution_id for one in reversed(found)]


async def test_a_long_queue_of_one_stream_does_not_keep_the_permits_from_another(
    line, line_runtime
) -> None:
    nodes = line("first")
    runtime = line_runtime(nodes, a={}, b={}, config={"max_concurrent_executions": 1})
    async with asyncio.timeout(LIMIT_S), runtime:
        ended = []
        runtime.subscribe_to_events(
            ["execution_completed"], lambda event: ended.append(event.stream_id)
        )
        accepted = [await runtime.trigger("a", {"number": n}) for n in range(20)]
        accepted += [await runtime.trigger("b", {"number": n}) for n in range(3)]
        accepted += [await runtime.trigger("a", {"number": n}) for n in range(20)]
        nodes.open_all()
        for one in accepted:
            assert (await runtime.wait_for_completion(one)).success
        await runtime.event_bus.settled("sub_1")
        assert Counter(ended) == Counter(a=40, b=3)
        # Whichever order holds between streams, nobody waits for what came after it.
        assert Counter(ended[:30])["b"] == 3, ended
