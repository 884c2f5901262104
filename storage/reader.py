"""What may be read of a store, within one consistent state. Nothing here changes anything."""

from typing import NamedTuple

import msgspec

from greenroom.protocol.checkpoints import CheckpointKey, CheckpointType, NewCheckpoint
from greenroom.protocol.commit import StateKey, Summary
from greenroom.protocol.decisions import Note
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import ExecutionState, Status
from greenroom.protocol.limits import LIST_PAGE_DEFAULT, NODE_NOTES_MAX
from greenroom.protocol.patch import JournalRecord
from greenroom.protocol.versions import PlanVersion
from greenroom.storage import (
    checkpoints,
    claims,
    concurrency,
    cursors,
    events,
    executions,
    journal,
    listing,
    notes,
    questions,
    state,
    timers,
    versions,
)
from greenroom.storage.journal import Loaded
from greenroom.storage.keys import (
    NUMBER_MAX,
    entry_digest,
    journal_key,
    pack_number,
    status_key,
    unpack_number,
    unpack_status_key,
)
from greenroom.storage.questions import StoredQuestion, Wanted
from greenroom.storage.records import ClaimEntry, unpack_summary
from greenroom.storage.tables import Table, Transaction
from greenroom.storage.timers import Timer


class StoredExecution(NamedTuple):
    """One execution as listings show it."""

    ordinal: int
    summary: Summary
    seq: int  # of its last journal record


class Reader:
    """Reads within one transaction; not to be used after the function that was given it has
    returned.

    What a method returns is a copy. All raise StoreCorrupt when stored data contradicts itself.
    """

    __slots__ = ("transaction",)

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    def execution(self, execution_id: str) -> StoredExecution | None:
        """Return the execution of that id, None when it is unknown or was dropped."""
        ordinal = executions.find_ordinal(self.transaction, execution_id)
        return self.execution_at(ordinal) if ordinal else None

    def execution_at(self, ordinal: int) -> StoredExecution | None:
        """Return the execution of that ordinal, None when there is none."""
        raw = self.transaction.get(Table.SUMMARIES, pack_number(ordinal))
        return None if raw is None else self._stored(ordinal, unpack_summary(raw)[1])

    def load(self, ordinal: int, seq: int | None = None) -> Loaded:
        """Return the state at `seq` (the newest by default), and how much was recorded since its
        snapshot.

        Raises HistoryPruned when the journal was cut since, StoreCorrupt when there is no such
        record.
        """
        return journal.load(self.transaction, ordinal, seq)

    def load_state(self, ordinal: int, seq: int | None = None) -> ExecutionState:
        """Return the state at `seq`, the newest by default. Raises as `load`."""
        return journal.load(self.transaction, ordinal, seq).state

    def journal(
        self, ordinal: int, after: int = 0, limit: int = LIST_PAGE_DEFAULT
    ) -> list[JournalRecord]:
        """Return up to `limit` records with seq > `after`, in order; where the journal was cut,
        some between them are gone.
        """
        page = journal.records(self.transaction, ordinal, after, limit)
        return [journal.decode(seq, raw) for seq, raw in page]

    def oldest_record(self, ordinal: int) -> int:
        """Return the seq from which on every record of an execution is there: 1 unless its journal
        was cut.
        """
        return journal.unbroken_from(self.transaction, ordinal)

    def record(self, ordinal: int, seq: int) -> JournalRecord | None:
        """Return one record of an execution's journal, None when there is none of that seq."""
        raw = self.transaction.get(Table.JOURNAL, journal_key(ordinal, seq))
        return None if raw is None else journal.decode(seq, raw)

    def notes(
        self, ordinal: int, seq: int = 0, number: int = 0, limit: int = LIST_PAGE_DEFAULT
    ) -> list[tuple[int, int, Note]]:
        """Return up to `limit` (seq, number, decision or problem) of an execution, behind the given
        place, in order.
        """
        return notes.page(self.transaction, ordinal, seq, number, limit)

    def notes_of_record(self, ordinal: int, seq: int) -> list[tuple[int, Note]]:
        """Return (number, decision or problem) of one record."""
        found = notes.page(self.transaction, ordinal, seq, 0, NODE_NOTES_MAX, last_seq=seq)
        return [(number, note) for _, number, note in found]

    def oldest(
        self,
        status: Status,
        entry_point: str,
        after_ordinal: int = 0,
        limit: int = LIST_PAGE_DEFAULT,
    ) -> list[StoredExecution]:
        """Return up to `limit` executions of a status and an entry point with a higher ordinal, in
        that order.
        """
        found = self._named(self.ordinals(status, entry_point, after_ordinal, limit))
        return [one for one in found if one.summary.entry_point == entry_point]

    def ordinals(
        self, status: Status, entry_point: str, after_ordinal: int, limit: int
    ) -> list[int]:
        """Return the ordinals of what `oldest` returns, from the index alone."""
        entry = entry_digest(entry_point)
        start = status_key(status, entry, after_ordinal + 1)
        stop = status_key(status, entry, NUMBER_MAX)
        page = self.transaction.keys(Table.STATUSES, start, stop, limit)
        return [unpack_status_key(key)[2] for key in page]

    def entry_points(self, status: Status) -> list[str]:
        """Return the entry points that have executions of that status; costs two reads for each."""
        found = []
        for entry in listing.entries_of(self.transaction, status):
            start, stop = status_key(status, entry, 0), status_key(status, entry, NUMBER_MAX)
            page = self.transaction.range(Table.STATUSES, start, stop, 1)
            (first,) = self._named([unpack_status_key(key)[2] for key, _ in page])
            found.append(first.summary.entry_point)
        return found

    def timers(self, entry_point: str, limit: int = LIST_PAGE_DEFAULT) -> list[Timer]:
        """Return what comes due first of an entry point's executions, but of those that run."""
        return timers.first(self.transaction, entry_digest(entry_point), limit)

    def plan(self, digest: bytes) -> PlanVersion | None:
        """Return what the graph with that digest declared, None when it was never noted."""
        return versions.plan(self.transaction, digest)

    def versions(self, entry_point: str) -> list[bytes]:
        """Return the digests of the graphs at which executions of an entry point wait; costs two
        reads for each, however many executions there are.
        """
        return versions.distinct(self.transaction, entry_digest(entry_point))

    def ordinals_at(
        self, entry_point: str, version: bytes, after_ordinal: int, limit: int
    ) -> list[int]:
        """Return up to `limit` ordinals of executions of an entry point that wait at that version,
        with a higher ordinal, in order.
        """
        entry = entry_digest(entry_point)
        return versions.ordinals(self.transaction, entry, version, after_ordinal, limit)

    def owner_of_key(self, entry_point: str, concurrency_key: str) -> int:
        """Return the ordinal of the execution that has begun with that key and not ended, or 0."""
        return concurrency.owner(self.transaction, entry_digest(entry_point), concurrency_key)

    def checkpoint(self, ordinal: int, key: CheckpointKey) -> NewCheckpoint | None:
        """Return a checkpoint of an execution, None when it has none of that id."""
        return checkpoints.find(self.transaction, ordinal, key)

    def checkpoints(
        self,
        ordinal: int,
        kind: CheckpointType | None = None,
        before: CheckpointKey | None = None,
        limit: int = LIST_PAGE_DEFAULT,
    ) -> list[NewCheckpoint]:
        """Return up to `limit` checkpoints of an execution, newest first, those below `before` when
        it is given.
        """
        return checkpoints.newest(self.transaction, ordinal, kind, before, limit)

    def checkpoints_between(self, ordinal: int, first: int, last: int) -> list[NewCheckpoint]:
        """Return the checkpoints of an execution with first <= seq <= last, oldest first."""
        return checkpoints.between(self.transaction, ordinal, first, last)

    def executions(
        self,
        status: Status | None = None,
        entry_point: str | None = None,
        before_ordinal: int | None = None,
        limit: int = LIST_PAGE_DEFAULT,
        *,
        goal_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[StoredExecution]:
        """Return up to `limit` executions, newest first, with a lower ordinal when `before_ordinal`
        is given; filters are combined, and since <= accepted_at <= until (wall UTC seconds).

        Costs about what it returns: with one of status and entry point, that much per status or
        per entry point. See `listing` for a clock that was set back.
        """
        below = NUMBER_MAX if before_ordinal is None else before_ordinal
        filters = listing.Filters(status, entry_point, goal_id, since, until)
        page = listing.page(self.transaction, filters, below, limit)
        return [self._stored(ordinal, summary) for ordinal, summary in page]

    def counts(self, entry_point: str | None = None) -> dict[Status, int]:
        """Return how many executions have each status; cost grows with their number, so not for
        the hot path.
        """
        found = dict.fromkeys(Status, 0)
        for status in Status:
            if entry_point is None:
                entries = listing.entries_of(self.transaction, status)
            else:
                entries = [entry_digest(entry_point)]
            for entry in entries:
                start, stop = status_key(status, entry, 0), status_key(status, entry, NUMBER_MAX)
                while page := self.transaction.range(Table.STATUSES, start, stop, 1000):
                    found[status] += len(page)
                    start = page[-1][0] + b"\0"
        return found

    def events(self, from_seq: int, limit: int = LIST_PAGE_DEFAULT) -> list[tuple[int, EventBody]]:
        """Return up to `limit` (seq, event) from `from_seq` on; 0 and 1 both mean from the
        beginning.

        Raises EventsPruned, which names the oldest seq still kept, when the first of them is gone.
        """
        return events.read(self.transaction, from_seq, limit)

    def oldest_event(self) -> int:
        """Return the seq of the oldest event kept; 1 while the log is empty."""
        return events.bounds(self.transaction)[0]

    def last_event(self) -> int:
        """Return the seq of the newest event, 0 while the log is empty."""
        last = self.transaction.last_at_or_before(Table.EVENTS, pack_number(NUMBER_MAX))
        return 0 if last is None else unpack_number(last[0])

    def event_payload(self, seq: int) -> msgspec.Raw | None:
        """Return the encoded data kept beside event `seq`, None when it has none or is gone."""
        raw = self.transaction.get(Table.PAYLOADS, pack_number(seq))
        return None if raw is None else msgspec.Raw(raw)

    def state_get(self, key: StateKey) -> tuple[msgspec.Raw | None, int]:
        """Return (encoded value, version): None when deleted or never written, version 0 when
        never written.
        """
        return state.get(self.transaction, key)

    def state_version(self, key: StateKey) -> int:
        """Return the version of a key, or of its whole scope when `key.key` is empty."""
        return state.version(self.transaction, key)

    def state_scope(self, scope: str, owner: str) -> tuple[list[tuple[str, msgspec.Raw, int]], int]:
        """Return the live (key, encoded value, version) of a scope, and the scope's version."""
        return state.scope(self.transaction, scope, owner)

    def question(self, execution_id: str, number: int) -> StoredQuestion | None:
        """Return a question, open or closed, None when there is none or its execution is gone."""
        ordinal = executions.find_ordinal(self.transaction, execution_id)
        return questions.find(self.transaction, ordinal, number) if ordinal else None

    def pending_questions(
        self,
        wanted: Wanted,
        after: StoredQuestion | None = None,
        limit: int = LIST_PAGE_DEFAULT,
    ) -> list[StoredQuestion]:
        """Return up to `limit` open questions that are `wanted`, those asked first first, behind
        `after` (which may be closed by now). Costs about what it returns.
        """
        ordinal = 0
        if wanted.execution_id:
            ordinal = executions.find_ordinal(self.transaction, wanted.execution_id)
            if not ordinal:
                return []
        return questions.pending(self.transaction, wanted, ordinal, after, limit)

    def claim(self, namespace: str, key: str) -> ClaimEntry | None:
        """Return the idempotency claim of a key, or None; one whose `expires_at` has passed no
        longer counts.
        """
        return claims.find(self.transaction, namespace, key)

    def cursor(self, consumer: str) -> tuple[int, msgspec.Raw | None]:
        """Return (seq, own record) of a log consumer, (0, None) for an unknown one."""
        return cursors.cursor(self.transaction, consumer)

    def cursors(self) -> dict[str, int]:
        """Return every log consumer's position."""
        return cursors.all_cursors(self.transaction)

    def fence(self, stream: str) -> int:
        """Return the present incarnation of a stream, 0 when it never had one."""
        return cursors.fence(self.transaction, stream)

    def meta(self, name: bytes) -> int:
        """Return a number of the store's own: b"format", b"epoch", ...; 0 when it was never set."""
        return cursors.get_number(self.transaction, name)

    def _named(self, ordinals: list[int]) -> list[StoredExecution]:
        txn = self.transaction
        return [self._stored(one, listing.summary_at(txn, one)) for one in ordinals]

    def _stored(self, ordinal: int, summary: Summary) -> StoredExecution:
        return StoredExecution(ordinal, summary, executions.last_seq(self.transaction, ordinal))
