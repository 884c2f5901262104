"""Traps of thread-based actors around their life: start, stop, exit, many of them."""

import logging
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from typing import Any

import pykka
import pytest

from greenroom.actors.kernel.dispatcher import ThreadDispatcher
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.specs import ChildSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition, Do, Scripted, ScriptedThread
from greenroom.protocol.errors import ActorStopped, InvalidInput


def once(*errors: BaseException) -> Any:
    """A script that raises each error once, then answers how often it was called."""
    left = list(errors)
    calls: list[int] = []

    def run(*_: Any) -> int:
        calls.append(1)
        if left:
            raise left.pop(0)
        return len(calls)

    return run


def spawn(system: ActorSystem, kind: type[Scripted] = Scripted, **script: Any) -> ActorRef[Do]:
    ref = system.spawn(partial(kind, **script), id="scripted")
    ref.ready().get(timeout=10)
    return ref


def test_t13_a_second_get_of_a_hooked_future_keeps_its_timeout() -> None:
    entered, go = threading.Event(), threading.Event()
    source: Future[int] = Future()

    def slow(value: int) -> int:
        entered.set()
        go.wait(10)
        return value + 1

    mapped = source.map(slow)
    source.set(1)
    first = threading.Thread(target=mapped.get)
    first.start()
    entered.wait(10)
    with pytest.raises(pykka.Timeout):
        mapped.get(timeout=0.01)
    go.set()
    first.join()
    assert mapped.get() == 2


def test_t14_a_thread_that_cannot_start_is_a_failed_start_and_is_tried_again(
    system: ActorSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ThreadDispatcher.start
    refused = once(RuntimeError("can't start new thread"))

    def flaky(self: ThreadDispatcher) -> None:
        refused()
        start(self)

    monkeypatch.setattr(ThreadDispatcher, "start", flaky)
    ref = system.spawn(partial(ScriptedThread, ping=lambda a, m: "pong"))
    assert ref.ask(Do("ping")).get(timeout=10) == "pong"


EXIT = """
    import sys, threading
    from functools import partial
    from typing import Any
    import msgspec
    from greenroom.actors.kernel.actor import Actor
    from greenroom.actors.kernel.system import ActorSystem

    class Hang(msgspec.Struct, frozen=True, tag="hang"): pass

    class Saver(Actor[Hang]):
        messages = Hang
        dispatcher_kind = {kind!r}
        def on_stop(self): print("on_stop ran", flush=True)
        def handle(self, message):
            started.set()
            threading.Event().wait()

    started = threading.Event()
    system = ActorSystem(exit_timeout=1.0, watchdog_limit_s=None)
    system.start()
    ref = system.spawn(Saver)
    ref.ready().get(timeout=10)
    {action}
"""


@pytest.mark.parametrize(
    ("kind", "action", "code", "saved"),
    [
        ("loop", "pass", 0, True),
        ("thread", "pass", 0, True),
        ("loop", "raise SystemExit(3)", 3, True),
        ("loop", "raise ValueError", 1, True),
        ("thread", "ref.tell(Hang()); started.wait(10)", 0, False),
        ("loop", "ref.tell(Hang()); started.wait(10)", 0, False),
    ],
)
def test_t15_t16_the_process_exits_and_on_stop_runs(
    kind: str, action: str, code: int, saved: bool
) -> None:
    """A real process ends without stop(): in order if the actors can, within the limit if one
    hangs.
    """
    script = textwrap.dedent(EXIT).format(kind=kind, action=action)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == code, run.stderr
    assert ("on_stop ran" in run.stdout) is saved


def test_t17_stopping_thousands_takes_time_in_proportion(system: ActorSystem) -> None:
    """The registry is a dict: 2,000 actors start and stop in seconds, and each is found at once."""
    refs = [system.spawn(partial(Scripted), id=f"a{number}") for number in range(2000)]
    refs[-1].ready().get(timeout=20)
    began = time.monotonic()
    assert all(system.ref(ref.address) is ref for ref in refs)
    assert time.monotonic() - began < 0.5
    assert system.stop(20.0)


def test_t18_a_stuck_actor_delays_the_stop_by_its_own_deadline_only() -> None:
    go, started = threading.Event(), threading.Event()
    stopped = Condition()

    def hang(actor: Scripted, message: Do) -> None:
        started.set()
        go.wait(30)

    with ActorSystem("stuck") as system:
        system.spawn(partial(Scripted, on_stop=lambda a: stopped.add("first")), id="first")
        stuck = system.spawn(
            ChildSpec("stuck", partial(ScriptedThread, hang=hang), shutdown_timeout=0.05)
        )
        last = system.spawn(partial(Scripted, on_stop=lambda a: stopped.add("last")), id="last")
        last.ready().get(timeout=10)
        hung = stuck.ask(Do("hang"))
        started.wait(10)
        queued = stuck.ask(Do("hang"))
        system.stop(10.0)
        assert stopped.values == ["last", "first"]
        for future in (hung, queued):
            with pytest.raises(ActorStopped):
                future.get(timeout=10)
        go.set()


def test_t19_a_refusal_writes_no_traceback(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(actor: Scripted, message: Do) -> None:
        raise InvalidInput("no")

    ref = spawn(system, refuse=refuse)
    with caplog.at_level(logging.DEBUG, logger="greenroom"), pytest.raises(InvalidInput):
        ref.ask(Do("refuse")).get(timeout=10)
    assert not [record for record in caplog.records if record.exc_info]


def test_t20_a_reference_costs_nothing_to_make_and_looks_into_no_actor(
    system: ActorSystem,
) -> None:
    """There is no proxy to build: an actor whose attributes lead back to itself is no trouble."""

    class Loops(Scripted):
        def on_start(self) -> None:
            self.myself = self

    ref = spawn(system, Loops, ping=lambda a, m: a.myself is a)
    assert ref.ask(Do("ping")).get(timeout=10) is True


def test_t21_nothing_mutable_is_shared_by_a_message_or_a_reply(system: ActorSystem) -> None:
    kept: list[list[int]] = []

    def keep(actor: Scripted, message: Do) -> list[int]:
        kept.append(message.items)
        return message.items

    ref = spawn(system, keep=keep)
    mine = [1, 2]
    reply = ref.ask(Do("keep", mine))
    mine.append(3)
    answer = reply.get(timeout=10)
    answer.append(4)
    assert kept == [[1, 2]]
