"""The durable store: one LMDB environment in a folder, one table per named database."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from greenroom.protocol.errors import (
    StoreClosed,
    StoreCorrupt,
    StoreInUse,
    StoreNotFound,
    StoreTooNew,
    StoreUnavailable,
)
from greenroom.storage import cursors
from greenroom.storage.core import CountingTransaction, Failpoint, Failure, StoreCore
from greenroom.storage.file_lock import FileLock
from greenroom.storage.gate import Gate
from greenroom.storage.lmdb_transaction import Databases, LmdbReading, LmdbWriting
from greenroom.storage.reader import Reader
from greenroom.storage.store import FORMAT, StoreOptions
from greenroom.storage.tables import Table
from greenroom.storage.view import EPOCH, FORMAT_NAME

T = TypeVar("T")

DATA_NAME: Final = "data.mdb"
_READERS_MAX: Final = 512
_MAP_BYTES_MAX: Final = 2**46
_READ_TRIES_MAX: Final = 100  # each costs a growth of the map, which doubles it

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

    Raises StoreInUse when another process has it open for writing, StoreTooNew, StoreCorrupt, StoreUnavailable when
    the file system refuses. `failpoint` is called with the name of each place where a test may want to stop.
    """
    return LmdbStore(Path(path), options or StoreOptions(), failpoint)


def open_reader(path: str | Path) -> "ReadOnlyStore":
    """Open the store at `path` only for reading, also while another process writes to it.

    Raises StoreNotFound, StoreTooNew, StoreCorrupt, StoreInUse when this very process has it open.
    """
    return ReadOnlyStore(Path(path))


def _open_environment(
    path: Path, map_bytes: int, *, readonly: bool, sync: bool
) -> lmdb.Environment:
    try:
        return lmdb.open(
            str(path),
            map_size=map_bytes,
            readonly=readonly,
            create=not readonly,
            sync=sync,
            metasync=sync,
            max_dbs=len(Table),
            max_readers=_READERS_MAX,
            lib_version=0,
        )
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
        raise StoreCorrupt(f"{path / DATA_NAME} is not a store: {error}") from error
    except lmdb.Error as error:
        if "already open" in str(error):
            raise StoreInUse(str(path), os.getpid()) from error
        raise StoreUnavailable(f"the store {path} cannot be opened: {error}") from error


def _open_tables(environment: lmdb.Environment, path: Path, *, create: bool) -> Databases:
    try:
        with environment.begin(write=create) as txn:
            return [
                environment.open_db(table.name.lower().encode(), txn=txn, create=create)
                for table in Table
            ]
    except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
        raise StoreCorrupt(f"{path} is not a store, or not one of this format: {error}") from error
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.IncompatibleError) as error:
        raise StoreCorrupt(f"{path} cannot be read: {error}") from error
    except lmdb.Error as error:
        raise StoreUnavailable(f"the store {path} cannot be opened: {error}") from error


def _check_format(environment: lmdb.Environment, path: Path) -> int:
    """Return the format of a store, 0 for a new one, before anything of it is changed."""
    try:
        with environment.begin() as txn:
            if not txn.stat()["entries"]:
                return 0
        table = environment.open_db(Table.META.name.lower().encode(), create=False)
        with environment.begin() as txn:
            raw = txn.get(FORMAT_NAME, db=table)
    except lmdb.Error as error:
        raise StoreCorrupt(f"{path} is not a store: {error}") from error
    if raw is None or len(raw) != 8:
        raise StoreCorrupt(f"{path} is not a store: it has no format")
    found = int.from_bytes(raw, "big")
    if found > FORMAT:
        raise StoreTooNew(str(path), found, FORMAT)
    return found


class _Environment:
    """An open environment: its tables, its readers, and the pid that may use it."""

    def __init__(self, path: Path, map_bytes: int, *, readonly: bool, sync: bool = True) -> None:
        self._arguments = (path, map_bytes, readonly, sync)
        self._pid = os.getpid()
        self._closed = False
        self.gate = Gate()
        self.handle: lmdb.Environment | None = None
        self.databases: Databases = []
        self.open()

    def open(self) -> None:
        """Open the environment. Raises a StorageError."""
        path, map_bytes, readonly, sync = self._arguments
        handle = _open_environment(path, map_bytes, readonly=readonly, sync=sync)
        try:
            found = _check_format(handle, path)
            if readonly and not found:
                raise StoreNotFound(f"there is no store at {path}")
            self.databases = _open_tables(handle, path, create=not readonly)
        except BaseException:
            handle.close()
            raise
        self.handle = handle

    def check_usable(self) -> None:
        """Raise StoreClosed after `close`, and in a forked child."""
        if self._closed:
            raise StoreClosed(f"the store {self._arguments[0]} was closed")
        if os.getpid() != self._pid:
            raise StoreClosed(
                f"the store {self._arguments[0]} belongs to process {self._pid}: "
                "open it in the process that uses it"
            )

    def use(self) -> lmdb.Environment:
        """Return the handle; raises StoreUnavailable when it could not be opened again after a failure."""
        if self.handle is None:
            raise StoreUnavailable(f"the store {self._arguments[0]} could not be opened again")
        return self.handle

    def read(self, function: Callable[[Reader], T]) -> T:
        """Call `function` in a read transaction, again when the map moved under it."""
        for _ in range(_READ_TRIES_MAX):
            self.check_usable()
            with self.gate.reading() as generation:
                try:
                    with self.use().begin() as txn:
                        return function(Reader(LmdbReading(txn, self.databases)))
                except lmdb.MapResizedError:
                    pass  # another process let the map grow; followed below, with no reader inside
                except lmdb.Error as error:
                    if generation == self.gate.generation:
                        raise StoreUnavailable(f"the store cannot be read: {error}") from error
                    continue
            self.resize(0)
        raise StoreUnavailable("the store's map kept moving under a read")

    def resize(self, map_bytes: int) -> None:
        """Set the size of the map; 0 takes over what another process chose."""
        with self.gate.changing():
            self.use().set_mapsize(map_bytes)

    def map_bytes(self) -> int:
        """Return the present size of the map."""
        return self.use().info()["map_size"]

    def reopen(self) -> None:
        """Close and open the environment; without a handle afterwards when that fails."""
        path, map_bytes, readonly, sync = self._arguments
        with self.gate.changing():
            handle, self.handle = self.handle, None
            if handle is not None:
                with suppress(lmdb.Error):
                    map_bytes = handle.info()["map_size"]
                handle.close()
            self._arguments = (path, map_bytes, readonly, sync)
            self.open()

    def pages(self) -> tuple[int, int]:
        """Return (pages of the file, bytes of a page)."""
        handle = self.use()
        return handle.info()["last_pgno"] + 1, handle.stat()["psize"]

    def close(self) -> None:
        """Close; calling it again changes nothing."""
        if self._closed:
            return
        self._closed = True
        # In a forked child the handle is the parent's: it is dropped, not closed.
        if os.getpid() == self._pid:
            with self.gate.changing():
                if self.handle is not None:
                    self.handle.close()


class LmdbStore(StoreCore):
    """The durable `store.Store`. Made by `open_store`."""

    path: Path

    def __init__(self, path: Path, options: StoreOptions, failpoint: Failpoint | None) -> None:
        super().__init__(options, failpoint)
        self.path = path
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
            self._environment = _Environment(path, map_bytes, readonly=False, sync=options.sync)
        except BaseException:
            self._file_lock.release()
            raise
        try:
            self._change(lambda txn: cursors.set_number(txn, FORMAT_NAME, FORMAT))
            self._raise_epoch()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See `store.Store`."""
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
        return LmdbWriting(environment.use().begin(write=True), environment.databases)

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

    def _recover(self) -> None:
        # A failed write of the file's head makes LMDB refuse everything from then on; opening anew is the one way out.
        with suppress(StoreUnavailable):
            self._environment.reopen()

    def _check_usable(self) -> None:
        self._environment.check_usable()


class ReadOnlyStore:
    """A store that is only read, perhaps while another process writes to it. Made by `open_reader`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = _size_of(path / DATA_NAME)
        if not size:
            raise StoreNotFound(f"there is no store at {path}")
        self._environment = _Environment(path, size, readonly=True)

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
