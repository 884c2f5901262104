"""The lock that keeps a second process from writing to a store: flock on a file beside the data."""

import fcntl
import os
import weakref
from pathlib import Path
from typing import Final

from greenroom.protocol.errors import StoreInUse

LOCK_NAME: Final = "writer.lock"

_held: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


class FileLock:
    """Held from construction until `release`, or until the process ends in whatever way.

    Raises StoreInUse, with the pid that the holder wrote into the file. The file descriptor does
    not survive an exec, and is closed in a forked child, which would otherwise keep the lock after
    its parent has died.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = os.open(
            folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(self._descriptor)
            self.release()
            raise StoreInUse(str(folder), pid) from None
        except BaseException:
            self.release()
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Let the lock go; calling it again changes nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        _held.discard(self)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0)
    return int(text) if text.isdigit() else None


def _release_in_child() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
