"""The reply future: the first outcome wins, awaiting never blocks a loop, blocking on a loop is
refused.
"""

import asyncio
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import pykka

from greenroom.actors.kernel.clock import Clock
from greenroom.protocol.errors import AskTimedOut

logger = logging.getLogger("greenroom.future")

T = TypeVar("T")
ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)

_PENDING = object()


class FutureTimedOut(AskTimedOut, pykka.Timeout):
    """No outcome in time. Also a `TimeoutError` and a `pykka.Timeout`, whatever the caller looks
    for.
    """


class Future(pykka.Future[T]):
    """A value that comes later. Settled once, from any thread; every later outcome is ignored.

    `set` and `set_exception` keep pykka's rule and raise `queue.Full` the second time; the kernel
    itself uses `settle` and `settle_exception`, which answer False instead. With a `deadline`
    (monotonic seconds of `clock`) the future settles itself with `FutureTimedOut` as soon as
    someone looks at it after that; `timer(delay, fn)` makes it do so for a mere callback too.
    """

    def __init__(
        self,
        *,
        deadline: float | None = None,
        clock: Clock | None = None,
        timer: Callable[[float, Callable[[], object]], object] | None = None,
        would_block_itself: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._value: Any = _PENDING
        self._failure: Any = None
        self._callbacks: list[Callable[[], None]] | None = None
        self._deadline = deadline
        self._clock = clock
        self._timer = timer
        self._would_block_itself = would_block_itself
        self._hook_lock: threading.Lock | None = None

    def __repr__(self) -> str:
        return "<pykka.Future>"

    def done(self) -> bool:
        """True once there is an outcome: a value, an exception or a cancellation."""
        return self._value is not _PENDING or self._failure is not None

    def cancelled(self) -> bool:
        """True if `cancel` came first."""
        failure = self._failure
        return failure is not None and failure[0] is CancelledError

    def exception(self) -> BaseException | None:
        """The exception of a settled future, or None; None too while there is no outcome."""
        failure = self._failure
        if failure is None:
            return None
        kind, error, _ = failure
        result: BaseException = kind() if error is None else error
        return result

    def settle(self, value: T) -> bool:
        """Give the value if there is no outcome yet; False if another outcome was first."""
        return self._settle(value, None)

    def settle_exception(self, error: BaseException) -> bool:
        """Give an exception if there is no outcome yet; False if another outcome was first."""
        return self._settle(_PENDING, (type(error), error, error.__traceback__))

    def cancel(self) -> bool:
        """Nobody waits any more: a receiver that has not begun the request skips it. False if it
        was settled.
        """
        return self.settle_exception(CancelledError("the request was cancelled"))

    def _settle(self, value: Any, failure: Any) -> bool:
        with self._lock:
            if self._value is not _PENDING or self._failure is not None:
                return False
            self._value = value
            self._failure = failure
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()
        return True

    def set(self, value: T | None = None) -> None:
        """As pykka: raises `queue.Full` if there is an outcome or a hook already."""
        if self._get_hook is not None or not self._settle(value, None):
            raise queue.Full

    def set_exception(self, exc_info: Any = None) -> None:
        """As pykka: takes `sys.exc_info()` or its tuple; raises `queue.Full` the second time."""
        assert exc_info is None or len(exc_info) == 3
        failure = sys.exc_info() if exc_info is None else exc_info
        if failure[0] is None:
            raise ValueError("set_exception() outside an except block needs an exc_info")
        if self._get_hook is not None or not self._settle(_PENDING, failure):
            raise queue.Full

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """As pykka: compute the value in `get`; at most once, and never while another `get` is
        locked out of its timeout.
        """
        if self.done():
            raise queue.Full
        self._hook_lock = threading.Lock()
        super().set_get_hook(func)

    def add_done_callback(self, callback: Callable[["Future[T]"], object]) -> None:
        """Call `callback(self)` once there is an outcome: on the settling thread, or here and now.
        Must not raise.
        """

        def run() -> None:
            try:
                callback(self)
            except Exception:
                logger.exception("a callback of a future failed")

        if not self._on_settled(run):
            run()
        elif self._deadline is not None and self._timer is not None:
            self._timer(max(self._remaining() or 0.0, 0.0), self._expire)

    def _on_settled(self, callback: Callable[[], None]) -> bool:
        """Register for the outcome; False if it is there already."""
        with self._lock:
            if self._value is not _PENDING or self._failure is not None:
                return False
            if self._callbacks is None:
                self._callbacks = [callback]
            else:
                self._callbacks.append(callback)
            return True

    def _remaining(self) -> float | None:
        if self._deadline is None or self._clock is None:
            return None
        return self._deadline - self._clock.monotonic()

    def _expire(self) -> None:
        self.settle_exception(FutureTimedOut("no reply within the time given to ask()"))

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for the value; raises the exception, `concurrent.futures.CancelledError` or
        `FutureTimedOut`.

        On a thread that runs an event loop this raises RuntimeError unless there is an outcome
        already: blocking would stop the loop, and often with it the very actor that is to answer.
        """
        if self._get_hook is not None:
            return self._get_hooked(timeout)
        if not self.done():
            self._refuse_deadlock()
            self._wait(timeout)
        return self._outcome()

    def _refuse_deadlock(self) -> None:
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "get() would block this event loop for ever or for long: await the future instead"
            )
        if self._would_block_itself is not None and self._would_block_itself():
            raise RuntimeError("an actor waits for its own answer: it would wait for ever")

    def _wait(self, timeout: float | None) -> None:
        gate = threading.Lock()
        gate.acquire()
        if not self._on_settled(gate.release):
            return
        remaining = self._remaining()
        if remaining is not None and (timeout is None or remaining <= timeout):
            if not gate.acquire(timeout=max(remaining, 0.0)):
                self._expire()
        elif not gate.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            raise FutureTimedOut(f"{timeout} seconds")

    def _outcome(self) -> T:
        failure = self._failure
        if failure is None:
            value: T = self._value
            return value
        kind, error, traceback = failure
        if error is None:
            error = kind()
        raise error.with_traceback(traceback)

    def _get_hooked(self, timeout: float | None) -> T:
        lock = self._hook_lock
        assert lock is not None
        assert self._get_hook is not None
        began = time.monotonic()
        if not lock.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            raise FutureTimedOut(f"{timeout} seconds")
        try:
            left = None if timeout is None else max(timeout - (time.monotonic() - began), 0.0)
            if not self.done():
                self._settle(self._get_hook(left), None)
        finally:
            lock.release()
        return self._outcome()

    def __await__(self) -> Generator[Any, None, T]:
        if self._get_hook is not None and not self.done():
            # A hook blocks, so it gets a thread; a daemon, because one that never returns must not
            # keep the process.
            relay: Future[T] = Future()
            threading.Thread(target=_run_hook, args=(self, relay), daemon=True).start()
            return (yield from relay.__await__())
        if not self.done():
            yield from self._suspend()
        return self._outcome()

    __iter__ = __await__

    def _suspend(self) -> Generator[Any, None, None]:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def release() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def settled() -> None:
            if asyncio._get_running_loop() is loop:
                release()
                return
            try:
                loop.call_soon_threadsafe(release)
            except RuntimeError:
                # The waiter's loop was closed under it: there is no one left to tell.
                logger.debug("the loop that awaited a reply is closed")

        if not self._on_settled(settled):
            return
        remaining = self._remaining()
        timer = None if remaining is None else loop.call_later(max(remaining, 0.0), self._expire)
        try:
            yield from waiter
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()


def _run_hook(source: Future[T], target: Future[T]) -> None:
    try:
        target.settle(source.get())
    except BaseException as error:  # noqa: BLE001  the border of the thread; the waiter gets it
        target.settle_exception(error)
