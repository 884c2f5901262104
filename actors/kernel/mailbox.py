"""The mailbox of an address: two lanes, one bound, one wake-up per batch. It outlives the actor
that empties it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from greenroom.actors.kernel.future import Future
from greenroom.protocol.envelope import Header
from greenroom.protocol.errors import ActorStopped, MailboxOverflow
from greenroom.protocol.limits import CONTROL_BURST

SAMPLE_EVERY: Final = 64


class Envelope:
    """A message that needs more than its body: an ask, a control message of one incarnation, or a
    second delivery.

    `body` is encoded bytes (for a local actor: the object). `deadline` is monotonic seconds.
    `crashes` counts how often the receiver crashed with this message in hand. `incarnation` limits
    it to one instance of the receiver.
    """

    __slots__ = (
        "body",
        "crashes",
        "deadline",
        "header",
        "incarnation",
        "reply_to",
        "reply_type",
    )

    def __init__(
        self,
        body: Any,
        *,
        reply_to: Future[Any] | None = None,
        reply_type: Any = None,
        deadline: float | None = None,
        incarnation: int | None = None,
        header: Header | None = None,
        crashes: int = 0,
    ) -> None:
        self.body = body
        self.reply_to = reply_to
        self.reply_type = reply_type
        self.deadline = deadline
        self.incarnation = incarnation
        self.header = header
        self.crashes = crashes


Item = bytes | Envelope
"""What lies in a mailbox. A plain tell is its encoded body alone: the header would say nothing."""


class Mailbox:
    """Messages for one address. `put*` from any thread, `take*` only by the address's own
    dispatcher.

    Armed means: a slice is scheduled or running, or nobody is there to serve. Only the put that
    arms it calls `wake`, so a batch costs one wake-up; and `release` looks again before it disarms,
    so none is lost.
    """

    def __init__(
        self, address: str, limit: int, wake: Callable[[], None], *, armed: bool = True
    ) -> None:
        self.address = address
        self.limit = limit
        self._wake = wake
        self._lock = threading.Lock()
        self._again: deque[Item] = deque()
        self._control: deque[Item] = deque()
        self._user: deque[Item] = deque()
        self._room: deque[Callable[[], object]] = deque()
        self._armed = armed
        self._closed = False
        self._control_run = 0
        self._sample_wanted = True
        self._takes = 0
        self._sample_at = 0
        self._sample_began = 0.0
        self.high_water = 0
        self.rejected = 0
        self.waited_s = 0.0
        self.waited_max_s = 0.0

    def put(self, item: Item) -> None:
        """Append to the user lane. Raises MailboxOverflow if it is full, ActorStopped if the
        address is closed.
        """
        user = self._user
        with self._lock:
            if self._closed:
                raise ActorStopped(f"the actor {self.address!r} is stopped")
            depth = len(user)
            if depth >= self.limit:
                self.rejected += 1
                raise MailboxOverflow(self.address, self.limit)
            user.append(item)
            if depth >= self.high_water:
                self.high_water = depth + 1
            if self._sample_wanted:
                self._sample_wanted = False
                self._sample_at = self._takes + depth + 1
                self._sample_began = time.monotonic()
            if self._armed:
                return
            self._armed = True
        self._wake()

    def put_control(self, item: Item) -> None:
        """Append to the control lane, which is served first and has no bound of its own."""
        with self._lock:
            if self._closed:
                raise ActorStopped(f"the actor {self.address!r} is stopped")
            self._control.append(item)
            if self._armed:
                return
            self._armed = True
        self._wake()

    def put_back(self, items: list[Item]) -> None:
        """Put messages that were in hand at a crash before everything else, in their order."""
        with self._lock:
            self._again.extendleft(reversed(items))

    def when_room(self, callback: Callable[[], object]) -> None:
        """Call `callback` once: at the next room in the user lane or when the address closes, from
        any thread.
        """
        with self._lock:
            if not self._closed and len(self._user) >= self.limit:
                self._room.append(callback)
                return
        callback()

    def take(self) -> Item | None:
        """The next message by the rule of the lanes, or None."""
        if self._again:
            return self._again.popleft()
        if self._control and (self._control_run < CONTROL_BURST or not self._user):
            self._control_run += 1
            return self._control.popleft()
        if not self._user:
            return None
        self._control_run = 0
        item = self._user.popleft()
        self._takes = takes = self._takes + 1
        if 0 < self._sample_at <= takes:
            self._sample()
        elif not takes % SAMPLE_EVERY and not self._sample_at:
            self._sample_wanted = True
        if self._room:
            self.pass_room()
        return item

    def take_batch(self, limit: int) -> list[Item]:
        """Up to `limit` messages in the order of `take`; a message that was in a crash comes alone.

        Alone, because a batch that crashed holds one offender and many innocents: only the offender
        may crash again.
        """
        items: list[Item] = []
        while len(items) < limit:
            if self._again:
                if items:
                    break
                item = self._again.popleft()
                if isinstance(item, Envelope) and item.crashes:
                    return [item]
                items.append(item)
                continue
            taken = self.take()
            if taken is None:
                break
            items.append(taken)
        return items

    def _sample(self) -> None:
        waited = time.monotonic() - self._sample_began
        self.waited_s = waited
        self.waited_max_s = max(waited, self.waited_max_s)
        self._sample_at = 0

    def pass_room(self) -> None:
        """If there is room, tell the one who has waited for it longest."""
        with self._lock:
            if len(self._user) >= self.limit or not self._room:
                return
            callback = self._room.popleft()
        callback()

    def release(self) -> bool:
        """The slice is over: disarm and answer True, or answer False: there is more to do."""
        with self._lock:
            if self._control or self._user or self._again:
                return False
            self._armed = False
            return True

    def arm(self) -> bool:
        """Claim the right to schedule a slice; False if someone has it."""
        with self._lock:
            if self._armed:
                return False
            self._armed = True
            return True

    def close(self) -> list[Item]:
        """Refuse messages from now on; returns what was left, in the order it would have been
        served.
        """
        with self._lock:
            self._closed = True
            self._armed = True
            left = [*self._again, *self._control, *self._user]
            self._again.clear()
            self._control.clear()
            self._user.clear()
            self._takes = self._sample_at = 0
            self._sample_wanted = True
            waiting = list(self._room)
            self._room.clear()
        for callback in waiting:
            callback()
        return left

    def reopen(self) -> None:
        """Accept messages again; the address stays armed until an instance serves it."""
        with self._lock:
            self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def depth(self) -> int:
        """Messages waiting in both lanes."""
        return len(self._again) + len(self._control) + len(self._user)
