"""Actors that take their mail in batches, and senders that wait for room."""

import asyncio
import threading
from functools import partial
from typing import Any, ClassVar

import msgspec
import pytest

from greenroom.actors.kernel.actor import Actor, Request
from greenroom.actors.kernel.specs import ChildSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition
from greenroom.protocol.errors import (
    ActorStopped,
    MailboxOverflow,
)


class Answer(msgspec.Struct, frozen=True):
    values: list[int]


class Put(msgspec.Struct, frozen=True, tag="put"):
    value: int


class Take(msgspec.Struct, frozen=True, tag="take"):
    reply: ClassVar[Any] = Answer


class Crash(msgspec.Struct, frozen=True, tag="crash"):
    pass


class Other(msgspec.Struct, frozen=True, tag="other"):
    pass


Message = Put | Take | Crash


class Store(Actor[Message]):
    messages: ClassVar[Any] = Message

    def __init__(self, handled: Condition | None = None) -> None:
        self.handled = handled or Condition()
        self.values: list[int] = []

    def handle(self, message: Message) -> Any:
        match message:
            case Put(value):
                self.values.append(value)
                self.handled.add(value)
                return None
            case Take():
                return Answer(self.values)
            case Crash():
                raise ValueError("crash")


class Batching(Store):
    """Takes batches on a thread; `hold` lets a test fill the mailbox first."""

    dispatcher_kind = "thread"

    def __init__(
        self, handled: Condition, hold: threading.Event, started: threading.Event | None = None
    ) -> None:
        super().__init__(handled)
        self.hold = hold
        self.started = started or threading.Event()

    def on_start(self) -> None:
        self.started.set()
        self.hold.wait(10)

    def handle_batch(self, messages: list[Any]) -> None:
        self.handled.add(messages)
        if any(isinstance(message, Crash) for message in messages):
            raise ValueError("crash")
        for message in messages:
            if isinstance(message, Request):
                message.reply.set(Answer([len(messages)]))


def test_a_batch_holds_all_that_waits_in_order_and_asks_are_requests(
    system: ActorSystem,
) -> None:
    handled, hold = Condition(), threading.Event()
    ref = system.spawn(partial(Batching, handled, hold))
    for value in range(500):
        ref.tell(Put(value))
    ask = ref.ask(Take())
    hold.set()
    assert ask.get(timeout=10) == Answer([501])
    (batch,) = handled.values
    assert batch[:-1] == [Put(value) for value in range(500)]
    assert batch[-1].message == Take()


def test_a_batch_that_crashed_comes_again_one_by_one_and_only_the_offender_is_poison(
    system: ActorSystem,
) -> None:
    handled, hold = Condition(), threading.Event()
    ref = system.spawn(partial(Batching, handled, hold))
    for message in (Put(1), Put(2), Crash(), Put(3)):
        ref.tell(message)
    last = ref.ask(Take())
    hold.set()
    last.get(timeout=10)
    again = [message for batch in handled.values[1:] for message in batch]
    kept = [message for message in again if isinstance(message, Put)]
    assert kept == [Put(1), Put(2), Put(3)]
    assert system.dead_letters.counts() == {"poison": 1}


@pytest.mark.parametrize("batched", [False, True])
def test_an_actor_may_serve_all_that_waits_before_it_stops(
    system: ActorSystem, batched: bool
) -> None:
    class Draining(Batching if batched else Store):  # type: ignore[misc]
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
        ref.tell(Put(value))
    stopped = ref.stop()
    hold.set()
    assert stopped.get(timeout=10) is True
    assert len(system.dead_letters) == 0
    got = handled.values if not batched else [m.value for batch in handled.values for m in batch]
    assert got == list(range(300))


@pytest.mark.asyncio
async def test_tell_async_waits_for_room(system: ActorSystem) -> None:
    class Small(Batching):
        user_limit = 2
        batch_max = 1

    handled, hold = Condition(), threading.Event()
    ref = system.spawn(partial(Small, handled, hold))
    await asyncio.gather(ref.tell_async(Put(0)), ref.tell_async(Put(1)))
    with pytest.raises(MailboxOverflow):
        ref.tell(Put(2))
    waiting = [asyncio.create_task(ref.tell_async(Put(value))) for value in range(2, 12)]
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
async def test_tell_async_to_an_actor_that_stops_is_refused(system: ActorSystem) -> None:
    class Small(Batching):
        user_limit = 1

    handled, hold = Condition(), threading.Event()
    started = threading.Event()
    factory = partial(Small, handled, hold, started)
    ref = system.spawn(ChildSpec("small", factory, shutdown_timeout=0.0))
    ref.tell(Put(1))
    started.wait(10)
    waiting = asyncio.create_task(ref.tell_async(Put(2)))
    await asyncio.sleep(0)
    assert await ref.stop() is False
    with pytest.raises(ActorStopped):
        await waiting
    hold.set()
