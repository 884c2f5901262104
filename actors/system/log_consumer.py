"""A durable position in the event log: what an event leads to and the advance are one commit."""

import logging
from collections.abc import Sequence
from itertools import count
from typing import Final

import msgspec

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.fences import raise_fence
from greenroom.protocol.commit import Commit, CommitOutcome, CursorMove, NewEvent, OutcomeKind
from greenroom.protocol.errors import ActorError, EventsPruned, StoreUnavailable
from greenroom.protocol.events import EventBody
from greenroom.protocol.limits import CONSUMER_PAGE_EVENTS
from greenroom.protocol.messages import CommitNow, WriterMessage
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.consumers")

RETRY_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Waiting times before a consumer tries again; the last one repeats."""


class LogConsumer:
    """Reads the log page by page and moves its cursor. Part of one actor, used on its thread only.

    `cursor` is the durable position, `seen` the seq up to which pages were read; `state` is the
    consumer's own record, stored with the cursor. Exactly once: a new instance raises its fence
    before it reads the cursor, and a move from anywhere but the durable position is refused.
    """

    def __init__(self, name: str, store: Store, writer: ActorRef[WriterMessage]) -> None:
        self.name = name
        self.cursor = 0
        self.seen = 0
        self.state: msgspec.Raw | None = None
        self.pruned = 0  # events that were gone before they were read
        self._store = store
        self._writer = writer
        self._incarnation = 0
        self._numbers = count(1)

    async def open(self, first_state: bytes) -> None:
        """Shut out earlier instances, then load. One the store does not know begins at the present
        end of the log, with `first_state`.

        Raises StoreUnavailable.
        """
        self._incarnation = await raise_fence(self._writer, self.name)
        self.load()
        if self.state is None and not await self.advance(self.last(), state=first_state):
            raise StoreUnavailable(f"the log consumer {self.name} could not be registered")

    def load(self) -> None:
        """Go back to the durable position."""
        self.cursor, self.state = self._store.read(lambda reader: reader.cursor(self.name))
        self.seen = self.cursor

    def last(self) -> int:
        """The seq of the newest event in the log."""
        return self._store.read(lambda reader: reader.last_event())

    def page(self, limit: int = CONSUMER_PAGE_EVENTS) -> list[tuple[int, EventBody]]:
        """Return the next events after `seen`, which the caller moves as it goes through them."""
        start = self.seen + 1
        try:
            return self._store.read(lambda reader: reader.events(start, limit))
        except EventsPruned as gone:
            oldest = gone.oldest
            self.pruned += oldest - start
            logger.error(
                "events %d to %d were pruned before %s read them", start, oldest - 1, self.name
            )
            self.seen = oldest - 1
            return self._store.read(lambda reader: reader.events(oldest, limit))

    def move(self, seq: int) -> CursorMove:
        """The advance to `seq`, for a commit that somebody else makes; `moved` tells of its end."""
        return CursorMove(self.name, self.cursor, seq)

    def moved(self, seq: int) -> None:
        """The cursor is durably at `seq`."""
        self.cursor = seq
        self.seen = max(self.seen, seq)

    async def advance(
        self, seq: int, *, state: bytes | None = None, events: Sequence[NewEvent] = ()
    ) -> bool:
        """Commit the cursor, the record and events together.

        False when that was not possible: the consumer is then back at its durable position.
        """
        record = None if state is None else msgspec.Raw(state)
        commit = Commit(
            commit_id=next(self._numbers),
            stream=self.name,
            incarnation=self._incarnation,
            events=tuple(events),
            cursor=CursorMove(self.name, self.cursor, seq, record),
        )
        try:
            outcome: CommitOutcome = await self._writer.ask(CommitNow(commit=commit))
        except ActorError as error:
            # It may have been applied all the same: what the store says now counts.
            outcome = _unknown(commit, error)
        if outcome.kind is OutcomeKind.APPLIED:
            self.moved(seq)
            if record is not None:
                self.state = record
            return True
        logger.warning("%s: %s %s %s", self.name, outcome.kind, outcome.code, outcome.text)
        self.load()
        return False


def _unknown(commit: Commit, error: ActorError) -> CommitOutcome:
    kind = OutcomeKind.UNAVAILABLE
    return CommitOutcome(commit_id=commit.commit_id, kind=kind, code=error.code, text=str(error))


class Retry:
    """How long to wait before the next try: longer after each failure, until one succeeds."""

    def __init__(self) -> None:
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; returns the seconds to wait."""
        delay = RETRY_S[min(self.failures, len(RETRY_S) - 1)]
        self.failures += 1
        return delay

    def succeeded(self) -> None:
        """Something was done."""
        self.failures = 0
