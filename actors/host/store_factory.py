"""How a runtime gets its store."""

from collections.abc import Callable
from pathlib import Path

from greenroom.storage.lmdb_store import open_store
from greenroom.storage.store import Store, StoreOptions

StoreFactory = Callable[[Path, StoreOptions], Store]


def open_durable_store(path: Path, options: StoreOptions) -> Store:
    """The store that runtimes use: LMDB in the folder `path`."""
    return open_store(path, options=options)
