"""Which finished executions stay: the newest of each entry point, and none that is too old.

What is dropped vanishes from every listing at once; claims of idempotency keys stay their own time.
"""

from collections.abc import Callable
from typing import Final

from greenroom.storage import executions
from greenroom.storage.executions import Head
from greenroom.storage.store import StoreOptions
from greenroom.storage.tables import Transaction
from greenroom.storage.view import View

PRUNE_EVERY: Final = 100  # finished executions beyond the limit before some are dropped
PRUNE_MAX: Final = 2 * PRUNE_EVERY  # dropped by one commit
EXPIRE_MAX: Final = 500  # dropped for their age by one transaction


class Retention:
    """Counts and drops within one group; thrown away with it. `forget` hears of what is dropped."""

    def __init__(
        self,
        txn: Transaction,
        view: View,
        options: StoreOptions,
        forget: Callable[[list[int]], None],
    ) -> None:
        self._txn = txn
        self._view = view
        self._options = options
        self._forget = forget
        self._finished: dict[bytes, tuple[int, int]] = {}
        self.pruned = 0

    def finished_of(self, entry: bytes) -> tuple[int, int]:
        """Return how many finished executions an entry point has, and the newest one's mark."""
        found = self._finished.get(entry) or self._view.finished.get(entry)
        return found or executions.finished(self._txn, entry)

    def counted(self, entry: bytes, count: int, mark: int) -> None:
        """An entry point has `count` finished executions now; drop those that finished first when
        they are too many. `mark` is the newest one's, 0 when that has not changed.
        """
        newest = mark or self.finished_of(entry)[1]
        excess = count - self._options.results_max
        if excess >= PRUNE_EVERY:
            count -= self._drop(entry, min(excess, PRUNE_MAX))
        self._finished[entry] = (count, newest)

    def delete(self, ordinal: int, head: Head) -> None:
        """Drop one execution that somebody deletes."""
        if head.mark:
            count, newest = self.finished_of(head.entry)
            self._finished[head.entry] = (count - 1, newest)
        executions.drop(self._txn, ordinal)
        self._forget([ordinal])

    def expire(self, now: float) -> bool:
        """Drop a bounded part of what finished too long ago; say whether there may be more."""
        age = self._options.results_ttl_s
        if age is None:
            return False
        found = executions.finished_before(self._txn, now - age, EXPIRE_MAX)
        for entry, old in found.items():
            count, newest = self.finished_of(entry)
            self._finished[entry] = (count - self._drop(entry, old), newest)
        return sum(found.values()) == EXPIRE_MAX

    def publish(self) -> None:
        """Bring the view up to date with what is now durable."""
        self._view.finished.update(self._finished)

    def _drop(self, entry: bytes, count: int) -> int:
        dropped = executions.drop_oldest(self._txn, entry, count)
        self._forget(dropped)
        self.pruned += len(dropped)
        return len(dropped)
