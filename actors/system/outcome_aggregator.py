"""The outcome aggregator: folds what the log says of outcomes into the goal's progress."""

import asyncio
import logging
from collections.abc import Mapping
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Final

import msgspec

from greenroom.actors.kernel.actor import DEFERRED, Actor, Reply
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.criteria_calls import CriteriaCalls
from greenroom.actors.system.event_data import EventData
from greenroom.actors.system.log_consumer import LogConsumer, Retry
from greenroom.actors.system.outcome_aggregator_handle import OutcomeAggregatorHandle
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import NewEvent
from greenroom.protocol.errors import StorageError, StoreUnavailable
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.goal import Goal
from greenroom.protocol.goal_criteria import asked_of_outputs, failed_answer
from greenroom.protocol.goal_progress import measure
from greenroom.protocol.limits import (
    AGGREGATOR_EVENTS_MAX,
    AGGREGATOR_INTERVAL_S,
    CONSUMER_PAGE_EVENTS,
)
from greenroom.protocol.messages import (
    AnswerGiven,
    CatchUp,
    ConsumerMessage,
    CriteriaAnswered,
    FoldTick,
    WriterMessage,
)
from greenroom.protocol.new_event import new_event
from greenroom.protocol.outcomes import COMPLETED, FOLDED, Answer, OutcomeFold, fold_event
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.goals")

NO_OUTPUT: Final = "its output was pruned before it was looked at"

_decode_fold: Final = msgspec.msgpack.Decoder(OutcomeFold).decode


def aggregator_name(goal_id: str) -> str:
    """The log consumer of a goal's aggregator."""
    return f"aggregator:{goal_id}"


class _Work(Enum):
    """How far the aggregator came."""

    DONE = "done"  # everything in the log is folded and stored
    FAILED = "failed"  # the store cannot be read or written now
    WAITING = "waiting"  # for the answers of users' functions


class OutcomeAggregator(Actor[ConsumerMessage]):
    """Commits the fold, its cursor and its own events together, each second or 1,000 events.

    So a restart loses nothing and counts nothing twice. A goal that the store does not know yet is
    measured from the present end of the log on. The aggregator's own events change no count.

    Users' functions never run here: they are asked about all executions of a page that completed,
    and their answers come as a message. Until then the log is folded as far as the first of these.
    Answers are kept in memory only: a restart asks again.
    """

    messages = ConsumerMessage
    cancel_on_stop: ClassVar[bool] = True

    def __init__(
        self,
        goal: Goal,
        store: Store,
        writer: ActorRef[WriterMessage],
        handle: OutcomeAggregatorHandle,
        calls: CriteriaCalls | None = None,
    ) -> None:
        super().__init__()
        self._goal = goal
        self._asked = asked_of_outputs(goal)
        self._calls = calls if calls is not None and calls.criteria else None
        self._consumer = LogConsumer(aggregator_name(goal.id), store, writer)
        self._data = EventData(store)
        self._handle = handle
        self._fold = OutcomeFold()
        self._broken = False  # an event may have been counted in part
        self._folded = 0  # events that changed the fold since its last commit
        self._hops = 0  # the longest chain behind any of them
        self._retry = Retry()
        self._answers: dict[int, dict[str, Answer]] = {}  # by seq and criterion
        self._asking = False
        self._catching_up: list[tuple[int, Reply]] = []

    async def on_start(self) -> None:
        """Find the durable fold, and go on from there."""
        first = OutcomeFold(reported=measure(self._goal, OutcomeFold()).fingerprint())
        await self._consumer.open(encode(first))
        self._load()
        self.schedule(AGGREGATOR_INTERVAL_S, FoldTick())

    async def handle(self, message: ConsumerMessage) -> object:
        """Fold what is new; a tick also sets the next one."""
        if isinstance(message, CriteriaAnswered):
            if message.incarnation != self.incarnation:
                return None
            self._take(message.answers)
            if not message.answers:
                return None  # the next tick asks again
        try:
            work = await self._work()
        except StorageError:
            logger.exception("the outcome aggregator cannot read events")
            self._broken = True
            work = _Work.FAILED
        if work is not _Work.FAILED:
            self._retry.succeeded()
        if isinstance(message, FoldTick):
            failed = work is _Work.FAILED
            self.schedule(self._retry.failed() if failed else AGGREGATOR_INTERVAL_S, FoldTick())
        self._answer(work)
        if not isinstance(message, CatchUp) or work is _Work.DONE:
            return self._consumer.seen
        if work is _Work.FAILED:
            raise StoreUnavailable("the goal's progress cannot be stored now")
        self._catching_up.append((self._consumer.last(), self.defer()))
        return DEFERRED

    def _load(self) -> None:
        state = self._consumer.state
        assert state is not None, "an open consumer has a record"
        self._fold = _decode_fold(state)
        self._folded = self._hops = 0
        self._broken = False
        self._handle.publish(bytes(state))

    async def _work(self) -> _Work:
        consumer = self._consumer
        if self._broken:
            consumer.load()
            self._load()
        while True:
            page = consumer.page()
            unknown = self._unknown(page)
            for seq, body in page:
                if unknown and seq == unknown[0][0]:
                    break
                if body.type in FOLDED and fold_event(
                    self._fold, body, partial(self._data_of, seq, body), partial(self._judge, seq)
                ):
                    self._folded += 1
                    self._hops = max(self._hops, body.hops)
                consumer.seen = seq
            if unknown:
                if self._folded and not await self._commit():
                    return _Work.FAILED
                self._ask(unknown)
                return _Work.WAITING
            last = len(page) < CONSUMER_PAGE_EVENTS
            many = consumer.seen - consumer.cursor >= AGGREGATOR_EVENTS_MAX
            if (many or (last and self._folded)) and not await self._commit():
                return _Work.FAILED
            if last:
                return _Work.DONE
            await asyncio.sleep(0)

    def _data_of(self, seq: int, body: EventBody) -> dict[str, Any]:
        return self._data.event(seq, body).data if self._asked or body.type != COMPLETED else {}

    # --- what criteria ask about the execution that a page says has completed

    def _unknown(self, page: list[tuple[int, EventBody]]) -> list[tuple[int, EventBody]]:
        """The ends of executions about which users' functions must be asked first."""
        if self._calls is None:
            return []
        return [
            (seq, body) for seq, body in page if body.type == COMPLETED and seq not in self._answers
        ]

    def _ask(self, unknown: list[tuple[int, EventBody]]) -> None:
        if not self._asking and self._calls is not None:
            self._asking = True
            self._calls.ask(unknown, partial(_tell_answers, self.ref, self.incarnation))

    def _take(self, answers: tuple[AnswerGiven, ...]) -> None:
        self._asking = False
        for one in answers:
            self._answers.setdefault(one.seq, {})[one.criterion] = one.answer

    def _judge(
        self, seq: int, body: EventBody, data: dict[str, Any]
    ) -> Mapping[str, tuple[str, Answer]]:
        output, metrics = data.get("output"), data.get("metrics", {})
        given = self._answers.get(seq, {})
        found: dict[str, tuple[str, Answer]] = {}
        for criterion, asked in self._asked.items():
            if asked.judge is None:
                answer = given.get(criterion) or failed_answer("there is no such function")
            elif isinstance(output, dict):
                answer = asked.judge(output, metrics)
            else:
                answer = failed_answer(NO_OUTPUT)
            found[criterion] = (asked.wanted, answer)
        return found

    def _answer(self, work: _Work) -> None:
        """Answer those who wait, as far as what they wait for is stored."""
        reached = self._consumer.seen if work is _Work.DONE else self._consumer.cursor
        for target, reply in self._catching_up[:]:
            if reached >= target or work is _Work.DONE:
                reply.set(self._consumer.seen)
            elif work is _Work.FAILED:
                reply.set_exception(StoreUnavailable("the goal's progress cannot be stored now"))
            else:
                continue
            self._catching_up.remove((target, reply))

    # --- storing

    async def _commit(self) -> bool:
        events = self._report()
        done = await self._consumer.advance(
            self._consumer.seen, state=encode(self._fold), events=events
        )
        # In both cases: what is durable is what counts from here on.
        self._load()
        for seq in [one for one in self._answers if one <= self._consumer.cursor]:
            del self._answers[seq]
        return done

    def _report(self) -> tuple[NewEvent, ...]:
        """The events that the fold gives rise to now; notes in the fold that they exist."""
        fold = self._fold
        progress = measure(self._goal, fold)
        fingerprint = progress.fingerprint()
        if fingerprint == fold.reported:
            return ()
        fold.reported = fingerprint
        data = {"progress": progress.overall, "criteria_status": progress.criteria_status()}
        now, hops = self.clock.now(), self._hops
        # With hops, an entry point that progress starts and that makes progress comes to an end.
        made = [new_event(EventType.GOAL_PROGRESS, now, data=data, hops=hops)]
        if progress.achieved and not fold.achieved:
            fold.achieved = True
            reached = {"goal_id": self._goal.id, "progress": progress.overall}
            made.append(new_event(EventType.GOAL_ACHIEVED, now, data=reached, hops=hops))
        return tuple(made)


def _tell_answers(
    ref: ActorRef[ConsumerMessage], incarnation: int, answers: tuple[AnswerGiven, ...]
) -> None:
    ref.tell(CriteriaAnswered(incarnation=incarnation, answers=answers), control=True)
