"""For tests: time that stands still, a loop whose order a seed decides, an actor that remembers."""

import asyncio
import random
import selectors
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.dispatcher import TimerHandle, run_reported

EPOCH = 1_700_000_000.0


class VirtualClock:
    """A clock that moves only by `advance`."""

    def __init__(self, start: float = 0.0, epoch: float = EPOCH) -> None:
        self._elapsed = start
        self._epoch = epoch

    def now(self) -> float:
        return self._epoch + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move time on. With a SeededDispatcher use its own `advance`, which also runs what falls
        due.
        """
        self._elapsed += seconds


class _IdleSelector(selectors.DefaultSelector):
    """Never waits: where a loop would sleep, virtual time goes on, or the loop stops."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.until = 0.0
        self.on_idle: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        now = self._clock.monotonic()
        if timeout is not None and now + timeout <= self.until + 1e-9:
            self._clock.advance(timeout)
        else:
            self.on_idle()
        return ready


class SeededDispatcher:
    """Runs a whole system on the calling thread, in an order that the seed decides, in virtual
    time.

    Give it to ActorSystem as `dispatcher`, and its `clock` too. Nothing runs until `run_until_idle`
    or `advance`. Actors of both kinds run on it. Of the slices that are ready, the seed picks the
    next; each actor's own messages keep their order.
    """

    def __init__(self, seed: int = 0, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.random = random.Random(seed)
        self._selector = _IdleSelector(self.clock)
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._loop.time = self.clock.monotonic  # type: ignore[method-assign]
        self._selector.on_idle = self._loop.stop
        self._ready: deque[Callable[[], object]] = deque()
        self._armed = False
        self._ident = threading.get_ident()
        self._running = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop

    @property
    def thread_id(self) -> int | None:
        return self._ident

    def is_current_thread(self) -> bool:
        return self._running and threading.get_ident() == self._ident

    def start(self) -> None:
        """Nothing to start."""

    def stop(self, timeout: float) -> bool:
        """Nothing to stop: whoever made the dispatcher calls `close`."""
        return True

    def close(self) -> None:
        """Run what is ready and close the loop."""
        self.run_until_idle()
        self._loop.close()

    def call_soon(self, function: Callable[[], object]) -> None:
        self._ready.append(function)
        if not self._armed and not self._loop.is_closed():
            self._armed = True
            self._loop.call_soon(self._run_one)

    def _run_one(self) -> None:
        ready = self._ready
        ready.rotate(-self.random.randrange(len(ready)))
        function = ready.popleft()
        if ready:
            self._loop.call_soon(self._run_one)
        else:
            self._armed = False
        run_reported(function)

    def call_later(self, delay_s: float, function: Callable[[], object]) -> TimerHandle:
        handle = TimerHandle(function)
        self._loop.call_later(max(delay_s, 0.0), handle.run)
        return handle

    def run_until_idle(self) -> None:
        """Run everything that needs no time to pass."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Run everything up to `seconds` from now, moving the clock from one timer to the next."""
        target = self.clock.monotonic() + seconds
        self._selector.until = target
        self._running = True
        try:
            self._loop.run_forever()
        finally:
            self._running = False
        self.clock.advance(target - self.clock.monotonic())


class Probe(Actor[Any]):
    """An actor that remembers what it was told and answers each ask with `answer(message)`.

    Subclass it with the `messages` to accept. `seen` belongs to the list given at creation, so it
    can be shared by all instances and read from outside.
    """

    messages: ClassVar[Any] = None

    def __init__(
        self, seen: list[Any] | None = None, answer: Callable[[Any], Any] = lambda message: None
    ) -> None:
        super().__init__()
        self.seen: list[Any] = [] if seen is None else seen
        self._answer = answer

    def handle(self, message: Any) -> Any:
        self.seen.append(message)
        return self._answer(message)


class Do(msgspec.Struct, frozen=True, tag="do"):
    """Run the function that a Scripted actor was given under that name."""

    what: str
    items: list[int] = []


class Scripted(Actor[Do]):
    """Does what the functions it is given say: `name(actor, message)`, and the three hooks.

    The functions are shared by all instances; `on_failure` gets the actor and the error.
    """

    messages: ClassVar[Any] = Do

    def __init__(self, **script: Any) -> None:
        self.script = script

    def on_start(self) -> Any:
        return self.script.get("on_start", lambda actor: None)(self)

    def on_stop(self) -> Any:
        return self.script.get("on_stop", lambda actor: None)(self)

    def on_failure(self, *error: Any) -> Any:
        return self.script.get("on_failure", lambda actor, error: None)(self, error[1])

    def handle(self, message: Do) -> Any:
        return self.script[message.what](self, message)


class ScriptedThread(Scripted):
    dispatcher_kind = "thread"


class Condition:
    """Something that a test waits for: threads report it with `add`; nobody sleeps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.values: list[Any] = []

    def add(self, value: Any = None) -> None:
        """Report something that happened; any thread."""
        with self._changed:
            self.values.append(value)
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[list[Any]], bool], timeout: float = 10.0) -> list[Any]:
        """Wait until `predicate(values)` holds; returns the values. Raises TimeoutError after
        `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self.values), timeout):
                raise TimeoutError(f"not within {timeout} s; so far: {self.values!r}")
            return list(self.values)

    def wait(self, count: int = 1, timeout: float = 10.0) -> list[Any]:
        """Wait until there are `count` values."""
        return self.wait_for(lambda values: len(values) >= count, timeout)


def await_condition(
    predicate: Callable[[], bool], *, timeout: float = 10.0, step_s: float = 0.001
) -> None:
    """Wait for a condition that nobody reports, looking again in steps that grow. Raises
    TimeoutError.

    Prefer a future, an event or `Condition`. The wait is on an event, so that a test never sleeps
    blindly.
    """
    never = threading.Event()
    waited = 0.0
    while not predicate():
        if waited >= timeout:
            raise TimeoutError(f"the condition did not hold within {timeout} s")
        never.wait(step_s)
        waited += step_s
        step_s = min(step_s * 1.5, 0.05)
