"""An open LMDB environment: opening it, reading through it, and opening it anew after a failure."""

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
from greenroom.storage.data_file import check_whole
from greenroom.storage.gate import Gate
from greenroom.storage.keys import pack_number
from greenroom.storage.lmdb_transaction import Databases, LmdbReading
from greenroom.storage.reader import Reader
from greenroom.storage.store import FORMAT
from greenroom.storage.tables import Table
from greenroom.storage.view import FORMAT_NAME

T = TypeVar("T")

DATA_NAME: Final = "data.mdb"
_READERS_MAX: Final = 512
_READ_TRIES_MAX: Final = 100  # each costs a growth of the map, which doubles it


def _refuse_empty(data: Path) -> bool:
    """Say whether there is no file yet; raise StoreCorrupt when there is one without content."""
    if not data.exists():
        return True
    if not data.stat().st_size:
        # LMDB would make a new store of it, and nobody would learn that the old one is gone.
        raise StoreCorrupt(f"{data} has 0 bytes: restore it, or delete it to begin a new store")
    return False


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
        if not create:
            # In a read-only transaction of ours the handles would end with it.
            return {
                table: environment.open_db(table.name.lower().encode(), create=False)
                for table in Table
            }
        with environment.begin(write=True) as txn:
            databases = {
                table: environment.open_db(table.name.lower().encode(), txn=txn) for table in Table
            }
            if txn.get(FORMAT_NAME, db=databases[Table.META]) is None:
                # In the transaction that makes the tables: a store without a format is corrupt.
                txn.put(FORMAT_NAME, pack_number(FORMAT), db=databases[Table.META])
            return databases
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
            # Before the first page is touched: one that is not there kills the process.
            check_whole(path / DATA_NAME)
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


class Environment:
    """An open environment: its tables, its readers, and the pid that may use it."""

    def __init__(self, path: Path, map_bytes: int, *, readonly: bool, sync: bool = True) -> None:
        self._arguments = (path, map_bytes, readonly, sync)
        self._pid = os.getpid()
        self._closed = False
        self.gate = Gate()
        self.handle: lmdb.Environment | None = None
        self.databases: Databases = {}
        self.open()

    def open(self) -> None:
        """Open the environment. Raises a StorageError."""
        path, map_bytes, readonly, sync = self._arguments
        is_new = _refuse_empty(path / DATA_NAME) and not readonly
        try:
            handle = _open_environment(path, map_bytes, readonly=readonly, sync=sync)
        except BaseException:
            if is_new:
                # Without its heads the file would be taken for one that was cut off.
                (path / DATA_NAME).unlink(missing_ok=True)
            raise
        try:
            found = _check_format(handle, path)
            if readonly and not found:
                raise StoreNotFound(f"there is no store at {path}")
            self.databases = _open_tables(handle, path, create=not readonly)
        except BaseException:
            handle.close()
            raise
        self.handle = handle

    def is_ours(self) -> bool:
        """Say whether this process opened it, rather than one that forked this one."""
        return os.getpid() == self._pid

    def check_usable(self) -> None:
        """Raise StoreClosed after `close`, and in a forked child."""
        if self._closed:
            raise StoreClosed(f"the store {self._arguments[0]} was closed")
        if not self.is_ours():
            raise StoreClosed(
                f"the store {self._arguments[0]} belongs to process {self._pid}: "
                "open it in the process that uses it"
            )

    def use(self) -> lmdb.Environment:
        """Return the handle; raises StoreUnavailable when it could not be opened again after a
        failure.
        """
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
        if self.is_ours():
            with self.gate.changing():
                if self.handle is not None:
                    self.handle.close()
