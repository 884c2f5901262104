"""The system as a whole: lifetime, isolation, the watchdog, the dispatchers."""

import asyncio
import threading
import time
from functools import partial
from typing import Any, ClassVar

import msgspec
import pytest

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.dispatcher import LoopDispatcher, ThreadDispatcher
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition, SeededDispatcher, await_condition
from greenroom.actors.kernel.watchdog import Blocked
from greenroom.protocol.errors import ActorStopped, RuntimeStopped


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    number: int = 0


class Pong(Actor[Ping]):
    messages: ClassVar[Any] = Ping

    def handle(self, message: Ping) -> Any:
        return message.number + 1


def test_two_systems_do_not_see_each_other(system: ActorSystem) -> None:
    with ActorSystem("other") as other:
        system.spawn(Pong, id="pong")
        assert other.ref("pong") is None
        mine = other.spawn(Pong, id="pong")
        assert mine.ask(Ping(1)).get(timeout=10) == 2
    ref = system.ref("pong")
    assert ref is not None
    assert ref.ask(Ping(2)).get(timeout=10) == 3


def test_a_root_that_escalates_closes_every_address() -> None:
    root = SupervisorSpec("root", restarts_max=0)
    with ActorSystem("strict", root=root) as system:
        ref = system.spawn(Pong)
        other = system.spawn(Pong)
        other.ready().get(timeout=10)
        ref.kill()
        await_condition(lambda: not ref.is_alive() and not other.is_alive())
        with pytest.raises(ActorStopped):
            other.tell(Ping())


@pytest.mark.asyncio
async def test_a_system_is_an_async_context_manager_too() -> None:
    async with ActorSystem("host") as system:
        ref = system.spawn(Pong)
        assert await ref.ask(Ping(1)) == 2
    assert system.stopped
    with pytest.raises(ActorStopped):
        ref.tell(Ping())


def test_stop_is_idempotent_and_start_after_it_is_refused() -> None:
    system = ActorSystem("once")
    system.start()
    system.start()
    ref = system.spawn(Pong)
    assert system.stop() is True
    assert system.stop() is True
    with pytest.raises(RuntimeStopped):
        system.start()
    with pytest.raises((RuntimeStopped, ActorStopped)):
        system.spawn(Pong)
    assert not ref.is_alive()


def test_a_system_that_never_started_can_be_stopped() -> None:
    system = ActorSystem("never")
    ask = system.spawn(Pong).ask(Ping())
    assert system.stop() is True
    with pytest.raises(ActorStopped):
        ask.get(timeout=1)


def test_an_actor_cannot_block_on_the_stop_of_its_own_system(system: ActorSystem) -> None:
    class Stops(Pong):
        def handle(self, message: Ping) -> Any:
            try:
                self.system.stop()
            except RuntimeError as error:
                return str(error)

    assert "stop_async" in system.spawn(Stops).ask(Ping()).get(timeout=10)


def test_one_loop_runs_thousands_of_actors(system: ActorSystem) -> None:
    before = threading.active_count()
    refs = [system.spawn(Pong) for _ in range(3000)]
    asks = [ref.ask(Ping(number)) for number, ref in enumerate(refs)]
    assert [ask.get(timeout=20) for ask in asks] == [n + 1 for n in range(3000)]
    assert threading.active_count() == before


def test_the_watchdog_names_the_actor_that_blocks_its_loop() -> None:
    reports = Condition()

    class Blocks(Pong):
        def handle(self, message: Ping) -> Any:
            return hold_the_loop(reports)

    with ActorSystem("watched", watchdog_limit_s=0.02, on_blocked=reports.add) as system:
        system.spawn(Blocks, id="blocker").ask(Ping()).get(timeout=20)
        report: Blocked = reports.values[0]
        assert report.address == "blocker"
        assert "hold_the_loop" in report.stack
        assert len(reports.values) == 1


def hold_the_loop(reports: Condition) -> None:
    """Blocks the thread until the watchdog has noticed it."""
    reports.wait(1)


def test_the_watchdog_is_silent_about_many_short_messages() -> None:
    reports = Condition()

    class Busy(Pong):
        def handle(self, message: Ping) -> Any:
            until = time.perf_counter() + 0.0005
            while time.perf_counter() < until:
                pass
            return None

    with ActorSystem("watched", watchdog_limit_s=0.1, on_blocked=reports.add) as system:
        refs = [system.spawn(Busy) for _ in range(4)]
        asks = [ref.ask(Ping()) for ref in refs for _ in range(150)]
        for ask in asks:
            ask.get(timeout=30)
    assert reports.values == []


def test_a_blocking_actor_on_a_thread_delays_nobody(system: ActorSystem) -> None:
    go = threading.Event()

    class Blocks(Pong):
        dispatcher_kind = "thread"

        def handle(self, message: Ping) -> Any:
            go.wait(10)

    blocked = system.spawn(Blocks).ask(Ping())
    assert system.spawn(Pong).ask(Ping(1)).get(timeout=10) == 2
    go.set()
    blocked.get(timeout=10)


@pytest.mark.parametrize("make", [LoopDispatcher, partial(ThreadDispatcher, "t")])
def test_a_dispatcher_keeps_order_survives_errors_and_runs_timers(make: Any) -> None:
    dispatcher = make()
    done = Condition()
    dispatcher.call_soon(partial(done.add, 0))
    dispatcher.start()
    dispatcher.call_soon(partial(done.add, 1))
    dispatcher.call_soon(lambda: 1 / 0)
    dispatcher.call_soon(partial(done.add, 2))
    dispatcher.call_later(10.0, partial(done.add, "never")).cancel()
    dispatcher.call_later(0.0, partial(done.add, 3))
    assert done.wait(4) == [0, 1, 2, 3]
    assert not dispatcher.is_current_thread()
    assert dispatcher.stop(10.0)
    dispatcher.call_soon(partial(done.add, "ignored"))


def test_a_system_exit_in_a_task_of_the_loop_does_not_end_it() -> None:
    dispatcher = LoopDispatcher("survivor")
    dispatcher.start()
    loop = dispatcher.loop
    assert loop is not None

    async def leave() -> None:
        raise SystemExit(3)

    task = asyncio.run_coroutine_threadsafe(leave(), loop)
    done = threading.Event()
    task.add_done_callback(lambda _: done.set())
    assert done.wait(10)
    with pytest.raises(SystemExit):
        task.result()
    again = threading.Event()
    dispatcher.call_soon(again.set)
    assert again.wait(10)
    assert dispatcher.stop(10.0)


def test_an_option_asks_for_uvloop_and_does_without() -> None:
    with ActorSystem("maybe-uvloop", uvloop=True) as system:
        assert system.spawn(Pong).ask(Ping(1)).get(timeout=10) == 2


class Chatty(Actor[Ping]):
    """Passes each message on to a neighbour, so that the order of slices shows."""

    messages: ClassVar[Any] = Ping

    def __init__(self, log: list[str], neighbours: list[str]) -> None:
        self.log = log
        self.neighbours = neighbours

    async def handle(self, message: Ping) -> None:
        self.log.append(f"{self.address}:{message.number}")
        if message.number:
            for address in self.neighbours:
                ref = self.system.ref(address)
                assert ref is not None
                ref.tell(Ping(message.number - 1))


def simulate(seed: int) -> list[str]:
    dispatcher = SeededDispatcher(seed)
    system = ActorSystem(dispatcher=dispatcher, clock=dispatcher.clock)
    system.start()
    log: list[str] = []
    for address in "abc":
        others = [other for other in "abc" if other != address]
        system.spawn(ChildSpec(address, partial(Chatty, log, others), dispatcher="thread"))
    dispatcher.run_until_idle()
    first = system.ref("a")
    assert first is not None
    first.tell(Ping(5))
    dispatcher.run_until_idle()
    assert system.stop()
    dispatcher.close()
    return log


def test_a_seed_decides_the_order_and_repeats_it() -> None:
    logs = {tuple(simulate(seed)) for seed in range(5)}
    assert len(logs) > 1
    assert simulate(3) == simulate(3)
    assert len({tuple(sorted(log)) for log in logs}) == 1


def test_virtual_time_passes_only_when_told() -> None:
    dispatcher = SeededDispatcher()
    fired: list[float] = []
    dispatcher.call_later(2.0, lambda: fired.append(dispatcher.clock.monotonic()))
    dispatcher.advance(1.0)
    assert fired == []
    dispatcher.advance(5.0)
    assert fired == [2.0]
    assert dispatcher.clock.monotonic() == 6.0
    dispatcher.close()
