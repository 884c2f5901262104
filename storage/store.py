"""The store as the rest of the runtime sees it, its options and its numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from greenroom.protocol.commit import Commit, CommitOutcome
from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.limits import (
    EVENT_LOG_DEFAULT,
    EXECUTION_RESULTS_DEFAULT,
    EXECUTION_RESULTS_MAX,
    IDEMPOTENCY_ENTRIES_MAX,
    JOURNAL_RECORDS_DEFAULT,
    JOURNAL_RECORDS_MAX,
    JOURNAL_RECORDS_MIN,
    TTL_S_MAX,
)
from greenroom.storage.reader import Reader

T = TypeVar("T")

FORMAT: Final = 1  # of everything on disk; a store with a higher one is refused
MAP_BYTES_MIN: Final = 1024 * 1024


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a store. `validate` raises InvalidConfig for values out of range."""

    map_bytes: int = 64 * 1024**3  # address space, not disk: the file grows as it is used
    results_max: int = EXECUTION_RESULTS_DEFAULT  # finished executions kept per entry point
    results_ttl_s: float | None = None  # age at which a finished execution is dropped; None: never
    events_max: int = EVENT_LOG_DEFAULT  # events kept in the log
    events_ttl_s: float | None = None  # age at which an event is dropped; None: never
    # Records of one session's journal that are kept, about, and their age; None: never too many.
    journal_records_max: int | None = JOURNAL_RECORDS_DEFAULT
    journal_ttl_s: float | None = None
    idempotency_entries_max: int = IDEMPOTENCY_ENTRIES_MAX
    sync: bool = True  # False can destroy the store at a power loss: for benchmarks only

    def validate(self) -> None:
        """Raise InvalidConfig when a value is out of its range."""
        for name, value, low, high in (
            ("map_bytes", self.map_bytes, MAP_BYTES_MIN, 2**46),
            ("results_max", self.results_max, 1, EXECUTION_RESULTS_MAX),
            ("events_max", self.events_max, 1, 2**40),
            ("idempotency_entries_max", self.idempotency_entries_max, 1, 2**40),
        ):
            if not low <= value <= high:
                raise InvalidConfig(f"store option {name} is {value}: choose {low} to {high}")
        low, high, records = JOURNAL_RECORDS_MIN, JOURNAL_RECORDS_MAX, self.journal_records_max
        if records is not None and not low <= records <= high:
            text = f"store option journal_records_max is {records}: choose {low} to {high}, or None"
            raise InvalidConfig(text)
        for name, age in (
            ("results_ttl_s", self.results_ttl_s),
            ("events_ttl_s", self.events_ttl_s),
            ("journal_ttl_s", self.journal_ttl_s),
        ):
            if age is not None and not 0 <= age <= TTL_S_MAX:
                text = f"store option {name} is {age}: choose 0 to {TTL_S_MAX:g}, or None"
                raise InvalidConfig(text)


class Dropped(NamedTuple):
    """What has left a store without anybody deleting it, since it was opened."""

    claims_evicted: int = 0  # idempotency claims that left before their time, for want of room
    executions_pruned: int = 0
    events_pruned: int = 0
    records_pruned: int = 0  # of journals that were cut

    def plus(self, other: "Dropped") -> "Dropped":
        """Return the sum."""
        return Dropped(*(one + more for one, more in zip(self, other, strict=True)))


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of a store; the counters start at 0 when it is opened."""

    pages: int  # of the file, used or free again; 0 in memory
    bytes: int  # size of those pages; in memory the size of keys and values
    tables: dict[str, int]  # entries by table
    puts: int
    put_bytes: int  # keys and values
    groups: int  # transactions committed
    commits: int  # commits applied
    claims_evicted: int  # see Dropped, for this and what follows
    executions_pruned: int
    events_pruned: int
    records_pruned: int


class Store(Protocol):
    """One open store. `commit`, `raise_fence`, `note_plan`, `tidy`, `drop_cursor`, `mark_clean`
    and `probe` belong to the writer's thread, the rest to any.

    Every method raises StoreClosed after `close`, and in a process forked from the one that opened
    the store.
    """

    @property
    def path(self) -> Path | None:
        """The store's folder; None in memory."""
        ...

    @property
    def epoch(self) -> int:
        """How many times the store has been opened for writing, this time included."""
        ...

    @property
    def closed_cleanly(self) -> bool:
        """True when the opening before this one ended with `mark_clean`, or there was none."""
        ...

    @property
    def degraded(self) -> str | None:
        """Why nothing can be written now, in one line; None while all is well."""
        ...

    @property
    def dropped(self) -> Dropped:
        """What has left the store. Any thread; reads nothing."""
        ...

    @property
    def overdue(self) -> bool:
        """Whether `tidy` has work that should not wait for its time: a journal is too long."""
        ...

    def commit(self, commits: Sequence[Commit], now: float) -> list[CommitOutcome]:
        """Check and apply `commits` in one transaction with one sync; one outcome each, in order.

        `now` is wall UTC seconds. Later commits see the effects of earlier ones. A commit that
        cannot be applied gets its own outcome and harms no other. While the store is degraded
        every outcome is `unavailable`.
        """
        ...

    def raise_fence(self, stream: str) -> int:
        """Return a new incarnation for `stream`, greater than every one before it, once it is
        durable.

        Commits of older incarnations are refused from then on. Raises StoreUnavailable.
        """
        ...

    def note_plan(self, digest: bytes, description: msgspec.Raw) -> None:
        """Remember what the graph with that digest declares: an encoded `versions.PlanVersion`, of
        which the first is kept. Raises StoreUnavailable.
        """
        ...

    def tidy(self, now: float) -> bool:
        """Drop what is too old, or too much: finished executions, what is left of those dropped
        earlier, events, records of journals. A bounded part, in one transaction. Says whether there
        may be more.

        `now` is wall UTC seconds. Raises StoreUnavailable.
        """
        ...

    def drop_cursor(self, consumer: str) -> bool:
        """Forget a log consumer, which no longer holds back the pruning of events; say whether it
        was known.
        """
        ...

    def read(self, function: Callable[[Reader], T]) -> T:
        """Return `function(reader)` over one consistent state; it may be called again while the
        map grows.

        Keep it short, and let nothing of the reader out of it. Raises StoreUnavailable.
        """
        ...

    def mark_clean(self) -> None:
        """Note that this opening ends in order: what is in flight now did not kill the process.

        Raises StoreUnavailable.
        """
        ...

    def probe(self) -> bool:
        """Try a small durable write; say whether the store is well, and clear `degraded` when it
        is.
        """
        ...

    def used_bytes(self) -> int:
        """Bytes that the store occupies."""
        ...

    def stats(self) -> StoreStats:
        """Sizes and counters."""
        ...

    def close(self) -> None:
        """Release everything; calling it again changes nothing."""
        ...
