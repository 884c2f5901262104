"""Messages between actors, beside stock pykka doing the same encoding and decoding.

Every rate is end to end: from the first send until the last message was handled.
"""

import functools
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pykka

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.system import ActorSystem

LISTENERS: Final = 100
_TIMEOUT_S: Final = 60.0
_MAILBOX: Final = 10_000_000
_TEXT: Final = "a printer on the second floor prints nothing but the letter e; " * 3


class Note(msgspec.Struct, frozen=True, tag="note"):
    """A message of about 280 bytes. One is built per measurement: building is the sender's own."""

    number: int
    sender: str = "session_20260101_000000_0badcafe"
    topic: str = "tickets/printers/second-floor"
    text: str = _TEXT


class Ball(msgspec.Struct, frozen=True, tag="ball"):
    """Goes to and fro until `left` is 0."""

    left: int
    note: Note


class Burst(msgspec.Struct, frozen=True, tag="burst"):
    """Tell every listener, `left` times over."""

    left: int


class _Tally:
    """Counts down to an event; one thread counts, without a call, which would cost as much as the
    rest of a handler.
    """

    def __init__(self, left: int) -> None:
        self.left = left
        self.done = threading.Event()

    def wait(self) -> None:
        if not self.done.wait(_TIMEOUT_S):
            raise TimeoutError(f"{self.left} messages were not handled in {_TIMEOUT_S:g} s")


class _Listener(Actor[Note]):
    messages = Note
    user_limit = _MAILBOX

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally

    def handle(self, message: Note) -> None:
        tally = self._tally
        tally.left -= 1
        if not tally.left:
            tally.done.set()


class _Echo(Actor[Note]):
    messages = Note

    def handle(self, message: Note) -> int:
        return message.number


class _Player(Actor[Ball]):
    messages = Ball

    def __init__(self, others: "list[ActorRef[Ball]]", tally: _Tally) -> None:
        self._others = others
        self._tally = tally

    def handle(self, message: Ball) -> None:
        tally = self._tally
        tally.left -= 1
        if not tally.left:
            tally.done.set()
        if message.left:
            self._others[0].tell(Ball(message.left - 1, message.note))


class _Hub(Actor[Burst]):
    messages = Burst

    def __init__(self, listeners: "list[ActorRef[Note]]") -> None:
        self._listeners = listeners

    def handle(self, message: Burst) -> None:
        note = Note(message.left)
        for listener in self._listeners:
            listener.tell(note)
        if message.left > 1:
            self.ref.tell(Burst(message.left - 1))


class _StockListener(pykka.ThreadingActor):
    use_daemon_thread = True

    def __init__(self, tally: _Tally) -> None:
        super().__init__()
        self._tally = tally
        self._decode = msgspec.msgpack.Decoder(Note).decode

    def on_receive(self, message: Any) -> None:
        self._decode(message)
        tally = self._tally
        tally.left -= 1
        if not tally.left:
            tally.done.set()


def tell(count: int) -> float:
    """Messages per second from a thread to an actor."""
    with ActorSystem("benchmark") as system:
        tally = _Tally(count)
        ref = _spawn(system, functools.partial(_Listener, tally))
        note = Note(count)
        begun = time.perf_counter()
        for _ in range(count):
            ref.tell(note)
        tally.wait()
        return count / (time.perf_counter() - begun)


def tell_stock_pykka(count: int) -> float:
    """The same, with pykka's own actor: encoded before the send, decoded on receipt."""
    tally = _Tally(count)
    encode = msgspec.msgpack.Encoder().encode
    ref = _StockListener.start(tally)
    try:
        note = Note(count)
        begun = time.perf_counter()
        for _ in range(count):
            ref.tell(encode(note))
        tally.wait()
        return count / (time.perf_counter() - begun)
    finally:
        ref.stop()


def ask(count: int) -> float:
    """Requests per second from a thread that waits for each answer."""
    with ActorSystem("benchmark") as system:
        ref = _spawn(system, _Echo)
        begun = time.perf_counter()
        for number in range(count):
            if ref.ask(Note(number)).get(timeout=_TIMEOUT_S) != number:
                raise RuntimeError("an answer belongs to another request")
        return count / (time.perf_counter() - begun)


def ping_pong(count: int) -> float:
    """Hops per second of one message between two actors."""
    with ActorSystem("benchmark") as system:
        tally = _Tally(count)
        there: list[ActorRef[Ball]] = []
        here: list[ActorRef[Ball]] = []
        there.append(_spawn(system, functools.partial(_Player, here, tally)))
        here.append(_spawn(system, functools.partial(_Player, there, tally)))
        begun = time.perf_counter()
        here[0].tell(Ball(count - 1, Note(0)))
        tally.wait()
        return count / (time.perf_counter() - begun)


def fan_out(count: int) -> float:
    """Messages per second from one actor to `LISTENERS` others, each decoding its own copy."""
    rounds = max(count // LISTENERS, 1)
    with ActorSystem("benchmark") as system:
        tally = _Tally(rounds * LISTENERS)
        listeners = [_spawn(system, functools.partial(_Listener, tally)) for _ in range(LISTENERS)]
        hub = _spawn(system, functools.partial(_Hub, listeners))
        begun = time.perf_counter()
        hub.tell(Burst(rounds))
        tally.wait()
        return rounds * LISTENERS / (time.perf_counter() - begun)


def _spawn(system: ActorSystem, factory: Callable[[], Actor[Any]]) -> ActorRef[Any]:
    ref = system.spawn(factory)
    ref.ready().get(timeout=_TIMEOUT_S)
    return ref
