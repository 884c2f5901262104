"""Where actors run: a shared event loop in a thread of its own, or a thread for one actor that
blocks.
"""

import asyncio
import heapq
import importlib
import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

logger = logging.getLogger("greenroom.dispatcher")

RUN_READY_S: Final = 0.005
"""How long ready functions run before the loop looks at its sockets and timers again."""


class TimerHandle:
    """Ends a `call_later`, from any thread; a function that has begun is not stopped."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], object]) -> None:
        self._function: Callable[[], object] | None = function

    def cancel(self) -> None:
        self._function = None

    @property
    def cancelled(self) -> bool:
        return self._function is None

    def run(self) -> None:
        """For dispatchers: run the function unless it was cancelled."""
        function, self._function = self._function, None
        if function is not None:
            function()


class Dispatcher(Protocol):
    """Runs functions one at a time, in the order given. Functions report their own failures."""

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run `function` soon; any thread. After `stop` it is ignored."""
        ...

    def call_later(self, delay_s: float, function: Callable[[], object]) -> TimerHandle:
        """Run `function` after `delay_s` seconds; any thread."""
        ...

    def is_current_thread(self) -> bool:
        """True on the thread that runs the functions."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, or None if coroutines cannot run here."""
        ...

    @property
    def thread_id(self) -> int | None:
        """The running thread's identity, for the watchdog."""
        ...

    def start(self) -> None:
        """Begin; returns when functions can run. Raises RuntimeError if no thread can be had."""
        ...

    def stop(self, timeout: float) -> bool:
        """End after what is running now; False if that took longer than `timeout` seconds."""
        ...


def new_loop(*, uvloop: bool) -> asyncio.AbstractEventLoop:
    """An event loop; uvloop's if asked for and installed."""
    if uvloop:
        try:
            module = importlib.import_module("uvloop")
        except ImportError:
            logger.warning("uvloop is not installed: using asyncio's own loop")
        else:
            loop: asyncio.AbstractEventLoop = module.new_event_loop()
            return loop
    return asyncio.new_event_loop()


class LoopDispatcher:
    """One event loop in one daemon thread, shared by any number of actors.

    Functions from one batch cost one wake-up of the loop, whatever thread they come from.
    """

    def __init__(self, name: str = "greenroom-loop", *, uvloop: bool = False) -> None:
        self._name = name
        self._uvloop = uvloop
        self._lock = threading.Lock()
        self._ready: deque[Callable[[], object]] = deque()
        self._armed = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._stopping = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop

    @property
    def thread_id(self) -> int | None:
        return self._ident

    def is_current_thread(self) -> bool:
        return threading.get_ident() == self._ident

    def start(self) -> None:
        if self._thread is not None:
            return
        started = threading.Event()
        loop = new_loop(uvloop=self._uvloop)
        thread = threading.Thread(
            target=self._main, args=(loop, started), name=self._name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        self._thread = thread
        started.wait()

    def _main(self, loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
        self._ident = threading.get_ident()
        self._loop = loop
        asyncio.set_event_loop(loop)
        loop.call_soon(self._run_ready)
        loop.call_soon(started.set)
        while not self._stopping:
            try:
                loop.run_forever()
            except BaseException:
                # SystemExit of a task ends run_forever; every other actor of this loop still needs
                # it.
                logger.exception("something ended the loop of %s: it goes on", self._name)
        self._run_ready()
        self._close(loop)

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException:
            logger.exception("tasks of %s failed while it was closed", self._name)
        finally:
            loop.close()

    def call_soon(self, function: Callable[[], object]) -> None:
        with self._lock:
            self._ready.append(function)
            if self._armed:
                return
            self._armed = True
            loop = self._loop
            if loop is None or self._stopping:
                return
            if threading.get_ident() != self._ident:
                # Under the lock, so that stop() cannot close the loop in between.
                loop.call_soon_threadsafe(self._run_ready)
                return
        loop.call_soon(self._run_ready)

    def _run_ready(self) -> None:
        ready = self._ready
        until = time.monotonic() + RUN_READY_S
        for _ in range(len(ready)):
            run_reported(ready.popleft())
            if time.monotonic() > until:
                break
        with self._lock:
            if not ready:
                self._armed = False
                return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(self._run_ready)

    def call_later(self, delay_s: float, function: Callable[[], object]) -> TimerHandle:
        handle = TimerHandle(function)
        if self.is_current_thread():
            self._arm_timer(delay_s, handle)
        else:
            self.call_soon(lambda: self._arm_timer(delay_s, handle))
        return handle

    def _arm_timer(self, delay_s: float, handle: TimerHandle) -> None:
        if self._loop is not None and not self._loop.is_closed() and not handle.cancelled:
            self._loop.call_later(max(delay_s, 0.0), handle.run)

    def stop(self, timeout: float) -> bool:
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return True
        with self._lock:
            if not self._stopping:
                self._stopping = True
                loop.call_soon_threadsafe(loop.stop)
        if thread is threading.current_thread():
            return False
        thread.join(max(timeout, 0.0))
        return not thread.is_alive()


def run_reported(function: Callable[[], object]) -> None:
    """Run a function at the border of a dispatcher's thread: whatever it raises is reported and
    goes no further.
    """
    try:
        function()
    except BaseException:
        logger.exception("a function of a dispatcher failed: %r", function)


class ThreadDispatcher:
    """One daemon thread that runs one actor; for actors that block. No event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return None

    @property
    def thread_id(self) -> int | None:
        return None if self._thread is None else self._thread.ident

    def is_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def start(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._main, name=self._name, daemon=True)
        thread.start()
        self._thread = thread

    def call_soon(self, function: Callable[[], object]) -> None:
        if not self._stopping:
            self._queue.put(function)

    def call_later(self, delay_s: float, function: Callable[[], object]) -> TimerHandle:
        handle = TimerHandle(function)
        due = time.monotonic() + max(delay_s, 0.0)
        self.call_soon(lambda: heapq.heappush(self._timers, (due, next(self._order), handle)))
        return handle

    def _main(self) -> None:
        while True:
            timeout = self._timers[0][0] - time.monotonic() if self._timers else None
            try:
                function = self._queue.get(timeout=None if timeout is None else max(timeout, 0.0))
            except queue.Empty:
                run_reported(heapq.heappop(self._timers)[2].run)
                continue
            if function is None:
                return
            run_reported(function)

    def stop(self, timeout: float) -> bool:
        self._stopping = True
        self._queue.put(None)
        thread = self._thread
        if thread is None:
            return True
        if thread is threading.current_thread():
            return False
        thread.join(max(timeout, 0.0))
        return not thread.is_alive()
