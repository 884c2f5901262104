"""LMDB behind the store's transactions. Raises lmdb's own errors, which the store translates."""

import lmdb
import msgspec

from greenroom.storage.gate import Gate
from greenroom.storage.tables import Table

Databases = dict[Table, lmdb._Database]


def _begin(cursor: "lmdb.Cursor[bytes]", start: bytes, stop: bytes, *, reverse: bool) -> bool:
    """Move to the first entry of a range, or the last one; say whether there may be one."""
    if reverse:
        return cursor.prev() if cursor.set_range(stop) else cursor.last()
    return cursor.set_range(start) if start else cursor.first()


class LmdbReading:
    """A read transaction."""

    __slots__ = ("_databases", "_txn")

    def __init__(self, txn: "lmdb.Transaction[bytes]", databases: Databases) -> None:
        self._txn = txn
        self._databases = databases

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `tables.Transaction`."""
        return self._txn.get(key, db=self._databases[table])

    def put(self, table: Table, key: bytes, value: bytes | msgspec.Raw) -> None:
        """Refused: this transaction only reads."""
        raise TypeError("this transaction only reads")

    def delete(self, table: Table, key: bytes) -> bool:
        """Refused: this transaction only reads."""
        raise TypeError("this transaction only reads")

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        """Refused: this transaction only reads."""
        raise TypeError("this transaction only reads")

    def last_at_or_before(self, table: Table, key: bytes) -> tuple[bytes, bytes] | None:
        """See `tables.Transaction`."""
        with self._txn.cursor(self._databases[table]) as cursor:
            if not cursor.set_range(key):
                return cursor.item() if cursor.last() else None
            if cursor.key() == key or cursor.prev():
                return cursor.item()
            return None

    def range(
        self, table: Table, start: bytes, stop: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """See `tables.Transaction`."""
        found: list[tuple[bytes, bytes]] = []
        if limit <= 0 or stop <= start:
            return found
        with self._txn.cursor(self._databases[table]) as cursor:
            there = _begin(cursor, start, stop, reverse=reverse)
            while there:
                key, value = cursor.item()
                if not start <= key < stop:
                    break
                found.append((key, value))
                if len(found) == limit:
                    break
                there = cursor.prev() if reverse else cursor.next()
        return found

    def keys(
        self, table: Table, start: bytes, stop: bytes, limit: int, *, reverse: bool = False
    ) -> list[bytes]:
        """See `tables.Transaction`."""
        found: list[bytes] = []
        if limit <= 0 or stop <= start:
            return found
        with self._txn.cursor(self._databases[table]) as cursor:
            there = _begin(cursor, start, stop, reverse=reverse)
            while there and start <= (key := cursor.key()) < stop and len(found) < limit:
                found.append(key)
                there = cursor.prev() if reverse else cursor.next()
        return found

    def count(self, table: Table) -> int:
        """See `tables.Transaction`."""
        return self._txn.stat(self._databases[table])["entries"]


class LmdbWriting(LmdbReading):
    """The write transaction; stays on the thread that began it, as LMDB demands without checking
    it.
    """

    __slots__ = ("_cursors", "_gate", "put_bytes", "puts")

    def __init__(self, txn: "lmdb.Transaction[bytes]", databases: Databases, gate: Gate) -> None:
        super().__init__(txn, databases)
        self._gate = gate
        # Kept open, one to a table: that makes a put twice as fast as one of the transaction's.
        self._cursors: dict[Table, lmdb.Cursor[bytes]] = {}
        self.puts = 0
        self.put_bytes = 0

    def put(self, table: Table, key: bytes, value: bytes | msgspec.Raw) -> None:
        """See `tables.Transaction`."""
        self._cursor(table).put(key, value)
        self.puts += 1
        self.put_bytes += len(key) + len(value)

    def delete(self, table: Table, key: bytes) -> bool:
        """See `tables.Transaction`."""
        return self._txn.delete(key, b"", self._databases[table])

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        """See `tables.Transaction`."""
        cursor = self._cursor(table)
        deleted = 0
        if limit > 0 and cursor.set_range(start):
            # A delete moves on to the next entry; the key of none is empty.
            while start <= cursor.key() < stop:
                cursor.delete()
                deleted += 1
                if deleted == limit:
                    break
        return deleted

    def _cursor(self, table: Table) -> "lmdb.Cursor[bytes]":
        cursor = self._cursors.get(table)
        if cursor is None:
            cursor = self._cursors[table] = self._txn.cursor(self._databases[table])
        return cursor

    def commit(self) -> None:
        """See `tables.WriteTransaction`."""
        self._txn.commit()

    def abort(self) -> None:
        """See `tables.WriteTransaction`."""
        # lmdb's abort waits for a moment in which no thread is inside any call of the environment;
        # threads that read without pause never leave it one.
        with self._gate.quiet():
            self._txn.abort()
