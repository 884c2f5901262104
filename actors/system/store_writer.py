"""The one writer of the store: takes all that waits in its mailbox and commits it as one group.

It has a thread of its own, because a sync to disk may take milliseconds. After the acknowledgements
it waits until the streams have turned them into their next commits (lockstep): those then form the
next group, and the puts run while the loop is idle, not against it. With one stream and nothing in
the mailbox there is nothing to wait for but that stream's next message.
"""

import logging
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from greenroom.actors.kernel.actor import Actor, Request
from greenroom.actors.kernel.synchronisation import wait_until_run
from greenroom.actors.system.event_interest import EventInterest
from greenroom.protocol.commit import Commit, CommitOutcome
from greenroom.protocol.errors import ActorStopped, StoreUnavailable
from greenroom.protocol.messages import (
    Barrier,
    CommitBatch,
    CommitNow,
    DropCursor,
    EventsAppended,
    NotePlan,
    RaiseFence,
    StoreProbe,
    TidyStore,
    WriterMessage,
)
from greenroom.protocol.stream_messages import CommitAcks, StoreBack, StreamMessage
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.writer")

LOCKSTEP_S: Final = 0.02
"""The longest wait for the loop after acknowledgements. A loop that is slower than this is busy
with something else, and the commits that are there should not wait for it."""

PROBE_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Waiting times between probes of a store that refuses writes; the last one repeats."""


class WriterSlot:
    """What belongs to the writer's address and outlives its instances. Any thread may look.

    `senders` are those who sent commits: whoever was refused while the store could not write hears
    when it does again, also from the next instance.
    """

    __slots__ = ("busy_since", "senders")

    def __init__(self) -> None:
        self.senders: dict[str, None] = {}
        self.busy_since: float | None = None  # monotonic seconds; in a commit since then

    def silent_s(self, now: float) -> float:
        """How long the present commit has taken; 0 when there is none."""
        since = self.busy_since
        return 0.0 if since is None else now - since


class StoreWriter(Actor[WriterMessage]):
    """Owns every write transaction of one store. Runs on its own thread.

    Commits are told with `CommitBatch` (acknowledged with `CommitAcks`) or asked with `CommitNow`.
    `interest` says who waits for events; they are told only while somebody does. With `tidy_s`, it
    drops what has stayed its time each so many seconds, and a part of a journal that has become too
    long between two groups. What is in the mailbox at an orderly stop is still committed.
    """

    messages = WriterMessage
    dispatcher_kind: ClassVar[Literal["loop", "thread"]] = "thread"
    drain_on_stop: ClassVar[bool] = True

    def __init__(
        self,
        store: Store,
        interest: EventInterest,
        slot: WriterSlot | None = None,
        tidy_s: float | None = None,
    ) -> None:
        super().__init__()
        self._tidy_s = tidy_s
        self._store = store
        self._interest = interest
        self._slot = WriterSlot() if slot is None else slot
        self._probes = 0
        self._tidies = False  # it has told itself to tidy at once

    def on_start(self) -> None:
        """The probe that a predecessor had scheduled went with it."""
        if self._store.degraded is not None:
            self._schedule_probe()
        if self._tidy_s is not None:
            self.schedule(0.0, TidyStore())

    def on_stop(self) -> None:
        """An orderly end: what is unfinished now was not what ended the process."""
        if self._store.degraded is None:
            self._store.mark_clean()

    def handle_batch(self, messages: list[WriterMessage | Request[WriterMessage]]) -> None:
        """Commit in order; neighbouring commits, told or asked, form one group."""
        group: list[CommitBatch | Request[WriterMessage]] = []
        for item in messages:
            message = item.message if isinstance(item, Request) else item
            if isinstance(item, CommitBatch) or isinstance(message, CommitNow):
                group.append(item)  # type: ignore[arg-type]  # narrowed by the line above
                continue
            self._commit_group(group)
            group = []
            self._serve(item, message)
        self._commit_group(group)

    def _serve(self, item: WriterMessage | Request[WriterMessage], message: WriterMessage) -> None:
        answer: int | None = None
        try:
            match message:
                case RaiseFence(stream=stream):
                    answer = self._store.raise_fence(stream)
                case NotePlan(digest=digest, description=description):
                    self._store.note_plan(digest, description)
                case DropCursor(consumer=consumer):
                    answer = self._store.drop_cursor(consumer)
                case StoreProbe():
                    self._probe()
                case TidyStore(at_once=at_once):
                    self._tidy(at_once=at_once)
                case _:
                    assert isinstance(message, Barrier), f"{message!r} must be asked, not told"
        except StoreUnavailable as error:
            # The asker's answer; as a crash it would take the whole batch with it.
            if isinstance(item, Request):
                item.reply.set_exception(error)
            self._watch_store()
            return
        if isinstance(item, Request):
            item.reply.set(answer)

    def _tidy(self, *, at_once: bool) -> None:
        assert self._tidy_s is not None, "only a writer that tidies tells itself to"
        if at_once:
            self._tidies = False
        else:
            self.schedule(self._tidy_s, TidyStore())
        if self._store.tidy(self.clock.now()):
            self._tidy_at_once()

    def _tidy_at_once(self) -> None:
        if not self._tidies and self._tidy_s is not None:
            self._tidies = True
            self.schedule(0.0, TidyStore(at_once=True))

    def _commit_group(self, group: Sequence[CommitBatch | Request[WriterMessage]]) -> None:
        if not group:
            return
        commits: list[Commit] = []
        for item in group:
            commits.extend(_commits_of(item))
        self._slot.busy_since = self.clock.monotonic()
        try:
            outcomes = self._store.commit(commits, self.clock.now())
        finally:
            self._slot.busy_since = None
        start = 0
        told: set[str] = set()
        for item in group:
            end = start + len(_commits_of(item))
            if isinstance(item, CommitBatch):
                self._acknowledge(item.sender, tuple(outcomes[start:end]))
                told.add(item.sender)
            else:
                item.reply.set(outcomes[start])
            start = end
        if self._interest.wanted:
            self._tell_events(outcomes, commits)
        if self._store.overdue:
            self._tidy_at_once()
        self._watch_store()
        # One stream alone tells its next commits at the end of its slice: to wait for the slice
        # would be one more wake-up for nothing.
        if len(told) > 1 or (told and self.ref.stats().depth):
            wait_until_run(self.system.dispatcher, LOCKSTEP_S)

    def _acknowledge(self, sender: str, outcomes: tuple[CommitOutcome, ...]) -> None:
        self._slot.senders[sender] = None
        self._tell(sender, CommitAcks(outcomes=outcomes, degraded=self._store.degraded))

    def _tell(self, sender: str, message: StreamMessage) -> None:
        ref = self.system.ref(sender)
        try:
            if ref is not None:
                ref.tell(message, control=True)
        except ActorStopped:
            # It sent its last commits on its way down, and needs no answer.
            logger.debug("%s stopped before its acknowledgement", sender)

    def _tell_events(self, outcomes: Sequence[CommitOutcome], commits: Sequence[Commit]) -> None:
        last = 0
        for outcome, commit in zip(outcomes, commits, strict=True):
            last = max(last, _last_event(outcome, commit))
        if last:
            for listener in self._interest.listeners():
                try:
                    listener.tell(EventsAppended(last=last), control=True)
                except ActorStopped:
                    self._interest.remove(listener)  # it ended for good without saying so

    def _watch_store(self) -> None:
        """Begin to probe a store that refuses writes."""
        if self._store.degraded is not None and self._probes == 0:
            logger.error("the store refuses writes: %s", self._store.degraded)
            self._schedule_probe()

    def _schedule_probe(self) -> None:
        delay = PROBE_S[min(self._probes, len(PROBE_S) - 1)]
        self._probes += 1
        self.schedule(delay, StoreProbe())

    def _probe(self) -> None:
        if not self._store.probe():
            self._schedule_probe()
            return
        self._probes = 0
        logger.warning("the store writes again")
        for sender in self._slot.senders:
            self._tell(sender, StoreBack())


def _last_event(outcome: CommitOutcome, commit: Commit) -> int:
    """The seq of the last event that a commit added, 0 when it added none."""
    last = outcome.first_event + len(commit.events) - 1 if outcome.first_event else 0
    for part in zip(outcome.parts, commit.accepts, strict=False):  # no parts when it was refused
        last = max(last, _last_event(*part))
    return last


def _commits_of(item: CommitBatch | Request[WriterMessage]) -> tuple[Commit, ...]:
    if isinstance(item, CommitBatch):
        return item.commits
    assert isinstance(item.message, CommitNow)
    return (item.message.commit,)
