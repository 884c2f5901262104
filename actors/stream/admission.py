"""How much may wait and how much may run: the gate before a stream's mailbox, and the permits.

The gate is asked on the caller's own thread, so a full queue costs the caller one exception and the
runtime nothing at all: no message, no task, no memory.
"""

import logging
from collections import deque
from typing import Final

from greenroom.actors.kernel.clock import Clock, SystemClock
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.synchronisation import new_lock
from greenroom.protocol.errors import (
    ActorStopped,
    Overloaded,
    StoreStalled,
    StreamUnavailable,
)
from greenroom.protocol.limits import PRIORITY_STEP_S
from greenroom.protocol.stream_messages import PermitFreed, StreamMessage

logger = logging.getLogger("greenroom.stream")

CLOCK: Final = SystemClock()
RETRY_AFTER_S = 1.0  # a hint: a queue that is full now has usually moved on within a second


class AdmissionGate:
    """Bounds what one entry point has accepted but not yet started. Any thread.

    `max_queued` executions may wait; while fewer than `max_concurrent` run, the free places count
    too, so that a queue of 0 still lets through what can start at once.
    """

    def __init__(self, entry_point: str, max_queued: int, max_concurrent: int) -> None:
        self._entry_point = entry_point
        self._max_queued = max_queued
        self._max_concurrent = max_concurrent
        self._lock = new_lock()
        self._reserved = 0  # between the caller's call and the stream's answer
        self._queued = 0
        self._running = 0
        self._closed: str | None = None
        self.refused = 0
        self.stalled = False  # the store's writer does not answer

    def check(self) -> None:
        """Raise as `reserve` would now. Cheap: a caller asks before it encodes anything.

        Raises Overloaded, StreamUnavailable, StoreStalled.
        """
        if self._closed is not None:
            raise StreamUnavailable(
                f"entry point {self._entry_point!r} is down ({self._closed}): "
                "bring it back with restart_stream()"
            )
        if self.stalled:
            raise StoreStalled("the store does not answer now; nothing was accepted: try again")
        if self._full():
            self.refused += 1
            raise Overloaded(
                self._entry_point, self._reserved + self._queued, self._max_queued, RETRY_AFTER_S
            )

    def reserve(self) -> None:
        """Take a place. Raises Overloaded, or StreamUnavailable while the stream is down."""
        with self._lock:
            self.check()
            self._reserved += 1

    def _full(self) -> bool:
        free = self._max_concurrent - self._running
        limit = self._max_queued + (free if free > 0 else 0)
        return self._reserved + self._queued >= limit

    def release(self) -> None:
        """Give back a reserved place: the execution was accepted, or refused."""
        with self._lock:
            self._reserved = max(0, self._reserved - 1)  # `close` may have given it back already

    def publish(self, queued: int, running: int) -> None:
        """The stream's present numbers. Recovered work does not count against the bound."""
        self._queued = queued
        self._running = running

    def close(self, reason: str) -> None:
        """Refuse everything until `open`: the stream is down, and owes nobody an answer."""
        with self._lock:
            self._closed = reason
            self._reserved = 0

    def open(self) -> None:
        """Accept again."""
        self._closed = None


class PermitPool:
    """Permits to run, for the whole runtime. Only on the runtime's loop thread.

    A permit is held while a node runs or a short backoff passes. Permits are counted in memory
    and made anew at start, so no crash can leave one taken. A stream that is woken has a permit
    promised to it: without that, whoever gives one back would take it again at once, and a long
    queue of one stream would keep all others waiting.
    """

    def __init__(self, limit: int, clock: Clock = CLOCK) -> None:
        self._limit = limit
        self._held: dict[str, int] = {}
        self._total = 0
        self._promised: set[str] = set()  # addresses of streams that were woken
        self._clock = clock
        self._waiting: dict[ActorRef[StreamMessage], tuple[float, int]] = {}  # since, priority
        self._waiting_suspects: deque[ActorRef[StreamMessage]] = deque()
        self._suspect: tuple[str, str] | None = None

    def take(self, stream: ActorRef[StreamMessage], priority: int = 0) -> bool:
        """Take a permit; when none is free the stream gets PermitFreed once there is one.

        Streams are woken in turn, whatever the length of their lines. `priority` is that of the
        first in the stream's line, and counts as it does within the line: one is worth a minute.
        """
        if stream.address in self._promised:
            self._promised.discard(stream.address)
        elif self._free() <= 0:
            since, _ = self._waiting.get(stream) or (self._clock.monotonic(), 0)
            self._waiting[stream] = (since, priority)
            return False
        self._total += 1
        self._held[stream.address] = self._held.get(stream.address, 0) + 1
        return True

    def give_back(self, stream: ActorRef[StreamMessage]) -> None:
        """Give a permit back."""
        self._total -= 1
        self._held[stream.address] -= 1
        self._wake()

    def forget(self, stream: ActorRef[StreamMessage]) -> None:
        """A stream's earlier instance is gone, and with it every permit that it held."""
        self._total -= self._held.pop(stream.address, 0)
        self._promised.discard(stream.address)
        self._waiting.pop(stream, None)
        if stream in self._waiting_suspects:
            self._waiting_suspects.remove(stream)
        if self._suspect is not None and self._suspect[0] == stream.address:
            self._suspect = None
            self._wake_suspect()
        self._wake()

    def pass_on(self, stream: ActorRef[StreamMessage]) -> None:
        """A stream that was woken has taken what it can use: the rest is for whoever waits behind
        it.
        """
        self._promised.discard(stream.address)
        self._wake()

    def take_suspect(self, stream: ActorRef[StreamMessage], execution_id: str) -> bool:
        """Executions that were in flight at two deaths of the process run one at a time."""
        if self._suspect is not None and self._suspect[1] != execution_id:
            if stream not in self._waiting_suspects:
                self._waiting_suspects.append(stream)
            return False
        self._suspect = (stream.address, execution_id)
        return True

    def clear_suspect(self, execution_id: str) -> None:
        """The suspect made progress, or ended."""
        if self._suspect is not None and self._suspect[1] == execution_id:
            self._suspect = None
            self._wake_suspect()

    def _free(self) -> int:
        return self._limit - self._total - len(self._promised)

    def _wake(self) -> None:
        """Promise what is free to those who wait, in order."""
        while self._waiting and self._free() > 0:
            stream = min(self._waiting, key=self._order)
            del self._waiting[stream]
            if _woken(stream):
                self._promised.add(stream.address)

    def _order(self, stream: ActorRef[StreamMessage]) -> float:
        since, priority = self._waiting[stream]
        return since - priority * PRIORITY_STEP_S

    def _wake_suspect(self) -> None:
        while self._waiting_suspects and not _woken(self._waiting_suspects.popleft()):
            pass  # that one is down: the next


def _woken(stream: ActorRef[StreamMessage]) -> bool:
    """Tell the stream that it may take a permit; False when it is down."""
    try:
        stream.tell(PermitFreed(), control=True)
    except ActorStopped:
        logger.debug("%s went down while it waited for a permit", stream.address)
        return False
    return True
