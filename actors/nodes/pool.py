"""Our own pool of daemon threads for users' plain functions.

The executor of the standard library joins its threads when the interpreter exits, so one function
that never returns would keep the process alive for ever. These threads are daemons: they end with
the process.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from greenroom.protocol.limits import SYNC_ABANDONED_MAX, SYNC_THREADS_DEFAULT

logger = logging.getLogger("greenroom.nodes")

_WAITING: Final = 0
_RUNNING: Final = 1
_ABANDONED: Final = 2  # running, but nobody waits for it
_DONE: Final = 3


class PoolCall:
    """One call in a pool; made by `SyncPool.submit`, only good for `SyncPool.abandon`."""

    __slots__ = ("replaced", "run", "state", "urgent")

    def __init__(self, run: Callable[[], None], *, urgent: bool) -> None:
        self.run = run
        self.urgent = urgent
        self.state = _WAITING
        self.replaced = False


class SyncPool:
    """At most `size` calls at once, in the order in which they came; threads start when needed.

    A call that nobody waits for any more is abandoned: it goes on, since Python cannot stop it, but
    its place is given to a new thread, up to `abandoned_max` times at once. Past that the pool is
    `degraded`: abandoned calls keep their places until they return. Every method may be called from
    any thread and never blocks.
    """

    def __init__(
        self,
        size: int = SYNC_THREADS_DEFAULT,
        abandoned_max: int = SYNC_ABANDONED_MAX,
        name: str = "greenroom-sync",
    ) -> None:
        self._size = size
        self._abandoned_max = abandoned_max
        self._name = name
        self._condition = threading.Condition(threading.Lock())
        self._waiting: deque[PoolCall] = deque()
        self._threads = 0  # those that hold a place
        self._idle = 0
        self._replaced = 0
        self._stuck = 0  # abandoned calls that keep their place
        self._started = 0
        self._closed = False

    @property
    def degraded(self) -> bool:
        """True while more calls hang than threads may be replaced."""
        return self._stuck > 0

    @property
    def abandoned(self) -> int:
        """How many abandoned calls have not returned."""
        return self._replaced + self._stuck

    @property
    def threads(self) -> int:
        """How many threads hold a place now, busy or idle."""
        return self._threads

    def submit(self, run: Callable[[], None], *, urgent: bool = False) -> PoolCall | None:
        """Have `run` called on a thread of the pool; it must report its own errors.

        An urgent one never queues: when every place is taken it gets a thread above the size, which
        ends after it. That is for what others wait for inside the pool.

        Returns None, and does not take it, when every place is held by a call that hangs, or after
        `close`: it would wait for ever.
        """
        call = PoolCall(run, urgent=urgent)
        with self._condition:
            if self._closed or (self._stuck >= self._size and not urgent):
                return None
            if urgent:
                self._waiting.appendleft(call)
            else:
                self._waiting.append(call)
            if self._idle >= len(self._waiting):
                self._condition.notify()
            elif self._threads < self._size or urgent:
                self._start_thread()
        return call

    def abandon(self, call: PoolCall) -> None:
        """Wait no longer for `call`: take it out of the queue, or replace its thread."""
        with self._condition:
            if call.state == _WAITING:
                call.state = _DONE
                self._waiting.remove(call)
            elif call.state == _RUNNING:
                call.state = _ABANDONED
                if self._replaced >= self._abandoned_max:
                    self._stuck += 1
                    return
                call.replaced = True
                self._replaced += 1
                self._threads -= 1
                if self._waiting and not self._closed:
                    self._start_thread()

    def close(self) -> None:
        """Drop what waits and let idle threads end; a running call ends when it ends."""
        with self._condition:
            self._closed = True
            self._waiting.clear()
            self._condition.notify_all()

    def _start_thread(self) -> None:
        self._threads += 1
        self._started += 1
        name = f"{self._name}-{self._started}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (call := self._take()) is not None:
            try:
                call.run()
            except BaseException:  # the thread's border: its place must come free
                logger.exception("a call in the pool of threads raised instead of reporting")
            if not self._finish(call):
                return
            del call  # what it holds must not live on while the thread is idle

    def _take(self) -> PoolCall | None:
        with self._condition:
            while not self._waiting or self._threads > self._size:
                if self._waiting and self._waiting[0].urgent:
                    break
                if self._closed or self._threads > self._size:
                    self._threads -= 1
                    return None
                self._idle += 1
                self._condition.wait()
                self._idle -= 1
            call = self._waiting.popleft()
            call.state = _RUNNING
            return call

    def _finish(self, call: PoolCall) -> bool:
        """Note the end of `call`; False when its thread was replaced and has to end."""
        with self._condition:
            abandoned = call.state == _ABANDONED
            call.state = _DONE
            if not abandoned:
                return True
            if call.replaced:
                self._replaced -= 1
                return False
            self._stuck -= 1
            return True
