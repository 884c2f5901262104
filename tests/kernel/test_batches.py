"""Actors that take their mail in batches, and senders that wait for room."""

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from greenroom.actors.kernel.specs import ChildSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition
from greenroom.protocol.errors import (
    ActorStopped,
    MailboxOverflow,
)


def test_a_batch_holds_all_that_waits_in_order_and_asks_are_requests(
    system: ActorSystem, kit: Any
) -> None:
    handled, hold = Condition(), threading.Event()
    ref = system.spawn(partial(kit.Batching, handled, hold))
    for value in range(500):
        ref.tell(kit.Put(value))
    ask = ref.ask(kit.Take())
    hold.set()
    assert ask.get(timeout=10) == kit.Answer([501])
    (batch,) = handled.values
    assert batch[:-1] == [kit.Put(value) for value in range(500)]
    assert batch[-1].message == kit.Take()


def test_a_batch_that_crashed_comes_again_one_by_one_and_only_the_offender_is_poison(
    system: ActorSystem, kit: Any
) -> None:
    handled, hold = Condition(), threading.Event()
    ref = system.spawn(partial(kit.Batching, handled, hold))
    for message in (kit.Put(1), kit.Put(2), kit.Crash(), kit.Put(3)):
        ref.tell(message)
    last = ref.ask(kit.Take())
    hold.set()
    last.get(timeout=10)
    again = [message for batch in handled.values[1:] for message in batch]
    kept = [message for message in again if isinstance(message, kit.Put)]
    assert kept == [kit.Put(1), kit.Put(2), kit.Put(3)]
    assert system.dead_letters.counts() == {"poison": 1}


@pytest.mark.parametrize("batched", [False, True])
def test_an_actor_may_serve_all_that_waits_before_it_stops(
    system: ActorSystem, batched: bool, kit: Any
) -> None:
    class Draining(kit.Batching if batched else kit.Store):  # type: ignore[misc]
        dispatcher_kind = "thread"
        drain_on_stop = True

        def __init__(self) -> None:
            super().__init__(handled, hold) if batched else super().__init__(handled)

        def on_start(self) -> None:
            started.set()
            hold.wait(10)

    handled, hold, started = Condition(), threading.Event(), threading.Event()
    ref = system.spawn(Draining)
    started.wait(10)
    for value in range(300):
        ref.tell(kit.Put(value))
    stopped = ref.stop()
    hold.set()
    assert stopped.get(timeout=10) is True
    assert len(system.dead_letters) == 0
    got = handled.values if not batched else [m.value for batch in handled.values for m in batch]
    assert got == list(range(300))


@pytest.mark.asyncio
async def test_tell_async_waits_for_room(system: ActorSystem, kit: Any) -> None:
    class Small(kit.Batching):
        user_limit = 2
        batch_max = 1

    handled, hold = Condition(), threading.Event()
    ref = system.spawn(partial(Small, handled, hold))
    await asyncio.gather(ref.tell_async(kit.Put(0)), ref.tell_async(kit.Put(1)))
    with pytest.raises(MailboxOverflow):
        ref.tell(kit.Put(2))
    waiting = [asyncio.create_task(ref.tell_async(kit.Put(value))) for value in range(2, 12)]
    await asyncio.sleep(0)
    waiting[3].cancel()
    assert not any(task.done() for task in waiting[:3])
    hold.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in done) == 1
    handled.wait(11)
    got = [message.value for batch in handled.values for message in batch]
    assert sorted(got) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


@pytest.mark.asyncio
async def test_tell_async_to_an_actor_that_stops_is_refused(system: ActorSystem, kit: Any) -> None:
    class Small(kit.Batching):
        user_limit = 1

    handled, hold = Condition(), threading.Event()
    started = threading.Event()
    factory = partial(Small, handled, hold, started)
    ref = system.spawn(ChildSpec("small", factory, shutdown_timeout=0.0))
    ref.tell(kit.Put(1))
    started.wait(10)
    waiting = asyncio.create_task(ref.tell_async(kit.Put(2)))
    await asyncio.sleep(0)
    assert await ref.stop() is False
    with pytest.raises(ActorStopped):
        await waiting
    hold.set()
