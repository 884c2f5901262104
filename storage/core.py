"""What both stores share: applying groups of commits, and what happens when that fails."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from threading import RLock
from typing import Final, Protocol, TypeVar

import msgspec

from greenroom.protocol.commit import Commit, CommitOutcome
from greenroom.protocol.errors import CommitRefused, StoreClosed, StoreUnavailable
from greenroom.storage import cursors, versions
from greenroom.storage.group import Group
from greenroom.storage.outcomes import refused, unavailable
from greenroom.storage.reader import Reader
from greenroom.storage.store import Dropped, StoreOptions, StoreStats
from greenroom.storage.tables import Table, Transaction, WriteTransaction
from greenroom.storage.view import CLEAN_EPOCH, EPOCH, PROBE, View

T = TypeVar("T")
Failpoint = Callable[[str], None]

_GROWTHS_MAX: Final = 16  # doublings of the map for one group


class Failure(Enum):
    """Whose fault an engine's error is."""

    COMMIT = "commit"  # one commit of the group cannot be put
    MAP_FULL = "map full"
    DISK = "disk"  # nothing can be written now


class _CommitFailed(Exception):
    """The engine's commit raised; its cause says why. Never leaves this file."""


class CountingTransaction(WriteTransaction, Protocol):
    """A write transaction that counts its puts."""

    puts: int
    put_bytes: int


class StoreCore(ABC):
    """Everything of a store except its engine. See `store.Store` for the contract."""

    path: Path | None
    epoch: int
    closed_cleanly: bool
    degraded: str | None
    dropped: Dropped

    def __init__(self, options: StoreOptions, failpoint: Failpoint | None) -> None:
        options.validate()
        self.options = options
        self.degraded = None
        self.epoch = 0
        self.closed_cleanly = True
        self._failpoint = failpoint
        self._lock = RLock()
        self._view: View | None = None  # None: read again from the store before the next group
        self._puts = self._put_bytes = self._groups = self._commits = 0
        self.dropped = Dropped()

    # The engine

    @abstractmethod
    def _begin_write(self) -> CountingTransaction:
        """Begin the one write transaction."""

    @abstractmethod
    def _classify(self, error: Exception) -> Failure:
        """Say whose fault an error out of a write transaction is."""

    @abstractmethod
    def _describe(self, error: Exception) -> str:
        """Say in one line why nothing can be written."""

    @abstractmethod
    def _grow(self) -> None:
        """Make the map larger. Raises the engine's error."""

    @abstractmethod
    def _recover(self) -> str | None:
        """Bring the engine back into order after a failure; return why that is impossible now."""

    @abstractmethod
    def _check_usable(self) -> None:
        """Raise StoreClosed when this process may not use the store."""

    @abstractmethod
    def used_bytes(self) -> int:
        """Bytes that the store occupies."""

    @abstractmethod
    def _pages(self) -> int:
        """Pages of the file."""

    # The contract

    def commit(self, commits: Sequence[Commit], now: float) -> list[CommitOutcome]:
        """Apply a group; see `store.Store`."""
        self._check_usable()  # before the lock: in a forked child nobody would ever release it
        with self._lock:
            self._check_usable()
            if self.degraded is not None:
                return [unavailable(commit, self.degraded) for commit in commits]
            return self._apply(commits, now)

    def raise_fence(self, stream: str) -> int:
        """Give `stream` a new incarnation; see `store.Store`."""

        def change(txn: Transaction) -> int:
            incarnation = cursors.fence(txn, stream) + 1
            cursors.set_fence(txn, stream, incarnation)
            return incarnation

        return self._change(change)

    def note_plan(self, digest: bytes, description: msgspec.Raw) -> None:
        """Remember what a digest stands for; see `store.Store`."""
        self._change(lambda txn: versions.note(txn, digest, description))

    def tidy(self, now: float) -> bool:
        """Drop what has stayed its time; see `store.Store`."""

        def change(txn: Transaction) -> tuple[View, Group, bool]:
            view = self._current_view(txn)
            group = Group(txn, view, self.options, now)
            return view, group, group.tidy()

        self._check_usable()  # before the lock: in a forked child nobody would ever release it
        with self._lock:
            view, group, more = self._change(change)
            group.publish()
            self._view = view
            self.dropped = self.dropped.plus(group.dropped())
        return more

    @property
    def overdue(self) -> bool:
        """Whether `tidy` should not wait; see `store.Store`."""
        return self._view is not None and bool(self._view.long_journals)

    def drop_cursor(self, consumer: str) -> bool:
        """Forget a log consumer; see `store.Store`."""
        return self._change(lambda txn: cursors.drop(txn, consumer))

    def probe(self) -> bool:
        """Try a small durable write; see `store.Store`."""
        self._check_usable()  # before the lock: in a forked child nobody would ever release it
        with self._lock:
            self._check_usable()
            was, self.degraded = self.degraded, None
            try:
                if was is not None:
                    self._recover()
                self._change(lambda txn: cursors.set_number(txn, PROBE, self.epoch))
            except StoreUnavailable as error:
                self.degraded = self.degraded or str(error)
                return False
            return True

    @abstractmethod
    def read(self, function: Callable[[Reader], T]) -> T:
        """Call `function` with a reader; see `store.Store`."""

    def stats(self) -> StoreStats:
        """Sizes and counters."""
        tables = self.read(
            lambda reader: {table.name.lower(): reader.transaction.count(table) for table in Table}
        )
        return StoreStats(
            pages=self._pages(),
            bytes=self.used_bytes(),
            tables=tables,
            puts=self._puts,
            put_bytes=self._put_bytes,
            groups=self._groups,
            commits=self._commits,
            **self.dropped._asdict(),
        )

    def mark_clean(self) -> None:
        """Note that this opening of the store ends in order; see `store.Store`."""
        self._change(lambda txn: cursors.set_number(txn, CLEAN_EPOCH, self.epoch))

    def _raise_epoch(self) -> None:
        def change(txn: Transaction) -> tuple[int, bool]:
            last = cursors.get_number(txn, EPOCH)
            cursors.set_number(txn, EPOCH, last + 1)
            return last + 1, cursors.get_number(txn, CLEAN_EPOCH) == last

        self.epoch, self.closed_cleanly = self._change(change)

    def _reach(self, name: str) -> None:
        if self._failpoint is not None:
            self._failpoint(name)

    # Groups

    def _apply(self, commits: Sequence[Commit], now: float) -> list[CommitOutcome]:
        """Apply the group at once; when that fails by one commit's fault, one commit at a time."""
        growths = 0
        while True:
            try:
                return self._attempt(commits, now)
            except StoreClosed:
                raise
            except Exception as error:  # noqa: BLE001 - one bad commit must not take its group down
                failure = self._failure(error)
                if failure is Failure.MAP_FULL and growths < _GROWTHS_MAX:
                    growths += 1
                    text = self._try_growing()
                    if text is None:
                        continue
                    return [unavailable(commit, text) for commit in commits]
                if failure is not Failure.COMMIT:
                    text = self._degrade(error)
                    return [unavailable(commit, text) for commit in commits]
                if len(commits) == 1:
                    text = f"{type(error).__name__}: {error}"
                    return [refused(commits[0], CommitRefused.code, text)]
            outcomes: list[CommitOutcome] = []
            for commit in commits:
                if self.degraded is None:
                    outcomes.extend(self._apply([commit], now))
                else:
                    outcomes.append(unavailable(commit, self.degraded))
            return outcomes

    def _attempt(self, commits: Sequence[Commit], now: float) -> list[CommitOutcome]:
        txn = self._begin_write()
        try:
            view = self._current_view(txn)
            group = Group(txn, view, self.options, now)
            outcomes = [group.process(commit) for commit in commits]
            if group.applied:
                group.finish()
                self._reach("commit.before_sync")
        except BaseException:
            txn.abort()
            raise
        if not group.applied:
            txn.abort()
            return outcomes
        self._commit_transaction(txn)
        group.publish()
        self._view = view
        self._groups += 1
        self._commits += group.applied
        if any(dropped := group.dropped()):
            self.dropped = self.dropped.plus(dropped)
        return outcomes

    def _commit_transaction(self, txn: CountingTransaction) -> None:
        # Until the commit has returned, nothing kept in memory is known to be true.
        self._view = None
        try:
            txn.commit()
            self._reach("commit.after_sync")
        except Exception as error:
            raise _CommitFailed from error
        self._puts += txn.puts
        self._put_bytes += txn.put_bytes

    def _current_view(self, txn: Transaction) -> View:
        if self._view is None:
            self._view = View(txn)
        return self._view

    def _change(self, change: Callable[[Transaction], T]) -> T:
        """Commit one small change of the store's own. Raises StoreUnavailable."""
        self._check_usable()  # before the lock: in a forked child nobody would ever release it
        with self._lock:
            self._check_usable()
            if self.degraded is not None:
                raise StoreUnavailable(self.degraded)
            for _ in range(_GROWTHS_MAX):
                try:
                    return self._change_once(change)
                except StoreClosed:
                    raise
                except Exception as error:
                    failure = self._failure(error)
                    if failure is Failure.COMMIT:
                        raise
                    if failure is Failure.DISK or self._try_growing() is not None:
                        raise StoreUnavailable(self.degraded or self._degrade(error)) from error
            raise StoreUnavailable(self._degrade(MemoryError("the map cannot grow further")))

    def _change_once(self, change: Callable[[Transaction], T]) -> T:
        txn = self._begin_write()
        try:
            result = change(txn)
            self._reach("change.before_sync")
        except BaseException:
            txn.abort()
            raise
        self._commit_transaction(txn)
        return result

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, _CommitFailed) and isinstance(error.__cause__, Exception):
            # What became of the group is not known, so it must not be replayed here; senders submit
            # it again.
            full = self._classify(error.__cause__) is Failure.MAP_FULL
            return Failure.MAP_FULL if full else Failure.DISK
        return self._classify(error)

    def _try_growing(self) -> str | None:
        """Grow the map; return why that is impossible, None when it worked."""
        try:
            self._grow()
        except Exception as error:  # noqa: BLE001 - whatever the reason, there is no room
            return self._degrade(error)
        return None

    def _degrade(self, error: Exception) -> str:
        self._view = None
        cause = error.__cause__ if isinstance(error, _CommitFailed) else error
        self.degraded = self._describe(cause if isinstance(cause, Exception) else error)
        failed = self._recover()
        if failed is not None:
            self.degraded += f"; {failed}"
        return self.degraded
