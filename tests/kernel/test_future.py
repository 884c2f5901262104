"""The reply future: the first outcome wins, whoever looks, wherever they wait."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import pykka
import pytest

from greenroom.actors.kernel.future import Future, FutureTimedOut
from greenroom.actors.kernel.testkit import VirtualClock
from greenroom.protocol.errors import AskTimedOut


def test_the_first_outcome_wins() -> None:
    future: Future[int] = Future()
    assert future.settle(1)
    assert not future.settle(2)
    assert not future.settle_exception(ValueError())
    assert not future.cancel()
    assert future.get() == 1


def test_many_threads_settle_and_exactly_one_wins() -> None:
    for _ in range(100):
        future: Future[int] = Future()
        wins: list[int] = []
        barrier = threading.Barrier(3)

        def settle(
            value: int,
            future: Future[int] = future,
            barrier: threading.Barrier = barrier,
            wins: list[int] = wins,
        ) -> None:
            barrier.wait()
            if future.settle(value):
                wins.append(value)

        threads = [threading.Thread(target=settle, args=(value,)) for value in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wins == [future.get()]


def test_a_cancelled_future_raises_and_says_so() -> None:
    future: Future[int] = Future()
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.get()


def test_a_deadline_that_passed_is_one_error_by_every_name() -> None:
    clock = VirtualClock()
    future: Future[int] = Future(deadline=1.0, clock=clock)
    clock.advance(2.0)
    with pytest.raises(FutureTimedOut) as error:
        future.get()
    assert isinstance(error.value, AskTimedOut)
    assert isinstance(error.value, TimeoutError)
    assert isinstance(error.value, pykka.Timeout)


def test_a_callback_alone_arms_the_timer() -> None:
    armed: list[float] = []
    clock = VirtualClock()

    def fire_at_once(delay: float, expire: Callable[[], object]) -> None:
        armed.append(delay)
        expire()

    future: Future[int] = Future(deadline=3.0, clock=clock, timer=fire_at_once)
    outcomes: list[BaseException | None] = []
    future.add_done_callback(lambda done: outcomes.append(done.exception()))
    assert armed == [3.0]
    assert isinstance(outcomes[0], FutureTimedOut)


def test_a_failing_callback_hurts_neither_the_settler_nor_the_others() -> None:
    future: Future[int] = Future()
    called: list[int] = []
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: called.append(1))
    assert future.settle(1)
    future.add_done_callback(lambda _: called.append(2))
    assert called == [1, 2]


@pytest.mark.asyncio
async def test_cancelling_the_waiting_task_cancels_the_future() -> None:
    future: Future[int] = Future()
    task = asyncio.ensure_future(asyncio.wait_for(future, 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()


@pytest.mark.asyncio
async def test_a_blocking_get_on_a_loop_is_refused_unless_there_is_an_outcome() -> None:
    future: Future[int] = Future()
    with pytest.raises(RuntimeError, match="await the future"):
        future.get(timeout=1)
    future.set(1)
    assert future.get() == 1


@pytest.mark.asyncio
async def test_a_hooked_future_can_be_awaited_without_blocking() -> None:
    source: Future[int] = Future()
    mapped = source.map(lambda value: value + 1)
    task = asyncio.ensure_future(asyncio.wait_for(mapped, 10))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    source.set(1)
    assert await task == 2


def test_a_future_can_be_awaited_from_two_loops() -> None:
    future: Future[int] = Future()
    results: list[int] = []

    async def wait() -> None:
        results.append(await future)

    threads = [threading.Thread(target=lambda: asyncio.run(wait())) for _ in range(2)]
    for thread in threads:
        thread.start()
    future.set(5)
    for thread in threads:
        thread.join(10)
    assert results == [5, 5]
