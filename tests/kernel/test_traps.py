"""Traps of thread-based actors that this kernel avoids: failures, replies, mailboxes."""

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from greenroom.actors.kernel.cell import ChildExit
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.loop_actor import LoopActor
from greenroom.actors.kernel.mailbox import Envelope, Mailbox
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition, Do, Scripted, ScriptedThread
from greenroom.protocol.errors import ActorStopped, AskTimedOut, InvalidInput, MailboxOverflow


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


def watch_exits(system: ActorSystem, address: str) -> Condition:
    """What the supervisor is told about one child, from now on."""
    exits = Condition()
    cell = system._cells[address]
    tell = cell.on_exit

    def record(event: ChildExit) -> None:
        exits.add(event)
        assert tell is not None
        tell(event)

    cell.on_exit = record
    return exits


def spawn(system: ActorSystem, kind: type[Scripted] = Scripted, **script: Any) -> ActorRef[Do]:
    ref = system.spawn(partial(kind, **script), id="scripted")
    ref.ready().get(timeout=10)
    return ref


@pytest.mark.parametrize("kind", [Scripted, ScriptedThread])
def test_t1_an_error_in_an_ask_crashes_the_actor_and_the_supervisor_is_told_once(
    system: ActorSystem, kind: type[Scripted]
) -> None:
    failures = Condition()
    ref = spawn(
        system, kind, boom=once(ValueError()), on_failure=lambda actor, error: failures.add(error)
    )
    exits = watch_exits(system, "scripted")
    assert ref.ask(Do("boom")).get(timeout=10) == 2, "the next instance answers the same asker"
    assert len(exits.wait(1)) == 1
    assert [type(e) for e in failures.values] == [ValueError]


def test_t1_a_refusal_is_a_reply_and_not_a_fault(system: ActorSystem) -> None:
    def refuse(actor: Scripted, message: Do) -> None:
        raise InvalidInput("no")

    ref = spawn(system, refuse=refuse)
    with pytest.raises(InvalidInput):
        ref.ask(Do("refuse")).get(timeout=10)
    assert ref.stats().incarnation == 1


def test_t2_an_error_in_a_tell_loses_no_message_of_the_inbox(system: ActorSystem) -> None:
    seen = Condition()
    hold = threading.Event()
    ref = spawn(
        system,
        ScriptedThread,
        hold=lambda a, m: hold.wait(10) and None,
        boom=once(ValueError()),
        note=lambda a, m: seen.add(m.items[0]),
    )
    ref.tell(Do("hold"))
    ref.tell(Do("boom"))
    for number in range(50):
        ref.tell(Do("note", [number]))
    hold.set()
    assert seen.wait(50) == list(range(50))


def test_t3_a_failed_start_is_told_once_and_tried_again(system: ActorSystem) -> None:
    failures = Condition()
    ref = system.spawn(
        partial(
            Scripted,
            on_start=once(RuntimeError("first start")),
            on_failure=lambda actor, error: failures.add(str(error)),
            ping=lambda a, m: "pong",
        )
    )
    assert ref.ask(Do("ping")).get(timeout=10) == "pong"
    assert failures.values == ["first start"]
    assert ref.stats().incarnation == 2


def test_t4_an_error_in_on_stop_is_shown_to_whoever_stops_the_actor(system: ActorSystem) -> None:
    ref = spawn(system, on_stop=once(RuntimeError("cannot clean up")))
    exits = watch_exits(system, "scripted")
    assert ref.stop().get(timeout=10) is False
    assert repr(exits.wait(1)[0].error) == "RuntimeError('cannot clean up')"
    assert not ref.is_alive()


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", [Scripted, ScriptedThread])
def test_t5_a_base_exception_ends_one_instance_and_no_bystander(
    system: ActorSystem, kind: type[Scripted], error: BaseException
) -> None:
    bystander = system.spawn(partial(Scripted, ping=lambda a, m: a.incarnation), id="bystander")
    ref = spawn(system, kind, boom=once(error))
    assert ref.ask(Do("boom")).get(timeout=10) == 2
    assert bystander.ask(Do("ping")).get(timeout=10) == 1


def test_t5_a_base_exception_in_a_coroutine_does_not_end_the_loop(system: ActorSystem) -> None:
    fail = once(SystemExit(3))

    async def boom(actor: Scripted, message: Do) -> int:
        await asyncio.sleep(0)
        result: int = fail()
        return result

    ref = spawn(system, boom=boom)
    assert ref.ask(Do("boom")).get(timeout=10) == 2


def test_t6_settling_the_reply_from_outside_harms_nobody(system: ActorSystem) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(actor: Scripted, message: Do) -> str:
        started.set()
        go.wait(10)
        return "late"

    ref = spawn(system, ScriptedThread, slow=slow, ping=lambda a, m: "pong")
    future = ref.ask(Do("slow"))
    started.wait(10)
    future.set("from outside")
    go.set()
    assert ref.ask(Do("ping")).get(timeout=10) == "pong"
    assert future.get() == "from outside"
    assert ref.stats().incarnation == 1


def test_t7_a_message_put_while_the_mailbox_closes_is_refused_or_handed_back() -> None:
    """Threads put while another closes; every message is either refused to its sender or in the
    rest.
    """
    for _ in range(50):
        mailbox = Mailbox("x", 10_000, lambda: None)
        accepted: list[list[bytes]] = [[], [], []]
        barrier = threading.Barrier(4)

        def put(
            mine: list[bytes], mailbox: Mailbox = mailbox, barrier: threading.Barrier = barrier
        ) -> None:
            barrier.wait()
            try:
                for number in range(200):
                    mailbox.put(b"%d" % number)
                    mine.append(b"%d" % number)
            except ActorStopped:
                return

        threads = [threading.Thread(target=put, args=(mine,)) for mine in accepted]
        for thread in threads:
            thread.start()
        barrier.wait()
        left = mailbox.close()
        for thread in threads:
            thread.join()
        assert len(left) == sum(map(len, accepted))


@pytest.mark.asyncio
async def test_t8_awaiting_a_reply_leaves_the_loop_free(system: ActorSystem) -> None:
    go = threading.Event()
    ref = system.spawn(partial(ScriptedThread, slow=lambda a, m: go.wait(10)))
    waiting = asyncio.ensure_future(asyncio.wait_for(ref.ask(Do("slow")), 10))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    assert await waiting is True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Future[None]()


@pytest.mark.parametrize("give_up", ["timeout", "cancel"])
def test_t9_a_request_that_nobody_waits_for_is_skipped_unread(
    system: ActorSystem, give_up: str
) -> None:
    started, go = threading.Event(), threading.Event()
    ran: list[str] = []

    def hold(actor: Scripted, message: Do) -> None:
        started.set()
        go.wait(10)

    ref = spawn(system, ScriptedThread, hold=hold, late=lambda a, m: ran.append("late"))
    ref.tell(Do("hold"))
    started.wait(10)
    if give_up == "timeout":
        with pytest.raises(AskTimedOut):
            ref.ask(Do("late"), timeout=0.01).get()
    else:
        assert ref.ask(Do("late")).cancel()
    go.set()
    ref.ask(Do("hold")).get(timeout=10)
    assert ran == []
    assert ref.stats().skipped == 1


def test_t10_stop_and_control_messages_pass_the_backlog(system: ActorSystem) -> None:
    started, go = threading.Event(), threading.Event()
    order: list[str] = []

    def hold(actor: Scripted, message: Do) -> None:
        started.set()
        go.wait(10)

    ref = spawn(system, ScriptedThread, hold=hold, note=lambda a, m: order.append(str(m.items)))
    ref.tell(Do("hold"))
    started.wait(10)
    for _ in range(10):
        ref.tell(Do("note", [1]))
    control = ref.ask(Do("note", [2]), control=True)
    control.add_done_callback(lambda _: stopping.append(ref.stop()))
    stopping: list[Future[bool]] = []
    go.set()
    control.get(timeout=10)
    assert order[0] == "[2]"
    assert stopping[0].get(timeout=10)
    assert len(order) < 11, "the stop did not wait for the backlog"
    assert system.dead_letters.counts()["stopped"] == 11 - len(order)


def test_t11_a_full_mailbox_refuses_at_once_and_still_can_be_stopped(system: ActorSystem) -> None:
    class Small(ScriptedThread):
        user_limit = 3

    started, go = threading.Event(), threading.Event()

    def hold(actor: Scripted, message: Do) -> None:
        started.set()
        go.wait(10)

    ref = spawn(system, Small, hold=hold)
    ref.tell(Do("hold"))
    started.wait(10)
    for _ in range(3):
        ref.tell(Do("hold"))
    with pytest.raises(MailboxOverflow) as refused:
        ref.tell(Do("hold"))
    assert (refused.value.address, refused.value.limit) == ("scripted", 3)
    with pytest.raises(MailboxOverflow):
        ref.ask(Do("hold")).get(timeout=10)
    stopped = ref.stop()
    go.set()
    assert stopped.get(timeout=10)
    assert ref.stats().rejected == 2


@pytest.mark.parametrize("kind", [Scripted, ScriptedThread])
def test_t12_an_actor_that_waits_for_itself_is_told_so(
    system: ActorSystem, kind: type[Scripted]
) -> None:
    def ask_self(actor: Scripted, message: Do) -> str:
        try:
            actor.ref.ask(Do("ping")).get()
        except RuntimeError as error:
            return str(error)
        return "no error"

    ref = spawn(system, kind, ask_self=ask_self, ping=lambda a, m: None)
    assert "await the future" in (text := ref.ask(Do("ask_self")).get(timeout=10)) or (
        "its own answer" in text
    )


def test_a_pykka_actor_on_the_loop_skips_what_nobody_waits_for() -> None:
    started, go = threading.Event(), threading.Event()
    ran: list[str] = []

    class Slow(LoopActor):
        async def hold(self) -> None:
            started.set()
            await asyncio.get_running_loop().run_in_executor(None, go.wait, 10)

        def on_receive(self, message: Any) -> Any:
            if message == "hold":
                return self.hold()
            ran.append(message)
            return None

    ref = Slow.start()
    ref.tell("hold")
    started.wait(10)
    late: Any = ref.ask("late", block=False)
    late.cancel()
    go.set()
    assert ref.ask("now", timeout=10) is None
    assert ran == ["now"]
    assert ref.stop(timeout=10)


def test_an_envelope_says_how_often_it_was_delivered(system: ActorSystem) -> None:
    attempts: list[int] = []
    fail = once(ValueError())

    def count(actor: Scripted, message: Do) -> None:
        attempts.append(actor.header.attempt)
        fail()

    ref = spawn(system, count=count)
    ref.ask(Do("count")).get(timeout=10)
    assert attempts == [1, 2]
    assert Envelope(b"").crashes == 0
