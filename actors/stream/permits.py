"""How much may run: the permits of the whole runtime. What may wait is in admission_gate.py."""

import logging
from collections import deque
from typing import Final

from greenroom.actors.kernel.clock import Clock, SystemClock
from greenroom.actors.kernel.ref import ActorRef
from greenroom.protocol.errors import ActorStopped
from greenroom.protocol.limits import PRIORITY_STEP_S
from greenroom.protocol.stream_messages import PermitFreed, StreamMessage

logger = logging.getLogger("greenroom.stream")

CLOCK: Final = SystemClock()


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

    def is_suspect(self, execution_id: str) -> bool:
        """Say whether that is the suspect which runs alone."""
        return self._suspect is not None and self._suspect[1] == execution_id

    def clear_suspect(self, execution_id: str) -> None:
        """The suspect made progress, or ended."""
        if self.is_suspect(execution_id):
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
