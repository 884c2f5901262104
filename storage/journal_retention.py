"""How far back the journal of a session goes: the newest records, and none that is too old.

Nothing of this happens in the commit of a step. The writer looks at journals that have grown past
the limit, and now and then at all of them, a bounded part in each transaction of its own.
"""

import logging
from typing import Final

import msgspec

from greenroom.protocol.errors import StorageError
from greenroom.protocol.limits import JOURNAL_WALK_S_MAX, JOURNAL_WALK_S_MIN
from greenroom.storage import executions, journal, journal_cut
from greenroom.storage.keys import (
    NUMBER_MAX,
    journal_key,
    pack_number,
    unpack_journal_key,
    unpack_number,
)
from greenroom.storage.store import StoreOptions
from greenroom.storage.tables import Table, Transaction
from greenroom.storage.view import View

logger = logging.getLogger("greenroom.storage")

CUT_MAX: Final = 256  # records deleted by one transaction
WALK_MAX: Final = 128  # executions looked at by one transaction
SLACK_MIN: Final = 32
NEVER: Final = 2**64  # above every seq


def slack(records_max: int) -> int:
    """Records beyond the limit before a journal is cut: each cut may write the whole state."""
    return max(SLACK_MIN, records_max // 20)


class JournalRetention:
    """Notes and cuts within one group; thrown away with it."""

    def __init__(self, txn: Transaction, view: View, options: StoreOptions) -> None:
        self._txn = txn
        self._view = view
        self._keep = options.journal_records_max
        self._age = options.journal_ttl_s
        self._grown: list[int] = []
        self._walked = view.walked
        self._walk_at = view.walk_at
        self._due: dict[int, tuple[int, int]] | None = None  # a copy of the view's, once changed
        self.long_from = NEVER if self._keep is None else self._keep
        self.pruned = 0

    def grown(self, ordinal: int, seq: int) -> None:
        """A journal has got record `seq`, which is not below `long_from`."""
        assert self._keep is not None, "no journal is long without a limit"
        if not seq % slack(self._keep):
            self._grown.append(ordinal)

    def tidy(self, now: float) -> bool:
        """Cut what is due, a bounded part; say whether there may be more at once."""
        if self._keep is None and self._age is None:
            return False
        due = self._due = dict(self._view.long_journals)
        if not due:
            self._walk(due, now)
        left = CUT_MAX
        while due and left > 0:
            left -= self._cut(next(iter(due)), due, now, left)
        return bool(due) or self._walked is not None

    def publish(self) -> None:
        """Bring the view up to date with what is now durable."""
        view = self._view
        if self._due is not None:
            view.long_journals = self._due
            view.walked, view.walk_at = self._walked, self._walk_at
        for ordinal in self._grown:
            view.long_journals.setdefault(ordinal, (journal_cut.FIRST, 0))

    def _cut(self, ordinal: int, due: dict[int, tuple[int, int]], now: float, limit: int) -> int:
        """Cut a part of one journal; return what it cost, the limit when more is to be done."""
        after, target = due.pop(ordinal)
        if self._txn.get(Table.SUMMARIES, pack_number(ordinal)) is None:
            return 1
        try:
            # Decided once for all parts: each position that is cut at gets a snapshot.
            target = target or self._target(ordinal, now)
            part = journal_cut.cut(self._txn, ordinal, after, target, limit)
            self.pruned += part.records
            more = not part.finished or journal_cut.drop_questions(self._txn, ordinal, target)
        except (StorageError, msgspec.MsgspecError):
            # One that cannot be read would stop the writer each time that it is its turn.
            logger.exception("the journal of number %d is left as it is", ordinal)
            return 1
        if more:
            due[ordinal] = (part.after, target)
            return limit
        return max(1, part.cost)

    def _target(self, ordinal: int, now: float) -> int:
        """The first record from which on all stay."""
        last = executions.last_seq(self._txn, ordinal)
        found = journal.unbroken_from(self._txn, ordinal)
        keep = self._keep
        if keep is not None and last + 1 - found >= keep + slack(keep):
            found = last + 1 - keep
        if self._age is not None:
            oldest = now - self._age
            found = journal_cut.first_younger(self._txn, ordinal, found, last, oldest)
        return found

    def _walk(self, due: dict[int, tuple[int, int]], now: float) -> None:
        """Look at some executions; from the first one again when it is time."""
        if self._walked is None:
            if now < self._walk_at:
                return
            self._walked = 0
        start = pack_number(self._walked + 1)
        page = self._txn.keys(Table.SUMMARIES, start, pack_number(NUMBER_MAX), WALK_MAX)
        for number in page:
            ordinal = unpack_number(number)
            try:
                if self._may_be_due(ordinal, now):
                    due[ordinal] = (journal_cut.FIRST, 0)
            except StorageError:
                logger.exception("the journal of number %d is left as it is", ordinal)
        if len(page) == WALK_MAX:
            self._walked = unpack_number(page[-1])
            return
        self._walked = None
        every = JOURNAL_WALK_S_MAX if self._age is None else self._age / 10
        self._walk_at = now + min(max(every, JOURNAL_WALK_S_MIN), JOURNAL_WALK_S_MAX)

    def _may_be_due(self, ordinal: int, now: float) -> bool:
        """Whether its journal is long, begins too early, or was cut: names may have left since."""
        last = executions.last_seq(self._txn, ordinal)
        if last < journal_cut.FIRST + 2:
            return False  # the first record and the last one stay in any case
        if self._keep is not None and last >= self._keep:
            return True
        second = journal_key(ordinal, journal_cut.FIRST + 1)
        oldest = self._txn.keys(Table.JOURNAL, second, journal_key(ordinal + 1, 0), 1)[0]
        seq = unpack_journal_key(oldest)[1]
        if seq > journal_cut.FIRST + 1:
            return True
        if self._age is None:
            return False
        return journal_cut.recorded_at(self._txn, ordinal, seq) < now - self._age
