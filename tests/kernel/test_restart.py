"""Restarts under load: nothing lost, order kept, nobody left waiting."""

import contextlib
import threading
from functools import partial
from typing import Any, ClassVar

import msgspec
import pytest

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition
from greenroom.protocol.errors import ActorStopped
from greenroom.protocol.supervision import Backoff

QUICK = Backoff(max_s=0.05)


class Note(msgspec.Struct, frozen=True, tag="note"):
    number: int


class Keeper(Actor[Note]):
    """Fails on each of `bad` once, and keeps the rest in a list that all instances share."""

    messages: ClassVar[Any] = Note
    user_limit = 20_000

    def __init__(self, kept: Condition, bad: set[int], hold: threading.Event) -> None:
        self.kept = kept
        self.bad = bad
        self.hold = hold

    def handle(self, message: Note) -> int:
        self.hold.wait(30)
        if message.number in self.bad:
            self.bad.discard(message.number)
            raise ValueError(message.number)
        self.kept.add(message.number)
        return message.number


class ThreadKeeper(Keeper):
    dispatcher_kind = "thread"


class BatchKeeper(ThreadKeeper):
    def handle_batch(self, messages: list[Any]) -> None:
        self.hold.wait(30)
        bad = [message for message in messages if message.number in self.bad]
        if bad:
            self.bad.discard(bad[0].number)
            raise ValueError(bad[0])
        for message in messages:
            self.kept.add(message.number)


@pytest.mark.parametrize("kind", [Keeper, ThreadKeeper, BatchKeeper])
def test_a_failed_actor_with_10_000_queued_messages_loses_none_and_keeps_their_order(
    kind: type[Keeper],
) -> None:
    hold, kept = threading.Event(), Condition()
    bad = {0, 5_000, 9_999}
    with ActorSystem("restart", watchdog_limit_s=None) as system:
        spec = ChildSpec("keeper", partial(kind, kept, bad, hold))
        system.supervise(SupervisorSpec("top", (spec,), restarts_max=10, backoff=QUICK))
        ref = system.ref("top/keeper")
        assert ref is not None
        ref.ready().get(timeout=10)
        for number in range(10_000):
            ref.tell(Note(number))
        hold.set()
        assert kept.wait(10_000, timeout=30) == list(range(10_000))
        assert ref.stats().incarnation >= 2


def test_kills_from_another_thread_lose_nothing(system: ActorSystem) -> None:
    """Every ask of four threads is answered by some instance, while a fifth keeps killing."""
    go = threading.Event()
    go.set()
    spec = ChildSpec("keeper", partial(Keeper, Condition(), set(), go))
    system.supervise(SupervisorSpec("top", (spec,), restarts_max=100, backoff=QUICK))
    ref = system.ref("top/keeper")
    assert ref is not None
    answers = Condition()

    def ask() -> None:
        for number in range(300):
            answers.add(ref.ask(Note(number), timeout=30).get())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    kills = 0
    while any(thread.is_alive() for thread in threads) and kills < 10:
        ref.kill()
        kills += 1
        answers.wait(min(100 * kills, 1200), timeout=30)
    for thread in threads:
        thread.join(30)
    assert len(answers.values) == 1200
    assert ref.stats().incarnation > 1


@pytest.mark.parametrize("kind", [Keeper, ThreadKeeper])
def test_asks_that_race_with_the_stop_are_all_settled(kind: type[Keeper]) -> None:
    """Many rounds of threads asking while the actor stops; each ask has an outcome."""
    go = threading.Event()
    go.set()
    for round_number in range(30):
        with ActorSystem("race", watchdog_limit_s=None) as system:
            ref = system.spawn(partial(kind, Condition(), set(), go))
            ref.ready().get(timeout=10)
            asks: list[list[Future[int]]] = [[] for _ in range(3)]
            barrier = threading.Barrier(4)

            def ask(mine: list[Future[int]], ref: Any = ref, barrier: Any = barrier) -> None:
                barrier.wait()
                mine.extend(ref.ask(Note(number)) for number in range(100))

            threads = [threading.Thread(target=ask, args=(mine,)) for mine in asks]
            for thread in threads:
                thread.start()
            barrier.wait()
            if round_number % 2:
                ref.stop()
            else:
                system.stop()
            for thread in threads:
                thread.join()
        for future in [future for mine in asks for future in mine]:
            with contextlib.suppress(ActorStopped):
                future.get(timeout=10)
