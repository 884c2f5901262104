"""How much one entry point lets in: the gate before a stream's mailbox.

The gate is asked on the caller's own thread, so a full queue costs the caller one exception and the
runtime nothing at all: no message, no task, no memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from greenroom.actors.kernel.clock import Clock, SystemClock
from greenroom.actors.kernel.synchronisation import new_lock
from greenroom.protocol.admission_errors import RateLimited
from greenroom.protocol.entry_point import EntryPointSpec, Overflow
from greenroom.protocol.errors import (
    GreenroomError,
    Overloaded,
    RuntimeStopped,
    StoreStalled,
    StreamUnavailable,
)
from greenroom.protocol.limits import BLOCKED_CALLERS_MAX
from greenroom.protocol.rate_limit import Bucket

CLOCK: Final = SystemClock()
RETRY_AFTER_S: Final = 1.0  # a hint: a queue that is full now has usually moved on within a second


@dataclass(slots=True, eq=False)
class _Caller:
    """Who waits for a place, on its own event loop."""

    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[None]"
    execution_id: str
    places: int
    let_in: bool = False  # the place is its own already, also if it does not know yet


class AdmissionGate:
    """Bounds what one entry point has accepted but not yet started. Any thread.

    `max_queued` executions may wait; while fewer than `max_concurrent` run, the free places count
    too, so that a queue of 0 still lets through what can start at once. A rate limit's bucket is
    full when the runtime starts.
    """

    def __init__(self, spec: EntryPointSpec, clock: Clock = CLOCK) -> None:
        self._entry_point = spec.id
        self._max_queued = spec.max_queued
        self._max_concurrent = spec.max_concurrent
        self._drops = spec.overflow is Overflow.DROP_OLDEST  # the stream makes room
        self.blocks = spec.overflow is Overflow.BLOCK
        self._rate = spec.rate
        self._bucket = None if spec.rate is None else Bucket(spec.rate, clock.monotonic())
        self._clock = clock
        self._lock = new_lock()
        self._reserved = 0  # between the caller's call and the stream's answer
        self._queued = 0
        self._running = 0
        self._callers: deque[_Caller] = deque()  # in the order in which they came
        self._closed: str | None = None
        self._ended = False
        self.refused = 0
        self.rate_limited = 0
        self.stalled = False  # the store's writer does not answer

    @property
    def rated(self) -> bool:
        """True with a rate limit."""
        return self._bucket is not None

    @property
    def blocked(self) -> int:
        """How many callers wait for a place."""
        return len(self._callers)

    def check(self) -> None:
        """Raise what a new trigger would get now. Cheap: asked before anything is encoded.

        Raises Overloaded, RateLimited, StreamUnavailable, StoreStalled.
        """
        self._check_up()
        if self._bucket is not None:
            with self._lock:
                self._check_rate(1)
        if not self._has_room(1) and not (self.blocks and self.blocked < BLOCKED_CALLERS_MAX):
            raise self.refusal()

    def try_reserve(self, count: int = 1) -> bool:
        """Take places if there are so many; False when there are not, or others wait for them.

        Raises RateLimited, StreamUnavailable, StoreStalled.
        """
        with self._lock:
            self._check_up()
            self._check_rate(count)
            if self._callers or not self._has_room(count):
                return False
            self._reserved += count
            self._pay(count)
            return True

    async def wait_for_place(
        self, execution_id: str, timeout_s: float | None, places: int = 1
    ) -> None:
        """Take places as soon as there are so many, after all who came before; any event loop.

        Cancelling it leaves nothing behind. Raises Overloaded after `timeout_s`, when too many
        wait, or for more places than there are, RuntimeStopped, and as `try_reserve`.
        """
        loop = asyncio.get_running_loop()
        caller = _Caller(loop, loop.create_future(), execution_id, places)
        with self._lock:
            self._check_up()
            if self._ended:
                raise RuntimeStopped(execution_id)
            never = places > self._max_queued + self._max_concurrent
            if never or len(self._callers) >= BLOCKED_CALLERS_MAX:
                raise self.refusal()
            self._check_rate(places)
            self._pay(places)
            self._callers.append(caller)
            self._let_in()  # one may have come free since the caller asked
        try:
            async with asyncio.timeout(timeout_s):
                await caller.future
        except BaseException as error:
            self._leave(caller)
            if isinstance(error, TimeoutError):
                raise self.refusal() from None
            raise

    def refusal(self) -> Overloaded:
        """Count a refusal, and return it."""
        self.refused += 1
        taken = self._reserved + self._queued
        return Overloaded(self._entry_point, taken, self._max_queued, RETRY_AFTER_S)

    def release(self, *, accepted: bool) -> None:
        """Give back a reserved place: the stream has answered, and will publish its numbers."""
        with self._lock:
            self._give_back(accepted=accepted)

    def withdraw(self, places: int) -> None:
        """Give back reserved places of triggers that were never sent."""
        with self._lock:
            self._give_back(accepted=False, places=places)
            self._let_in()

    def publish(self, queued: int, running: int) -> None:
        """The stream's present numbers. Recovered work does not count against the bound."""
        self._queued = queued
        self._running = running
        if self._callers:
            with self._lock:
                self._let_in()

    def close(self, reason: str) -> None:
        """Refuse everything until `open`: the stream is down, and owes nobody an answer."""
        with self._lock:
            self._closed = reason
            self._reserved = 0
            self._send_away(lambda caller: self._down())

    def open(self) -> None:
        """Accept again."""
        self._closed = None

    def end(self) -> None:
        """The runtime stops: nobody waits any more."""
        with self._lock:
            self._ended = True
            self._send_away(lambda caller: RuntimeStopped(caller.execution_id))

    # --- with the lock held

    def _check_up(self) -> None:
        if self._closed is not None:
            raise self._down()
        if self.stalled:
            raise StoreStalled("the store does not answer now; nothing was accepted: try again")

    def _down(self) -> StreamUnavailable:
        return StreamUnavailable(
            f"entry point {self._entry_point!r} is down ({self._closed}): "
            "bring it back with restart_stream()"
        )

    def _check_rate(self, count: int) -> None:
        if self._bucket is None:
            return
        wait_s = self._bucket.wait_s(self._clock.monotonic(), count)
        if wait_s > 0:
            self.rate_limited += 1
            raise RateLimited(self._entry_point, str(self._rate), wait_s)

    def _has_room(self, count: int) -> bool:
        free = self._max_concurrent - self._running
        taken = self._reserved + (0 if self._drops else self._queued)
        return taken + count <= self._max_queued + (free if free > 0 else 0)

    def _pay(self, count: int) -> None:
        if self._bucket is not None:
            self._bucket.take(count)

    def _repay(self, count: int) -> None:
        if self._bucket is not None:
            self._bucket.give_back(count)

    def _give_back(self, *, accepted: bool, places: int = 1) -> None:
        self._reserved = max(0, self._reserved - places)  # `close` may have given it back already
        if not accepted:
            self._repay(places)

    def _let_in(self) -> None:
        while self._callers and self._has_room(self._callers[0].places):
            caller = self._callers.popleft()
            if _call(caller, _resolve):
                caller.let_in = True
                self._reserved += caller.places
            else:
                self._repay(caller.places)

    def _leave(self, caller: _Caller) -> None:
        with self._lock:
            if caller.let_in:
                self._give_back(accepted=False, places=caller.places)
                self._let_in()
                return
            self._repay(caller.places)
            if caller in self._callers:
                self._callers.remove(caller)

    def _send_away(self, error: Callable[[_Caller], GreenroomError]) -> None:
        while self._callers:
            caller = self._callers.popleft()
            _call(caller, partial(_reject, error=error(caller)))


def _call(caller: _Caller, what: Callable[["asyncio.Future[None]"], None]) -> bool:
    try:
        caller.loop.call_soon_threadsafe(what, caller.future)
    except RuntimeError:  # its loop was closed, and it is gone with it
        return False
    return True


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _reject(future: "asyncio.Future[None]", error: GreenroomError) -> None:
    if not future.done():
        future.set_exception(error)
