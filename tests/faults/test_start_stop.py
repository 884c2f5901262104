"""Starts that fail leave nothing behind; a store has one user at a time."""

import asyncio
import os
import signal
import socket
import threading
import time

import pytest

from greenroom.protocol.errors import PortInUse, RuntimeStopped, StoreInUse, StoreUnavailable
from greenroom.storage.lmdb_store import open_store

pytestmark = [pytest.mark.faults, pytest.mark.asyncio]


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def no_more_than(before: set[threading.Thread]) -> bool:
    """True when every other thread has ended, or does so within a moment."""
    extra = threads() - before
    for one in extra:
        one.join(2)
    return not any(one.is_alive() for one in extra)


async def test_a_second_process_is_refused_with_the_pid_of_the_first(place) -> None:
    pid = place.begin(stay=True)
    until = time.monotonic() + 20
    while not place.heard("done"):
        assert time.monotonic() < until
        await asyncio.sleep(0.005)  # another process's file cannot be waited on
    with pytest.raises(StoreInUse, match=f"in use by process {pid}") as caught:
        open_store(place.store)
    assert caught.value.pid == pid
    assert "\n" not in str(caught.value)
    os.kill(pid, signal.SIGKILL)
    assert place.finish() == -9
    open_store(place.store).close()


async def test_a_second_runtime_is_refused_and_starts_once_the_first_is_gone(
    line, line_runtime
) -> None:
    nodes = line()
    first, second = line_runtime(nodes), line_runtime(nodes)
    async with first:
        before = threads()
        with pytest.raises(StoreInUse, match=f"in use by process {os.getpid()}"):
            await second.start()
        assert not second.is_running
        assert no_more_than(before)
        assert (await first.trigger_and_wait("ep", {"number": 1})).success
    async with second:
        assert (await second.trigger_and_wait("ep", {"number": 1})).success


async def test_concurrent_starts_start_once(line, line_runtime) -> None:
    opened = []

    def factory(path, options):
        opened.append(path)
        return open_store(path, options=options)

    runtime = line_runtime(line(), store_factory=factory)
    await asyncio.gather(*(runtime.start() for _ in range(5)))
    assert len(opened) == 1
    assert (await runtime.trigger_and_wait("ep", {"number": 1})).success
    await asyncio.gather(*(runtime.stop() for _ in range(5)))
    assert not runtime.is_running
    await asyncio.gather(runtime.start(), runtime.stop(), runtime.start())
    assert runtime.is_running
    assert (await runtime.trigger_and_wait("ep", {"number": 1})).success
    await runtime.stop()


async def test_a_start_whose_port_is_taken_leaves_nothing(line, line_runtime, tmp_path) -> None:
    route = {"source_id": "source", "path": "/hook", "entry_point": "ep"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runtime = line_runtime(
            line(), ep={}, config={"webhook_port": port, "webhook_routes": [route]}
        )
        before = threads()
        with pytest.raises(PortInUse, match=str(port)):
            await runtime.start()
        assert not runtime.is_running
        assert no_more_than(before)
        open_store(tmp_path / "line").close()  # the lock is free
    async with runtime:
        assert (await runtime.trigger_and_wait("ep", {"number": 1})).success


@pytest.mark.parametrize("boundary", [1, 2, 3, 4])
async def test_a_start_that_fails_at_a_write_leaves_nothing(
    line, line_runtime, tmp_path, boundary
) -> None:
    """The epoch, a fence, the first events: whatever cannot be written ends the start, or waits."""
    passed = 0

    def failing(name: str) -> None:
        nonlocal passed
        if name == "commit.after_sync":
            passed += 1
            if passed == boundary:
                raise OSError(28, "No space left on device")

    def factory(path, options):
        return open_store(path, options=options, failpoint=failing)

    runtime = line_runtime(line(), store_factory=factory)
    before = threads()
    async with asyncio.timeout(30):
        try:
            await runtime.start()
        except (StoreUnavailable, OSError):
            assert not runtime.is_running
            assert no_more_than(before)
            await runtime.start()
        result = None
        while result is None:
            try:
                result = await runtime.trigger_and_wait("ep", {"number": 1}, execution_id="one")
            except StoreUnavailable:
                await asyncio.sleep(0.05)  # the store is probed at its own pace
        assert result.output["answer"] == 3
        await runtime.stop()
        assert no_more_than(before)


async def test_a_start_that_is_cancelled_is_not_left_half_way(line, line_runtime) -> None:
    runtime = line_runtime(line())
    starting = asyncio.create_task(runtime.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await runtime.start()
    assert (await runtime.trigger_and_wait("ep", {"number": 1})).success
    await runtime.stop()
    async with runtime:
        assert (await runtime.trigger_and_wait("ep", {"number": 1})).success


async def test_a_stop_releases_whoever_waits_with_the_execution_id(line, line_runtime) -> None:
    nodes = line("middle")
    runtime = line_runtime(nodes, config={"shutdown_timeout_s": 0.1})
    async with asyncio.timeout(20), runtime:
        waiting = [
            asyncio.create_task(
                runtime.trigger_and_wait("ep", {"number": 1}, execution_id="a", timeout=timeout)
            )
            for timeout in (None, 15)
        ]
        await nodes.entered["middle"].wait()
        waiting.append(asyncio.create_task(runtime.wait_for_completion("a")))
        await asyncio.sleep(0)
        await runtime.stop()
        for one in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(one, RuntimeStopped)
            assert "a" in str(one)


async def test_a_stop_while_the_store_cannot_write_keeps_its_deadline_and_the_work(
    line, line_runtime
) -> None:
    nodes = line("middle")
    broken = False

    def failing(name: str) -> None:
        if broken and name == "commit.before_sync":
            raise OSError(28, "No space left on device")

    def factory(path, options):
        return open_store(path, options=options, failpoint=failing)

    runtime = line_runtime(nodes, config={"shutdown_timeout_s": 0.3}, store_factory=factory)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        async with runtime:
            accepted = [await runtime.trigger("ep", {"number": n}) for n in range(3)]
            await nodes.entered["middle"].wait()
            broken = True
            nodes.open_all()
            with pytest.raises(StoreUnavailable):
                await runtime.trigger("ep", {"number": 9})
            began = loop.time()
        assert loop.time() - began < 10
        broken = False
        async with runtime:
            results = [await runtime.wait_for_completion(one) for one in accepted]
            assert [one.output["answer"] for one in results] == [1, 3, 5]


async def test_a_stream_that_crashes_while_the_store_cannot_write_waits_for_it(
    line, line_runtime
) -> None:
    """However long that takes, it is not given up for a fault that is not its own."""
    nodes = line("middle")
    broken = False

    def failing(name: str) -> None:
        if broken:
            raise OSError(28, "No space left on device")

    def factory(path, options):
        return open_store(path, options=options, failpoint=failing)

    runtime = line_runtime(nodes, store_factory=factory)
    given_up = []
    runtime.on_stream_failed(lambda stream, error: given_up.append(stream))
    async with asyncio.timeout(30), runtime:
        accepted = [await runtime.trigger("ep", {"number": n}) for n in range(3)]
        await nodes.entered["middle"].wait()
        broken = True
        with pytest.raises(StoreUnavailable):
            await runtime.trigger("ep", {"number": 9})
        stream = runtime.get_stream("ep")
        stream.ref.kill()
        await asyncio.sleep(3)  # more than its supervisor's patience with crashes
        assert not given_up
        waiting = asyncio.create_task(runtime.trigger("ep", {"number": 3}))
        nodes.open_all()
        broken = False
        accepted.append(await waiting)
        results = [await runtime.wait_for_completion(one) for one in accepted]
        assert [one.output["answer"] for one in results] == [1, 3, 5, 7]
