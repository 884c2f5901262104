"""The events of one group of commits: one chunk of the log, and the oldest chunks that leave it."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import NewEvent
from greenroom.storage import cursors, events
from greenroom.storage.keys import pack_number
from greenroom.storage.store import StoreOptions
from greenroom.storage.tables import Table, Transaction
from greenroom.storage.view import View

_CHUNKS_MAX: Final = 64  # chunks of the log deleted by one group


class EventAppender:
    """Appends to the log in one transaction; thrown away with its group."""

    def __init__(self, txn: Transaction, view: View, options: StoreOptions) -> None:
        self._txn = txn
        self._view = view
        self._keep = options.events_max
        self._age = options.events_ttl_s
        self._next = view.next_event
        self._oldest = view.oldest_event
        self._bodies: list[msgspec.Raw] = []
        self._bodies_bytes = 0
        self.pruned = 0

    @property
    def last(self) -> int:
        """The seq of the newest event, those of this group included."""
        return self._next - 1

    def append(self, added: Sequence[NewEvent]) -> int:
        """Add events; return the seq of the first."""
        first = self._next
        for number, event in enumerate(added, start=first):
            if event.payload is not None:
                self._txn.put(Table.PAYLOADS, pack_number(number), event.payload)
            self._bodies.append(event.body)
            self._bodies_bytes += len(event.body)
        self._next = first + len(added)
        if self._bodies_bytes >= events.CHUNK_BYTES:
            self.flush()
        return first

    def flush(self) -> None:
        """Put what has gathered."""
        if not self._bodies:
            return
        self._txn.put(Table.EVENTS, pack_number(self._next - 1), encode(self._bodies))
        self._bodies = []
        self._bodies_bytes = 0

    def prune(self, moved: Mapping[str, int]) -> bool:
        """Delete the oldest events when there are too many, a bounded part at a time, but none that
        a log consumer has not read yet; say whether there may be more. `moved` are the cursors that
        this group moved.
        """
        kept = self._next - self._oldest
        keep = self._keep
        if kept <= keep + max(1, keep // 100):
            return False
        return self._drop(min(self._next - keep, self._unread(moved)))

    def expire(self, now: float) -> bool:
        """Delete events that are too old, a bounded part at a time; say whether there may be more.

        The newest chunk stays however old it is: the seq of the next event follows from it.
        """
        if self._age is None:
            return False
        below = min(self._next - 1, self._unread({}))
        return self._drop(events.aged(self._txn, now - self._age, below, _CHUNKS_MAX))

    def _unread(self, moved: Mapping[str, int]) -> int:
        """The seq of the first event that a log consumer has not read."""
        below = self._next
        for consumer, seq in (self._view.cursors | dict(moved)).items():
            if not consumer.startswith(cursors.SUBSCRIPTION_PREFIX):
                below = min(below, seq + 1)
        return below

    def _drop(self, below: int) -> bool:
        if below <= self._oldest:
            return False
        last, chunks = events.prune(self._txn, below, _CHUNKS_MAX)
        if last:
            self.pruned += last + 1 - self._oldest
            self._oldest = last + 1
        return chunks == _CHUNKS_MAX

    def publish(self) -> None:
        """Bring the view up to date with what is now durable."""
        self._view.next_event = self._next
        self._view.oldest_event = self._oldest
