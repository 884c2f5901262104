"""The typed actor: replies, coroutines, timers, and messages that nobody can handle."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition, Probe, SeededDispatcher
from greenroom.protocol.envelope import Header, pack, unpack
from greenroom.protocol.errors import (
    ActorStopped,
    InvalidInput,
    PoisonMessage,
    UnknownMessage,
)


def test_a_reply_has_its_declared_type(system: ActorSystem, kit: Any) -> None:
    ref = system.spawn(kit.Store)
    ref.tell(kit.Put(1))
    assert ref.ask(kit.Take()).get(timeout=10) == kit.Answer([1])


def test_a_message_that_always_crashes_is_poison_after_three_deliveries(
    system: ActorSystem, kit: Any
) -> None:
    handled = Condition()
    ref = system.spawn(partial(kit.Store, handled))
    poison = ref.ask(kit.Crash())
    ref.tell(kit.Put(1))
    with pytest.raises(PoisonMessage):
        poison.get(timeout=10)
    assert handled.wait(1) == [1]
    assert system.dead_letters.counts() == {"poison": 1}
    assert ref.stats().incarnation == 4


def test_an_unknown_message_is_a_dead_letter_and_its_asker_is_told(
    system: ActorSystem, kit: Any
) -> None:
    letters = Condition()
    end = system.dead_letters.subscribe(letters.add)
    ref: ActorRef[Any] = system.spawn(kit.Store)
    ref.tell(kit.Other())
    with pytest.raises(UnknownMessage):
        ref.ask(kit.Other()).get(timeout=10)
    assert [letter.reason for letter in letters.wait(2)] == ["unknown", "unknown"]
    assert system.dead_letters.newest()[0].body == msgspec.msgpack.encode(kit.Other())
    end()
    ref.tell(kit.Other())
    ref.ask(kit.Take()).get(timeout=10)
    assert (len(letters.values), len(system.dead_letters)) == (2, 3)


def test_what_cannot_be_encoded_is_refused_to_the_sender(system: ActorSystem, kit: Any) -> None:
    ref: ActorRef[Any] = system.spawn(kit.Store)
    with pytest.raises(TypeError):
        ref.tell(object())


def test_a_refused_tell_is_a_dead_letter_and_no_crash(system: ActorSystem, kit: Any) -> None:
    class Refuses(kit.Store):
        def handle(self, message: kit.Message) -> Any:
            if isinstance(message, kit.Put):
                raise InvalidInput("no")
            return super().handle(message)

    ref = system.spawn(Refuses)
    ref.tell(kit.Put(1))
    ref.ask(kit.Take()).get(timeout=10)
    assert system.dead_letters.counts() == {"refused": 1}
    assert ref.stats().incarnation == 1


def test_a_class_without_tags_is_refused_when_it_is_defined() -> None:
    class Untagged(msgspec.Struct):
        pass

    with pytest.raises(TypeError, match="needs a tag"):

        class Bad(Actor[Untagged]):
            messages = Untagged


def test_an_actor_serves_one_message_at_a_time_also_while_it_awaits(
    system: ActorSystem, kit: Any
) -> None:
    log: list[str] = []

    class Slow(kit.Store):
        async def handle(self, message: kit.Message) -> Any:
            log.append("begin")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            log.append("end")
            return kit.Answer([])

    ref = system.spawn(Slow)
    asks = [ref.ask(kit.Take()) for _ in range(5)]
    assert [ask.get(timeout=10) for ask in asks] == [kit.Answer([])] * 5
    assert log == ["begin", "end"] * 5


def test_kill_cancels_a_coroutine_in_hand_and_its_message_comes_again(
    system: ActorSystem, kit: Any
) -> None:
    begun = Condition()

    class Slow(kit.Store):
        async def handle(self, message: kit.Message) -> Any:
            begun.add()
            if self.incarnation == 1:
                await asyncio.Event().wait()
            return kit.Answer([self.incarnation])

    ref = system.spawn(Slow)
    ask = ref.ask(kit.Take())
    begun.wait(1)
    ref.kill()
    assert ask.get(timeout=10) == kit.Answer([2])


def test_a_coroutine_on_a_thread_is_a_fault(system: ActorSystem, kit: Any) -> None:
    class Wrong(kit.Store):
        dispatcher_kind = "thread"

        async def handle(self, message: kit.Message) -> Any:
            return None

    with pytest.raises(PoisonMessage):
        system.spawn(Wrong).ask(kit.Take()).get(timeout=10)


def test_a_deferred_reply_comes_later(system: ActorSystem, kit: Any) -> None:
    ref = system.spawn(partial(kit.Deferring, Condition()))
    first, second = ref.ask(kit.Take()), ref.ask(kit.Take())
    ref.tell(kit.Put(7))
    assert first.get(timeout=10) == second.get(timeout=10) == kit.Answer([7, 1])


def test_what_was_deferred_at_a_crash_is_delivered_to_the_next_instance(
    system: ActorSystem, kit: Any
) -> None:
    handled = Condition()
    ref = system.spawn(partial(kit.Deferring, handled))
    ask = ref.ask(kit.Take())
    handled.wait(1)
    ref.tell(kit.Crash())
    handled.wait(2)
    ref.tell(kit.Put(7))
    assert ask.get(timeout=10) == kit.Answer([7, 2])


def test_what_was_deferred_at_the_final_stop_is_answered_with_actor_stopped(
    system: ActorSystem, kit: Any
) -> None:
    handled = Condition()
    ref = system.spawn(partial(kit.Deferring, handled))
    ask = ref.ask(kit.Take())
    handled.wait(1)
    ref.stop()
    with pytest.raises(ActorStopped):
        ask.get(timeout=10)


def test_a_kill_during_a_start_costs_one_instance(system: ActorSystem, kit: Any) -> None:
    begun = Condition()

    class Slow(kit.Store):
        async def on_start(self) -> None:
            begun.add()
            if self.incarnation == 1:
                await asyncio.Event().wait()

        def handle(self, message: kit.Message) -> Any:
            return kit.Answer([self.incarnation])

    ref = system.spawn(Slow)
    begun.wait(1)
    ref.kill()
    assert ref.ask(kit.Take()).get(timeout=10) == kit.Answer([2])
    assert ref.ask(kit.Take()).get(timeout=10) == kit.Answer([2])


def test_the_end_of_a_slice_is_told_once_per_slice(system: ActorSystem, kit: Any) -> None:
    class Flushing(kit.Store):
        def on_start(self) -> None:
            self.unflushed = 0

        def handle(self, message: kit.Message) -> Any:
            self.unflushed += 1

        def on_slice_end(self) -> None:
            if self.unflushed:
                self.handled.add(self.unflushed)
                self.unflushed = 0

    with_seed = SeededDispatcher()
    simulated = ActorSystem(dispatcher=with_seed, clock=with_seed.clock)
    simulated.start()
    handled = Condition()
    ref = simulated.spawn(partial(Flushing, handled))
    for value in range(100):
        ref.tell(kit.Put(value))
    with_seed.run_until_idle()
    assert handled.values == [100]
    assert simulated.stop()
    with_seed.close()


def test_a_timer_reaches_only_the_instance_that_set_it(kit: Any) -> None:
    class Timing(kit.Store):
        def on_start(self) -> None:
            self.schedule(1.0, kit.Put(self.incarnation))

    dispatcher = SeededDispatcher()
    simulated = ActorSystem(dispatcher=dispatcher, clock=dispatcher.clock)
    simulated.start()
    handled = Condition()
    ref = simulated.spawn(partial(Timing, handled))
    dispatcher.advance(0.5)
    ref.kill()
    dispatcher.advance(5.0)
    assert handled.values == [2]
    ref.tell(kit.Put(3), incarnation=1)
    ref.tell(kit.Put(4), incarnation=2)
    dispatcher.run_until_idle()
    assert handled.values == [2, 4]
    assert ref.stats().stale == 1
    assert simulated.stop()
    dispatcher.close()


def test_a_header_travels_with_its_message(system: ActorSystem, kit: Any) -> None:
    headers = Condition()

    class Reads(kit.Store):
        def handle(self, message: kit.Message) -> Any:
            headers.add(self.header)

    ref = system.spawn(Reads)
    ref.tell(kit.Put(1))
    ref.tell(kit.Put(2), header=Header(sender="me", trace={"traceparent": "00-1"}))
    ref.ask(kit.Put(3), timeout=60)
    plain, told, asked = headers.wait(3)
    assert plain == Header()
    assert (told.sender, told.trace, told.attempt) == ("me", {"traceparent": "00-1"}, 1)
    assert asked.deadline is not None


def test_the_wire_form_of_an_envelope_holds_the_body_unchanged(kit: Any) -> None:
    body = msgspec.msgpack.encode(kit.Put(1))
    header = Header(id="7", sender="a", deadline=12.5, attempt=2, trace={"k": "v"})
    assert unpack(pack(body, header)) == (header, body)
    assert unpack(pack(body)) == (Header(), body)


def test_a_probe_remembers(system: ActorSystem, kit: Any) -> None:
    class PutProbe(Probe):
        messages = kit.Put

    seen: list[Any] = []
    ref = system.spawn(partial(PutProbe, seen, lambda message: message.value + 1))
    assert ref.ask(kit.Put(1)).get(timeout=10) == 2
    assert seen == [kit.Put(1)]
