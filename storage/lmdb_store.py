"""The durable store: one LMDB environment in a folder, one table per named database."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from greenroom.protocol.errors import (
    StorageError,
    StoreCorrupt,
    StoreNotFound,
    StoreUnavailable,
)
from greenroom.storage.core import CountingTransaction, Failpoint, Failure, StoreCore
from greenroom.storage.environment import DATA_NAME, Environment
from greenroom.storage.file_lock import FileLock
from greenroom.storage.lmdb_transaction import LmdbWriting
from greenroom.storage.reader import Reader
from greenroom.storage.store import StoreOptions
from greenroom.storage.view import EPOCH

T = TypeVar("T")

DEAD_READERS_EVERY: Final = 1_000  # write transactions between two looks for killed readers
_MAP_BYTES_MAX: Final = 2**46

# The environment itself is in an unknown state: only opening it anew helps.
_BROKEN: Final = (
    lmdb.PanicError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.BadTxnError,
    lmdb.BadDbiError,
    lmdb.ProblemError,
)


def open_store(
    path: str | Path, *, options: StoreOptions | None = None, failpoint: Failpoint | None = None
) -> "LmdbStore":
    """Open the store at `path` for writing; a folder that is new or empty becomes one.

    Raises StoreInUse when another process has it open for writing, StoreTooNew, StoreCorrupt,
    StoreUnavailable when the file system refuses. `failpoint` is called with the name of each place
    where a test may want to stop.
    """
    return LmdbStore(Path(path), options or StoreOptions(), failpoint)


def open_reader(path: str | Path) -> "ReadOnlyStore":
    """Open the store at `path` only for reading, also while another process writes to it.

    Raises StoreNotFound, StoreTooNew, StoreCorrupt, StoreInUse when this very process has it open.
    """
    return ReadOnlyStore(Path(path))


class LmdbStore(StoreCore):
    """The durable `store.Store`. Made by `open_store`."""

    path: Path

    def __init__(self, path: Path, options: StoreOptions, failpoint: Failpoint | None) -> None:
        super().__init__(options, failpoint)
        self.path = path
        self._begun = 0
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._file_lock = FileLock(path)
        except FileExistsError as error:
            raise StoreCorrupt(f"{path} is a file: a store is a folder") from error
        except OSError as error:
            raise StoreUnavailable(f"the store {path} cannot be opened: {error}") from error
        try:
            size = _size_of(path / DATA_NAME)
            map_bytes = max(options.map_bytes, size)
            self._environment = Environment(path, map_bytes, readonly=False, sync=options.sync)
        except BaseException:
            self._file_lock.release()
            raise
        try:
            self._raise_epoch()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See `store.Store`."""
        if not self._environment.is_ours():
            self._environment.close()
            return
        with self._lock:
            self._environment.close()
            self._file_lock.release()

    def read(self, function: Callable[[Reader], T]) -> T:
        """See `store.Store`."""
        return self._environment.read(function)

    def used_bytes(self) -> int:
        """See `store.Store`."""
        self._check_usable()
        pages, page_bytes = self._environment.pages()
        return pages * page_bytes

    def _pages(self) -> int:
        return self._environment.pages()[0]

    def _begin_write(self) -> CountingTransaction:
        environment = self._environment
        self._begun += 1
        if self._begun % DEAD_READERS_EVERY == 0:
            # The pages of a killed reader's time are not used again before its place is freed.
            environment.use().reader_check()
        txn = environment.use().begin(write=True)
        return LmdbWriting(txn, environment.databases, environment.gate)

    def _classify(self, error: Exception) -> Failure:
        if isinstance(error, lmdb.MapFullError):
            return Failure.MAP_FULL
        if isinstance(error, (StoreUnavailable, OSError, *_BROKEN)):
            return Failure.DISK
        if isinstance(error, lmdb.Error) and (error.code > 0 and error.code != errno.EINVAL):
            return Failure.DISK
        return Failure.COMMIT

    def _describe(self, error: Exception) -> str:
        free = ""
        with suppress(OSError):
            room = os.statvfs(self.path)
            free = f"; {room.f_bavail * room.f_frsize} bytes free on its file system"
        return f"the store {self.path} cannot be written: {error}{free}"

    def _grow(self) -> None:
        self._environment.resize(min(self._environment.map_bytes() * 2, _MAP_BYTES_MAX))

    def _recover(self) -> str | None:
        # A failed write of the file's head makes LMDB refuse everything from then on: only opening
        # the environment anew helps.
        try:
            self._environment.reopen()
        except StorageError as error:
            return str(error)
        return None

    def _check_usable(self) -> None:
        self._environment.check_usable()


class ReadOnlyStore:
    """A store that is only read, perhaps while another process writes to it. Made by
    `open_reader`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = _size_of(path / DATA_NAME)
        if not size and not (path / DATA_NAME).exists():
            raise StoreNotFound(f"there is no store at {path}")
        map_bytes = max(StoreOptions().map_bytes, size)
        self._environment = Environment(path, map_bytes, readonly=True)

    @property
    def epoch(self) -> int:
        """How many times the store has been opened for writing."""
        return self.read(lambda reader: reader.meta(EPOCH))

    def read(self, function: Callable[[Reader], T]) -> T:
        """See `store.Store`."""
        return self._environment.read(function)

    def used_bytes(self) -> int:
        """Bytes that the store occupies."""
        self._environment.check_usable()
        pages, page_bytes = self._environment.pages()
        return pages * page_bytes

    def close(self) -> None:
        """Release everything; calling it again changes nothing."""
        self._environment.close()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except NotADirectoryError as error:
        raise StoreCorrupt(f"{path.parent} is a file: a store is a folder") from error
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error}") from error
