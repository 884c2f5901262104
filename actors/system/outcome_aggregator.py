"""The outcome aggregator: folds what the log says of outcomes into the goal's progress."""

import asyncio
import logging
from functools import partial
from typing import Any, ClassVar, Final

import msgspec

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.event_data import EventData
from greenroom.actors.system.log_consumer import LogConsumer, Retry
from greenroom.actors.system.outcome_aggregator_handle import OutcomeAggregatorHandle
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import NewEvent
from greenroom.protocol.errors import StorageError, StoreUnavailable
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.goal import Goal
from greenroom.protocol.goal_progress import measure, output_matchers
from greenroom.protocol.limits import (
    AGGREGATOR_EVENTS_MAX,
    AGGREGATOR_INTERVAL_S,
    CONSUMER_PAGE_EVENTS,
)
from greenroom.protocol.messages import CatchUp, ConsumerMessage, FoldTick, WriterMessage
from greenroom.protocol.new_event import new_event
from greenroom.protocol.outcomes import FOLDED, OutcomeFold, fold_event
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.goals")

_decode_fold: Final = msgspec.msgpack.Decoder(OutcomeFold).decode


def aggregator_name(goal_id: str) -> str:
    """The log consumer of a goal's aggregator."""
    return f"aggregator:{goal_id}"


class OutcomeAggregator(Actor[ConsumerMessage]):
    """Commits the fold, its cursor and its own events together, each second or 1,000 events.

    So a restart loses nothing and counts nothing twice. A goal that the store does not know yet is
    measured from the present end of the log on. The aggregator's own events change no count.
    """

    messages = ConsumerMessage
    cancel_on_stop: ClassVar[bool] = True

    def __init__(
        self,
        goal: Goal,
        store: Store,
        writer: ActorRef[WriterMessage],
        handle: OutcomeAggregatorHandle,
    ) -> None:
        super().__init__()
        self._goal = goal
        self._matchers = output_matchers(goal)
        self._consumer = LogConsumer(aggregator_name(goal.id), store, writer)
        self._data = EventData(store)
        self._handle = handle
        self._fold = OutcomeFold()
        self._broken = False  # an event may have been counted in part
        self._folded = 0  # events that changed the fold since its last commit
        self._hops = 0  # the longest chain behind any of them
        self._retry = Retry()

    async def on_start(self) -> None:
        """Find the durable fold, and go on from there."""
        first = OutcomeFold(reported=measure(self._goal, OutcomeFold()).fingerprint())
        await self._consumer.open(encode(first))
        self._load()
        self.schedule(AGGREGATOR_INTERVAL_S, FoldTick())

    async def handle(self, message: ConsumerMessage) -> int:
        """Fold what is new; a tick also sets the next one."""
        try:
            done = await self._work()
        except StorageError:
            logger.exception("the outcome aggregator cannot read events")
            self._broken = True
            done = False
        if done:
            self._retry.succeeded()
        if isinstance(message, FoldTick):
            delay = AGGREGATOR_INTERVAL_S if done else self._retry.failed()
            self.schedule(delay, FoldTick())
        elif isinstance(message, CatchUp) and not done:
            raise StoreUnavailable("the goal's progress cannot be stored now")
        return self._consumer.seen

    def _load(self) -> None:
        state = self._consumer.state
        assert state is not None, "an open consumer has a record"
        self._fold = _decode_fold(state)
        self._folded = self._hops = 0
        self._broken = False
        self._handle.publish(bytes(state))

    async def _work(self) -> bool:
        consumer = self._consumer
        if self._broken:
            consumer.load()
            self._load()
        while True:
            page = consumer.page()
            for seq, body in page:
                if body.type in FOLDED and fold_event(
                    self._fold, body, partial(self._data_of, seq, body), self._matchers
                ):
                    self._folded += 1
                    self._hops = max(self._hops, body.hops)
                consumer.seen = seq
            last = len(page) < CONSUMER_PAGE_EVENTS
            many = consumer.seen - consumer.cursor >= AGGREGATOR_EVENTS_MAX
            if (many or (last and self._folded)) and not await self._commit():
                return False
            if last:
                return True
            await asyncio.sleep(0)

    def _data_of(self, seq: int, body: EventBody) -> dict[str, Any]:
        return self._data.event(seq, body).data

    async def _commit(self) -> bool:
        events = self._report()
        done = await self._consumer.advance(
            self._consumer.seen, state=encode(self._fold), events=events
        )
        # In both cases: what is durable is what counts from here on.
        self._load()
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
