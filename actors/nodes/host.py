"""Where users' code runs: the host's own event loop, or a loop of ours, and a pool of threads."""

import asyncio
import importlib
import inspect
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from greenroom.actors.nodes.pool import PoolCall, SyncPool
from greenroom.protocol.errors import RuntimeNotRunning
from greenroom.protocol.limits import SYNC_THREADS_DEFAULT

logger = logging.getLogger("greenroom.nodes")

T = TypeVar("T")
OnDone = Callable[[Any, BaseException | None], object]

_EAGER: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class NodesHost:
    """Runs users' code for one runtime.

    `start()` on a thread with a running event loop binds to that loop, because the host's clients
    and connections live there; anywhere else it starts a loop of its own on a daemon thread. Plain
    functions go to `pool`. Everything handed over between two turns of the loop costs one wake-up.
    """

    def __init__(self, threads: int = SYNC_THREADS_DEFAULT, *, uvloop: bool = False) -> None:
        self.pool = SyncPool(threads)
        self._uvloop = uvloop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._thread_id: int | None = None
        self._inbox: deque[Callable[[], object]] = deque()
        self._woken = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._releases: set[Callable[[], None]] = set()  # of those who wait for the pool

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that async code runs on. Raises RuntimeNotRunning before `start`."""
        if self._loop is None:
            raise RuntimeNotRunning("nodes run only in a started runtime")
        return self._loop

    @property
    def thread_id(self) -> int | None:
        """The thread of the loop, for a watchdog; None before `start`."""
        return self._thread_id

    @property
    def degraded(self) -> bool:
        """True while so many plain functions hang that their threads are not replaced any more."""
        return self.pool.degraded

    def start(self) -> None:
        """Bind to the running loop of this thread, or start one; returns when it runs."""
        if self._loop is not None:
            return
        running = asyncio._get_running_loop()
        if running is not None:
            self._loop = running
            self._thread_id = threading.get_ident()
            return
        loop = self._new_loop()
        ready = threading.Event()
        loop.call_soon(ready.set)
        self._thread = threading.Thread(
            target=self._run_loop, args=(loop,), name="greenroom-nodes", daemon=True
        )
        self._thread.start()
        ready.wait()
        self._thread_id = self._thread.ident
        self._loop = loop

    def call_soon(self, run: Callable[[], object]) -> bool:
        """Have `run` called on the nodes' loop, in order; from any thread, never blocking.

        False when that loop is closed, or not started: `run` will not be called.
        """
        loop = self._loop
        if loop is None:
            return False
        self._inbox.append(run)
        if not self._woken:
            self._woken = True
            try:
                loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._woken = False
                self._inbox.clear()
                logger.warning("the event loop that nodes run on is closed")
                return False
        return True

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], done: OnDone) -> None:
        """Call a user's function where it belongs and then `done(value, error)`; from any thread.

        A coroutine function runs as a task on the loop, any other in the pool; an awaitable that it
        returns is awaited on the loop. `done` must not raise, and runs where the call ended. It is
        never called when the loop is closed before that.
        """
        if is_async(function):
            self.call_soon(lambda: self.spawn(_await_call(function, arguments, done)))
            return

        def run() -> None:
            try:
                value = function(*arguments)
            except BaseException as error:  # noqa: BLE001  user code; reported to `done`
                done(None, error)
                return
            if inspect.isawaitable(value):
                self.call_soon(lambda: self.spawn(_await_call(_awaited, (value,), done)))
            else:
                done(value, None)

        if self.pool.submit(run) is None:
            done(None, RuntimeNotRunning(NO_THREAD))

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `coroutine` as a task; on the nodes' loop only. It should report its own errors.

        It runs at once up to its first suspension where Python can do that properly (3.12 and
        later), so a coroutine that never waits costs no turn of the loop.
        """
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=self.loop, **_EAGER)
        if task.done():
            self._discard(task)
            return task
        self._tasks.add(task)  # a loop holds its tasks only weakly
        task.add_done_callback(self._discard)
        return task

    async def in_pool(self, function: Callable[[], T]) -> T:
        """Call a function of ours that may block in the pool. Any event loop.

        Raises what it raises, and RuntimeNotRunning when `stop` comes before its end.
        """
        nodes_loop, here = self.loop, asyncio.get_running_loop()
        hand_over = self.call_soon if here is nodes_loop else here.call_soon_threadsafe
        future: asyncio.Future[T] = here.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def run() -> None:
            try:
                value = function()
            except BaseException as error:  # noqa: BLE001  raised again where it is awaited
                failure = error
                hand_over(lambda: settle(None, failure))
            else:
                hand_over(lambda: settle(value, None))

        def release() -> None:
            hand_over(lambda: settle(None, RuntimeNotRunning(STOPPED)))

        self._releases.add(release)  # first: a `stop` from now on finds it
        try:
            call = self.pool.submit(run)
            if call is None:
                raise RuntimeNotRunning(NO_THREAD)
            return await future
        except asyncio.CancelledError:
            if call is not None:
                self.pool.abandon(call)
            raise
        finally:
            self._releases.discard(release)

    def abandon(self, call: PoolCall) -> None:
        """Wait no longer for a call in the pool; its place is given to another thread."""
        self.pool.abandon(call)

    def stop(self, timeout_s: float = 1.0) -> None:
        """Cancel what runs, close the pool and end a loop of ours, waiting at most `timeout_s`.

        A plain function that hangs is left behind. From any thread but that of a loop of ours;
        a second call changes nothing.
        """
        self.pool.close()
        for release in list(self._releases):
            release()
        self.call_soon(self._cancel_tasks)
        loop, self._loop = self._loop, None
        if self._thread is not None and loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(timeout_s)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        if not self._uvloop:
            return asyncio.new_event_loop()
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
        return loop

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            self._cancel_tasks()
            if self._tasks:
                loop.run_until_complete(asyncio.wait(self._tasks, timeout=0.5))
        finally:
            loop.close()

    def _drain(self) -> None:
        # The flag falls first: who adds after this sees it down and wakes the loop again.
        self._woken = False
        inbox = self._inbox
        for _ in range(len(inbox)):
            run = inbox.popleft()
            try:
                run()
            except Exception:  # the loop's border; the others of the batch go on
                logger.exception("a call handed to the nodes' loop failed")

    def _cancel_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def _discard(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task on the nodes' loop failed", exc_info=error)


STOPPED: Final = "the runtime stopped before the end of the call"
NO_THREAD: Final = "no thread is left for plain functions: too many of them hang"


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling `function` gives a coroutine; sees through partials and `__call__`."""
    if inspect.iscoroutinefunction(function):
        return True
    return not inspect.isroutine(function) and inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  an object's own async __call__
    )


async def _await_call(
    function: Callable[..., Any], arguments: tuple[Any, ...], done: OnDone
) -> None:
    try:
        value = await function(*arguments)
    except GeneratorExit:
        raise  # the loop is closed and this coroutine with it: nobody is left to tell
    except BaseException as error:  # noqa: BLE001  user code; reported to `done`
        done(None, error)
    else:
        done(value, None)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
