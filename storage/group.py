"""The rules of one group of commits: each is checked whole before its first put, then put.

A group works in one write transaction, over a view of what the writer keeps in memory. It changes
that view only in `publish`, which is called once the transaction is durable.
"""

from typing import Final

import msgspec

from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind, Summary
from greenroom.protocol.errors import CommitRefused, Fenced, IdempotencyConflict, VersionConflict
from greenroom.protocol.execution import SETTLED
from greenroom.storage import (
    batch,
    beside,
    checkpoints,
    claims,
    concurrency,
    cursors,
    executions,
    goals,
    state,
)
from greenroom.storage.event_appender import EventAppender
from greenroom.storage.executions import AT_REST, Head
from greenroom.storage.journal_retention import JournalRetention
from greenroom.storage.keys import entry_digest, journal_key, pack_number
from greenroom.storage.outcomes import applied, duplicate, refused
from greenroom.storage.records import decode_seq, unpack_summary
from greenroom.storage.retention import Retention
from greenroom.storage.sizes import unfit
from greenroom.storage.store import Dropped, StoreOptions
from greenroom.storage.tables import Table, Transaction
from greenroom.storage.view import (
    ORDINAL_FLOOR,
    STATE_VERSION,
    View,
)

_SWEEP_MAX: Final = 256  # records of dropped executions deleted by one group
_EXPIRE_MAX: Final = 16  # expired claims deleted by one group, beyond as many as it adds


class Group:
    """One attempt to apply a group; thrown away when the attempt fails."""

    def __init__(self, txn: Transaction, view: View, options: StoreOptions, now: float) -> None:
        self._txn = txn
        self._view = view
        self._options = options
        self._now = now
        self._heads: dict[int, Head | None] = {}
        self._fences: dict[str, int] = {}
        self._cursors: dict[str, int] = {}
        self._retention = Retention(txn, view, options, self._forget)
        self._log = EventAppender(txn, view, options)
        self._journals = JournalRetention(txn, view, options)
        self._next_ordinal = view.next_ordinal
        self._state_version = view.state_version
        self._claims = view.claims
        self._claims_added = 0
        self._garbage = view.garbage
        self._goal = view.goal
        self.applied = 0
        self._claims_evicted = 0

    def process(self, commit: Commit) -> CommitOutcome:
        """Apply one commit, or say why not; nothing of one that is not applied is put."""
        if commit.accepts:
            return batch.accept_all(commit, self._examine, self._put)
        return self._examine(commit) or self._put(commit)

    def _examine(self, commit: Commit) -> CommitOutcome | None:
        """Say what becomes of a commit that is not to be put; None when it is."""
        stream = commit.stream
        if stream:
            fence = self._fence(stream)
            if commit.incarnation != fence:
                text = f"incarnation {commit.incarnation} of {stream!r} was replaced by {fence}"
                return refused(commit, Fenced.code, text)
        head: Head | None = None
        if commit.record is not None or commit.delete:
            if commit.ordinal:
                head = self._head(commit.ordinal)
                if (
                    head is None
                    or head.seq != commit.expected_seq
                    or head.execution_id != commit.execution_id
                ):
                    return self._misplaced(commit, head)
                if commit.summary is not None and not _is_of(commit.summary, head):
                    text = f"the summary is not one of execution {head.execution_id}"
                    return refused(commit, CommitRefused.code, text)
            else:
                outcome = self._existing(commit)
                if outcome is not None:
                    return outcome
        elif commit.naming is not None:
            head = self._head(commit.ordinal) if commit.ordinal else None
            if head is None or head.execution_id != commit.execution_id:
                return self._misplaced(commit, head)
            why = checkpoints.misplaced(self._txn, commit.ordinal, head.seq, commit.naming)
            if why is not None:
                return refused(commit, VersionConflict.code, why)
        return self._check(commit, head)

    def finish(self) -> None:
        """Put what the whole group shares, and do a bounded part of the housekeeping."""
        self._log.flush()
        if self._state_version != self._view.state_version:
            cursors.set_number(self._txn, STATE_VERSION, self._state_version)
        if self._claims:
            limit = _EXPIRE_MAX + self._claims_added
            self._claims -= claims.expire(self._txn, self._now, limit)
            excess = self._claims - self._options.idempotency_entries_max
            if excess > 0:
                evicted = claims.evict(self._txn, min(excess, limit))
                self._claims -= evicted
                self._claims_evicted += evicted
        if self._garbage:
            self._garbage = executions.sweep(self._txn, _SWEEP_MAX)
        self._log.prune(self._cursors)

    def tidy(self) -> bool:
        """Drop what has stayed its time, a bounded part; say whether there may be more."""
        more = self._retention.expire(self._now)
        if self._garbage:
            self._garbage = executions.sweep(self._txn, _SWEEP_MAX)
        # Of both looks at the log: a store that is reopened with a lower limit may stay quiet.
        more |= self._log.expire(self._now) | self._log.prune({}) | self._journals.tidy(self._now)
        return more or self._garbage

    def dropped(self) -> Dropped:
        """What leaves the store with this group."""
        return Dropped(
            self._claims_evicted, self._retention.pruned, self._log.pruned, self._journals.pruned
        )

    def publish(self) -> None:
        """Bring the view up to date with what is now durable."""
        view = self._view
        for ordinal, head in self._heads.items():
            if head is None or head.status in AT_REST:
                view.heads.pop(ordinal, None)
            else:
                view.heads[ordinal] = head
        view.trim()
        view.fences.update(self._fences)
        view.cursors.update(self._cursors)
        self._retention.publish()
        view.next_ordinal = self._next_ordinal
        self._log.publish()
        self._journals.publish()
        view.state_version = self._state_version
        view.claims = self._claims
        view.garbage = self._garbage
        view.goal = self._goal

    # Checks: none of them puts anything.

    def _fence(self, stream: str) -> int:
        found = self._view.fences.get(stream)
        if found is None:
            found = self._fences.get(stream)
            if found is None:
                found = self._fences[stream] = cursors.fence(self._txn, stream)
        return found

    def _head(self, ordinal: int) -> Head | None:
        if ordinal in self._heads:
            return self._heads[ordinal]
        found = self._view.heads.get(ordinal)
        if found is None:
            found = self._heads[ordinal] = executions.load_head(self._txn, ordinal)
        return found

    def _misplaced(self, commit: Commit, head: Head | None) -> CommitOutcome:
        """A commit that does not follow the head: the same one once more, or one that came too
        late.
        """
        if head is None or head.execution_id != commit.execution_id:
            text = f"execution {commit.execution_id} is not number {commit.ordinal}"
            return refused(commit, VersionConflict.code, text)
        if self._is_stored(commit, commit.ordinal):
            return applied(commit, commit.ordinal)
        text = (
            f"execution {commit.execution_id} is at record {head.seq}, "
            f"the commit expected {commit.expected_seq}"
        )
        return refused(commit, VersionConflict.code, text)

    def _is_stored(self, commit: Commit, ordinal: int) -> bool:
        stored = self._txn.get(Table.JOURNAL, journal_key(ordinal, commit.expected_seq + 1))
        return stored is not None and commit.record is not None and stored == bytes(commit.record)

    def _existing(self, commit: Commit) -> CommitOutcome | None:
        """An accept under an id that is taken: its own earlier submission, a duplicate, or
        somebody else's.
        """
        summary = commit.summary
        if summary is None or not commit.execution_id or commit.expected_seq:
            text = "an accept needs an execution id, a summary, and expected_seq 0"
            return refused(commit, CommitRefused.code, text)
        if summary.execution_id != commit.execution_id:
            text = f"the summary is of {summary.execution_id}, the commit of {commit.execution_id}"
            return refused(commit, CommitRefused.code, text)
        ordinal = executions.find_ordinal(self._txn, commit.execution_id)
        if not ordinal:
            return None
        if self._is_stored(commit, ordinal):
            return applied(commit, ordinal)
        raw = self._txn.get(Table.SUMMARIES, pack_number(ordinal))
        if raw is not None and unpack_summary(raw)[1].entry_point == summary.entry_point:
            return duplicate(commit, commit.execution_id, ordinal)
        text = f"execution id {commit.execution_id} belongs to another entry point"
        return refused(commit, VersionConflict.code, text)

    def _check(self, commit: Commit, head: Head | None) -> CommitOutcome | None:
        """What is left to check once the commit follows its head; the cheap checks first."""
        record = commit.record
        if commit.delete:
            if record is not None or head is None or head.status not in SETTLED:
                text = "only a settled execution can be deleted, by a commit without a record"
                return refused(commit, CommitRefused.code, text)
        elif record is None:
            named = commit.naming is not None
            if beside.needs_record(commit) or (commit.ordinal and not named):
                text = "a commit without a record changes no execution"
                return refused(commit, CommitRefused.code, text)
        else:
            try:
                seq = decode_seq(record).seq
            except msgspec.MsgspecError as cause:
                return refused(commit, CommitRefused.code, f"the record cannot be read: {cause}")
            if seq != commit.expected_seq + 1:
                text = f"record {seq} does not follow record {commit.expected_seq}"
                return refused(commit, CommitRefused.code, text)
        if commit.fork is not None and (why := beside.refusal(self._txn, commit)) is not None:
            return why
        error = unfit(commit)
        if error is not None:
            return refused(commit, error.code, str(error))
        if commit.cursor is not None:
            outcome = self._check_cursor(commit)
            if outcome is not None:
                return outcome
        if commit.reads:
            stale = state.stale(self._txn, commit.reads)
            if stale:
                return CommitOutcome(
                    commit_id=commit.commit_id,
                    kind=OutcomeKind.CONFLICT,
                    execution_id=commit.execution_id,
                    ordinal=commit.ordinal,
                    stale=stale,
                )
        return self._check_claims(commit) if commit.idempotency else None

    def _check_cursor(self, commit: Commit) -> CommitOutcome | None:
        move = commit.cursor
        assert move is not None, "called only for a commit with a cursor move"
        last = self._log.last + len(commit.events)
        if move.seq > last:
            text = f"the cursor of {move.consumer!r} may not pass the last event, {last}"
            return refused(commit, CommitRefused.code, text)
        at, own = cursors.cursor(self._txn, move.consumer)
        if at == move.expected:
            return None
        unchanged = move.state is None or (own is not None and bytes(own) == bytes(move.state))
        if commit.record is None and at == move.seq and unchanged:
            return applied(commit, 0)
        text = f"the cursor of {move.consumer!r} is at {at}, the commit expected {move.expected}"
        return refused(commit, VersionConflict.code, text)

    def _check_claims(self, commit: Commit) -> CommitOutcome | None:
        for claim in commit.idempotency:
            found = claims.find(self._txn, claim.namespace, claim.key)
            if found is None or found.expires_at <= self._now:
                continue
            first = found.execution_id
            if claim.digest and claim.digest != found.digest:
                text = str(IdempotencyConflict(claim.key, first))
                outcome = refused(commit, IdempotencyConflict.code, text)
                return msgspec.structs.replace(outcome, duplicate_of=first)
            ordinal = executions.find_ordinal(self._txn, first) if first else 0
            return duplicate(commit, first, ordinal)
        return None

    # Puts: every check has passed.

    def _put(self, commit: Commit) -> CommitOutcome:
        txn = self._txn
        ordinal = commit.ordinal
        head = self._head(ordinal) if ordinal else None
        if commit.record is not None:
            if head is None:
                ordinal = self._next_ordinal
                self._next_ordinal = ordinal + 1
            seq = commit.expected_seq + 1
            if commit.summary is not None:
                self._put_summary(commit, ordinal, head)
            elif head is not None:
                self._heads[ordinal] = Head(head[0], head[1], seq, head[3], head[4], head[5])
            key = journal_key(ordinal, seq)
            txn.put(Table.JOURNAL, key, commit.record)
            if seq >= self._journals.long_from:
                self._journals.grown(ordinal, seq)
            if commit.snapshot is not None:
                txn.put(Table.SNAPSHOTS, key, commit.snapshot)
        elif commit.delete and head is not None:
            self._retention.delete(ordinal, head)
        if ordinal:
            entry = self._entry_of(ordinal) if head is None else head.entry
            beside.put(txn, entry, ordinal, commit)
        first_event = self._log.append(commit.events) if commit.events else 0
        version = 0
        if commit.writes:
            version = self._state_version = self._state_version + 1
            state.write(txn, commit.writes, version)
        for claim in commit.idempotency:
            added = claims.put(txn, claim, commit.execution_id)
            self._claims += added
            self._claims_added += added
        if commit.cursor is not None:
            move = commit.cursor
            cursors.move(txn, move.consumer, move.seq, move.state)
            self._cursors[move.consumer] = move.seq
        self.applied += 1
        return CommitOutcome(
            commit_id=commit.commit_id,
            kind=OutcomeKind.APPLIED,
            execution_id=commit.execution_id,
            ordinal=ordinal,
            first_event=first_event,
            state_version=version,
        )

    def _entry_of(self, ordinal: int) -> bytes:
        head = self._heads[ordinal]
        assert head is not None, "the commit in hand has just set it"
        return head.entry

    def _put_summary(self, commit: Commit, ordinal: int, head: Head | None) -> None:
        summary = commit.summary
        assert summary is not None, "called only for a commit with a summary"
        entry = entry_digest(summary.entry_point) if head is None else head.entry
        before = 0 if head is None else head.mark
        mark, counted = 0, 0
        if before or executions.is_terminal(summary.status):
            counted, mark = self._retention.finished_of(entry)
            if executions.is_terminal(summary.status):
                counted, mark = counted + 1, mark + 1
            else:
                mark = 0
            counted -= 1 if before else 0
        if head is None:
            executions.insert(self._txn, ordinal, summary, mark)
            if summary.goal_id != self._goal:
                goals.begin(self._txn, summary.goal_id, ordinal)
                self._goal = summary.goal_id
        else:
            executions.update(self._txn, ordinal, head, summary, mark)
        if summary.concurrency_key:
            concurrency.keep(self._txn, entry, ordinal, summary)
        seq = commit.expected_seq + 1
        name, version = commit.execution_id, summary.version
        self._heads[ordinal] = Head(name, entry, seq, summary.status, mark, version)
        if before or mark:
            self._retention.counted(entry, counted, mark)

    def _forget(self, dropped: list[int]) -> None:
        for ordinal in dropped:
            self._heads[ordinal] = None
        if max(dropped) == self._next_ordinal - 1:
            # The next ordinal is read from the summaries at opening, and must not be given twice.
            cursors.set_number(self._txn, ORDINAL_FLOOR, max(dropped))
        self._garbage = True


def _is_of(summary: Summary, head: Head) -> bool:
    return (
        summary.execution_id == head.execution_id
        and entry_digest(summary.entry_point) == head.entry
    )
