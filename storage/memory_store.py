"""The store in memory, for tests and simulation: the same rules over sorted tables. Nothing
survives the process.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from threading import RLock
from typing import TypeVar

import msgspec

from greenroom.protocol.errors import StoreClosed
from greenroom.storage import cursors
from greenroom.storage.core import CountingTransaction, Failpoint, Failure, StoreCore
from greenroom.storage.reader import Reader
from greenroom.storage.store import FORMAT, StoreOptions
from greenroom.storage.tables import Table
from greenroom.storage.view import FORMAT_NAME

T = TypeVar("T")


class _SortedTable:
    """Values by key, and the keys in order."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []

    def set(self, key: bytes, value: bytes | None) -> bytes | None:
        """Set or, with None, remove `key`; return what was there."""
        old = self.values.get(key)
        if value is None:
            if old is not None:
                del self.values[key]
                del self.keys[bisect_left(self.keys, key)]
            return old
        if old is None:
            if self.keys and key <= self.keys[-1]:
                self.keys.insert(bisect_left(self.keys, key), key)
            else:
                self.keys.append(key)
        self.values[key] = value
        return old


class MemoryTransaction(CountingTransaction):
    """Changes the tables at once and undoes that when it is aborted; the store's lock keeps
    readers out.
    """

    def __init__(self, tables: dict[Table, _SortedTable], end: Callable[[], None] | None) -> None:
        self._tables = tables
        self._end = end  # None: reading
        self._undo: list[tuple[Table, bytes, bytes | None]] = []
        self.puts = 0
        self.put_bytes = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `tables.Transaction`."""
        return self._tables[table].values.get(key)

    def put(self, table: Table, key: bytes, value: bytes | msgspec.Raw) -> None:
        """See `tables.Transaction`."""
        if self._end is None:
            raise TypeError("this transaction only reads")
        copy = bytes(value)
        self._undo.append((table, key, self._tables[table].set(key, copy)))
        self.puts += 1
        self.put_bytes += len(key) + len(copy)

    def delete(self, table: Table, key: bytes) -> bool:
        """See `tables.Transaction`."""
        if self._end is None:
            raise TypeError("this transaction only reads")
        old = self._tables[table].set(key, None)
        if old is not None:
            self._undo.append((table, key, old))
        return old is not None

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        """See `tables.Transaction`."""
        page = self.range(table, start, stop, limit)
        for key, _ in page:
            self.delete(table, key)
        return len(page)

    def last_at_or_before(self, table: Table, key: bytes) -> tuple[bytes, bytes] | None:
        """See `tables.Transaction`."""
        held = self._tables[table]
        place = bisect_right(held.keys, key)
        if not place:
            return None
        found = held.keys[place - 1]
        return found, held.values[found]

    def range(
        self, table: Table, start: bytes, stop: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """See `tables.Transaction`."""
        values = self._tables[table].values
        chosen = self.keys(table, start, stop, limit, reverse=reverse)
        return [(key, values[key]) for key in chosen]

    def keys(
        self, table: Table, start: bytes, stop: bytes, limit: int, *, reverse: bool = False
    ) -> list[bytes]:
        """See `tables.Transaction`."""
        held = self._tables[table].keys
        low, high = bisect_left(held, start), bisect_left(held, stop)
        if high <= low or limit <= 0:
            return []
        if reverse:
            return held[max(low, high - limit) : high][::-1]
        return held[low : min(high, low + limit)]

    def count(self, table: Table) -> int:
        """See `tables.Transaction`."""
        return len(self._tables[table].keys)

    def commit(self) -> None:
        """See `tables.WriteTransaction`."""
        self._finish()

    def abort(self) -> None:
        """See `tables.WriteTransaction`."""
        for table, key, old in reversed(self._undo):
            self._tables[table].set(key, old)
        self._finish()

    def _finish(self) -> None:
        self._undo = []
        if self._end is not None:
            self._end()


class MemoryStore(StoreCore):
    """A `store.Store` whose durability ends with the process; `path` is None."""

    def __init__(
        self, options: StoreOptions | None = None, *, failpoint: Failpoint | None = None
    ) -> None:
        super().__init__(options or StoreOptions(), failpoint)
        self.path = None
        self._tables = {table: _SortedTable() for table in Table}
        self._tables_lock = RLock()
        self._closed = False
        self._change(lambda txn: cursors.set_number(txn, FORMAT_NAME, FORMAT))
        self._raise_epoch()

    def close(self) -> None:
        """See `store.Store`."""
        with self._lock:
            self._closed = True

    def reopen(self) -> "MemoryStore":
        """Return a store with the same contents and the next epoch, and close this one: a restart,
        as in a test.
        """
        self.close()
        again = MemoryStore(self.options, failpoint=self._failpoint)
        again._tables = self._tables
        again._view = None
        again._raise_epoch()
        return again

    def read(self, function: Callable[[Reader], T]) -> T:
        """See `store.Store`."""
        self._check_usable()
        with self._tables_lock:
            return function(Reader(MemoryTransaction(self._tables, None)))

    def used_bytes(self) -> int:
        """See `store.Store`."""
        self._check_usable()
        with self._tables_lock:
            return sum(
                len(key) + len(value)
                for table in self._tables.values()
                for key, value in table.values.items()
            )

    def _pages(self) -> int:
        return 0

    def _begin_write(self) -> CountingTransaction:
        self._tables_lock.acquire()
        return MemoryTransaction(self._tables, self._tables_lock.release)

    def _classify(self, error: Exception) -> Failure:
        return Failure.COMMIT

    def _describe(self, error: Exception) -> str:
        return f"{type(error).__name__}: {error}"

    def _grow(self) -> None:
        raise MemoryError("tables in memory have no map")

    def _recover(self) -> str | None:
        return None

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreClosed("the store in memory was closed")
