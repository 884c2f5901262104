"""An actor system for each test, stopped and checked after it, and actors that tests share."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest

from greenroom.actors.kernel.actor import DEFERRED, Actor, Reply, Request
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition


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


class Deferring(Store):
    def __init__(self, handled: Condition) -> None:
        super().__init__(handled)
        self.waiting: list[Reply] = []

    def handle(self, message: Message) -> Any:
        match message:
            case Take():
                self.waiting.append(self.defer())
                self.handled.add("deferred")
                return DEFERRED
            case Put(value):
                for reply in self.waiting:
                    assert reply.wanted
                    reply.set(Answer([value, self.incarnation]))
                return None
            case Crash() if self.incarnation == 1:
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


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    """A running system; after the test it must stop, in order and in time."""
    with ActorSystem("test") as running:
        yield running
        assert running.stop(10.0), "an actor did not stop in order"


@pytest.fixture
def kit() -> SimpleNamespace:
    """The messages and actors above, by name: a test module cannot import them from here."""
    kinds = (Answer, Put, Take, Crash, Other, Store, Deferring, Batching)
    return SimpleNamespace(Message=Message, **{kind.__name__: kind for kind in kinds})
