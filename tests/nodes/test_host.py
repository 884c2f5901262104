"""Where users' code runs, and how calls are handed over to it."""

import asyncio
import threading
from typing import Any

import pytest

from greenroom.actors.kernel.testkit import Condition
from greenroom.actors.nodes.host import NodesHost, is_async
from greenroom.protocol.errors import RuntimeNotRunning


@pytest.mark.asyncio
async def test_on_a_running_loop_nodes_run_on_that_loop() -> None:
    host = NodesHost()
    host.start()
    ran: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    threading.Thread(
        target=lambda: host.call_soon(lambda: ran.set_result(threading.get_ident()))
    ).start()
    assert await asyncio.wait_for(ran, 10) == threading.get_ident()
    assert host.loop is asyncio.get_running_loop()
    host.stop()
    await asyncio.sleep(0)
    assert asyncio.get_running_loop().is_running()


def test_elsewhere_nodes_run_on_a_daemon_thread(host: NodesHost) -> None:
    seen = Condition()
    host.call_soon(lambda: seen.add(threading.current_thread()))
    (thread,) = seen.wait(1)
    assert thread.ident == host.thread_id
    assert thread.daemon
    assert thread is not threading.current_thread()


def test_before_the_start_there_is_no_loop() -> None:
    host = NodesHost()
    assert host.call_soon(lambda: None) is False
    with pytest.raises(RuntimeNotRunning):
        _ = host.loop


def test_calls_of_one_batch_cost_one_wake_up(host: NodesHost) -> None:
    seen, held, gate = Condition(), threading.Event(), threading.Event()
    turn = 0

    def count_turns() -> None:
        nonlocal turn
        turn += 1
        host.loop.call_soon(count_turns)

    def hold() -> None:
        held.set()
        gate.wait(30)

    host.call_soon(count_turns)
    host.call_soon(hold)
    assert held.wait(10)
    for _ in range(1000):
        host.call_soon(lambda: seen.add(turn))
    gate.set()
    assert len(set(seen.wait(1000))) == 1


def test_calls_keep_their_order_and_a_raising_one_harms_no_other(host: NodesHost) -> None:
    seen = Condition()

    def broken() -> None:
        raise ValueError("broken")

    for number in range(100):
        host.call_soon(lambda number=number: seen.add(number))
        host.call_soon(broken)
    assert seen.wait(100) == list(range(100))


def test_no_call_is_lost_when_many_threads_hand_over(host: NodesHost) -> None:
    seen = Condition()

    def give() -> None:
        for _ in range(500):
            host.call_soon(seen.add)

    threads = [threading.Thread(target=give) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert len(seen.wait(2000)) == 2000


async def _async(value: int) -> tuple[int, bool]:
    await asyncio.sleep(0)
    return value + 1, asyncio.current_task() is not None


class _Callable:
    async def __call__(self, value: int) -> tuple[int, bool]:
        return await _async(value)


def _plain(value: int) -> tuple[int, bool]:
    return value + 1, not threading.current_thread().name.startswith("greenroom-nodes")


def _gives_coroutine(value: int) -> Any:
    return _async(value)


@pytest.mark.parametrize("function", [_async, _Callable(), _plain, _gives_coroutine])
def test_a_users_function_is_called_where_it_belongs(host: NodesHost, function: Any) -> None:
    seen = Condition()
    host.call(function, (1,), lambda value, error: seen.add((value, error)))
    assert seen.wait(1) == [((2, True), None)]


async def _async_broken() -> None:
    raise SystemExit(3)


def _plain_broken() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("function", [_async_broken, _plain_broken])
def test_whatever_a_users_function_raises_is_reported(host: NodesHost, function: Any) -> None:
    seen = Condition()
    host.call(function, (), lambda value, error: seen.add(error))
    (error,) = seen.wait(1)
    assert isinstance(error, SystemExit)
    host.call_soon(seen.add)
    seen.wait(2)


def test_a_wrong_number_of_arguments_is_reported(host: NodesHost) -> None:
    seen = Condition()
    host.call(_async, (), lambda value, error: seen.add(error))
    (error,) = seen.wait(1)
    assert isinstance(error, TypeError)


def test_coroutine_functions_are_recognised() -> None:
    assert is_async(_async)
    assert is_async(_Callable())
    assert not is_async(_plain)
    assert not is_async(_gives_coroutine)


def test_a_stopped_host_says_that_it_takes_nothing() -> None:
    host = NodesHost()
    host.start()
    host.stop()
    assert host.call_soon(lambda: None) is False


def test_a_stop_cancels_what_runs() -> None:
    host, seen, begun = NodesHost(), Condition(), threading.Event()
    host.start()

    async def wait_for_ever() -> None:
        begun.set()
        await asyncio.Event().wait()

    host.call(wait_for_ever, (), lambda value, error: seen.add(error))
    assert begun.wait(10)
    host.stop()
    (error,) = seen.wait(1)
    assert isinstance(error, asyncio.CancelledError)


@pytest.mark.asyncio
async def test_work_in_the_pool_can_be_awaited() -> None:
    host = NodesHost()
    host.start()

    def broken() -> None:
        raise ValueError("broken")

    assert await host.in_pool(lambda: 5) == 5
    with pytest.raises(ValueError, match="broken"):
        await host.in_pool(broken)
    host.stop()


@pytest.mark.asyncio
async def test_a_call_that_still_waits_for_a_thread_is_released_by_the_stop() -> None:
    """Else its caller would wait for ever: what the pool has not begun is dropped."""
    host, held, gate = NodesHost(threads=1), threading.Event(), threading.Event()
    host.start()

    def hold() -> None:
        held.set()
        gate.wait(30)

    host.call(hold, (), lambda value, error: None)
    assert held.wait(10)
    waiting = asyncio.ensure_future(host.in_pool(lambda: 1))
    await asyncio.sleep(0)
    host.stop()
    with pytest.raises(RuntimeNotRunning, match="stopped before the end"):
        await asyncio.wait_for(waiting, 10)
    gate.set()


def test_a_call_in_the_pool_can_be_awaited_on_any_loop(host: NodesHost) -> None:
    """And raises there what it raises."""

    def fail() -> None:
        raise KeyError("no")

    assert asyncio.run(host.in_pool(lambda: 7)) == 7
    with pytest.raises(KeyError):
        asyncio.run(host.in_pool(fail))
