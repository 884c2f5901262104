"""Event-driven entry points: each event that matches starts one execution, exactly once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

import msgspec

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.dispatcher import TimerHandle
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.event_data import EventData
from greenroom.actors.system.event_interest import EventInterest
from greenroom.actors.system.log_consumer import LogConsumer, Retry
from greenroom.protocol.admission_errors import RateLimited
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import CommitOutcome, OutcomeKind
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import GreenroomError, StorageError, ValueTooLarge
from greenroom.protocol.event_trigger import (
    consumer_name,
    event_execution_id,
    hop_limit_event,
    over_hop_limit,
    trigger_filter,
)
from greenroom.protocol.events import EventBody
from greenroom.protocol.limits import AGGREGATOR_EVENTS_MAX, AGGREGATOR_INTERVAL_S, INPUT_BYTES_MAX
from greenroom.protocol.messages import (
    CatchUp,
    ConsumerMessage,
    EventsAppended,
    FoldTick,
    WriterMessage,
)
from greenroom.protocol.stream_messages import Trigger
from greenroom.protocol.values import encode_value
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.triggers")

StartExecution = Callable[[Trigger], Awaitable[CommitOutcome]]

SKIPPED_MAX: Final = AGGREGATOR_EVENTS_MAX  # events read past the durable cursor
LOG_EACH: Final = 60  # failures in a row; about a minute
FLUSH_S: Final = AGGREGATOR_INTERVAL_S


class EventDrivenTrigger(Actor[ConsumerMessage]):
    """Starts executions of one entry point, in the order of the log.

    `start` sends a trigger to the entry point's stream, once that has room, and returns what became
    of it; its errors and refusals are tried again, so an event is never skipped. The execution and
    the move of the cursor are one commit of that stream.

    Raises InvalidConfig at construction when the entry point cannot be event-driven.
    """

    messages = ConsumerMessage
    cancel_on_stop: ClassVar[bool] = True  # it may be waiting for a stream that is down

    def __init__(
        self,
        spec: EntryPointSpec,
        store: Store,
        writer: ActorRef[WriterMessage],
        interest: EventInterest,
        start: StartExecution,
    ) -> None:
        super().__init__()
        self._entry_point = spec.id
        self._filter = trigger_filter(spec)
        self._consumer = LogConsumer(consumer_name(spec.id), store, writer)
        self._interest = interest
        self._start_execution = start
        self._data = EventData(store)
        self._retry = Retry()
        self._limited_s = 0.0  # until the entry point's rate lets the next one in
        self._timer: TimerHandle | None = None

    async def on_start(self) -> None:
        """Find the durable position, and look for what was committed while no instance ran."""
        await self._consumer.open(encode({"since": self.clock.now()}))
        self._tick_after(0.0)

    def on_stop(self) -> None:
        """Want nothing more."""
        self._interest.remove(self.ref)

    async def handle(self, message: ConsumerMessage) -> int:
        """Start what is due; returns the seq up to which the log was read."""
        consumer = self._consumer
        try:
            match message:
                case FoldTick():
                    self._timer = None
                    await self._work()
                    if not self._retry.failures and consumer.seen > consumer.cursor:
                        await self._flush()
                case EventsAppended(last=last) if last <= consumer.seen:
                    pass  # read already, while this message was on its way
                case EventsAppended() | CatchUp():
                    await self._work()
        except StorageError:
            logger.exception("entry point %s cannot read events", self._entry_point)
            self._try_again()
        if consumer.seen > consumer.cursor and self._timer is None:
            self._tick_after(FLUSH_S)
        return consumer.seen

    async def _work(self) -> None:
        """Do all there is. Until then, and while it waits to try again, it wants no messages: they
        would gather without a bound behind a stream that is down.
        """
        while True:
            self._interest.remove(self.ref)
            if not await self._drain():
                return
            self._retry.succeeded()
            self._interest.add(self.ref)
            if not self._consumer.page(1):
                return  # else something was committed in between, and nobody was told

    async def _drain(self) -> bool:
        consumer = self._consumer
        while page := consumer.page():
            for seq, body in page:
                if seq <= consumer.cursor:
                    continue  # done by a commit whose answer never came
                if self._filter.matches(body) and not await self._take(seq, body):
                    self._try_again()
                    return False
                consumer.seen = max(consumer.seen, seq)
            if consumer.seen - consumer.cursor >= SKIPPED_MAX and not await self._flush():
                return False
            await asyncio.sleep(0)
        return True

    async def _flush(self) -> bool:
        if await self._consumer.advance(self._consumer.seen):
            return True
        self._try_again()
        return False

    async def _take(self, seq: int, body: EventBody) -> bool:
        """Do what the event asks for, with the cursor in the same commit; False: not now."""
        if over_hop_limit(body):
            done = await self._refuse(seq, body)
        else:
            done = await self._start(seq, body)
        if done:
            self._retry.succeeded()
        return done

    async def _start(self, seq: int, body: EventBody) -> bool:
        consumer = self._consumer
        trigger = Trigger(
            request=0,
            execution_id=event_execution_id(self._entry_point, seq),
            memory={"event": self._input(seq, body)},
            correlation_id=body.correlation,
            hops=body.hops + 1,
            cursor=consumer.move(seq),
        )
        duplicate = False
        try:
            outcome = await self._start_execution(trigger)
        except RateLimited as limited:
            self._limited_s = limited.retry_after
            return False
        except GreenroomError as error:
            why = f"{error.code}: {error}"
        else:
            if outcome.kind is OutcomeKind.APPLIED:
                consumer.moved(seq)
                return True
            duplicate = outcome.kind is OutcomeKind.DUPLICATE
            why = f"{outcome.kind} {outcome.code} {outcome.text}"
        consumer.load()
        if consumer.cursor >= seq:
            return True  # an earlier try was applied after all
        if duplicate:
            return await consumer.advance(seq)  # the execution is there, under that very id
        if self._retry.failures % LOG_EACH == 0:
            logger.warning(
                "entry point %s could not start for event %d, it is tried again: %s",
                self._entry_point,
                seq,
                why,
            )
        return False

    def _input(self, seq: int, body: EventBody) -> msgspec.Raw:
        event = self._data.event(seq, body).to_dict()
        try:
            return msgspec.Raw(encode_value(event, "$.event", INPUT_BYTES_MAX))
        except ValueTooLarge as error:
            # The data alone fits a value, with the fields around it no more: it stays in the log.
            event["data"] = {"ref": f"event:{seq}", "bytes": error.size}
            return msgspec.Raw(encode_value(event, "$.event", INPUT_BYTES_MAX))

    async def _refuse(self, seq: int, body: EventBody) -> bool:
        event = hop_limit_event(self._entry_point, seq, body, self.clock.now())
        if event is not None:
            logger.info(
                "entry point %s was not started for event %d: %d event-driven starts led to it",
                self._entry_point,
                seq,
                body.hops,
            )
        done = await self._consumer.advance(seq, events=() if event is None else (event,))
        return done or self._consumer.cursor >= seq

    def _try_again(self) -> None:
        limited_s, self._limited_s = self._limited_s, 0.0
        self._tick_after(limited_s or self._retry.failed())

    def _tick_after(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.schedule(delay_s, FoldTick())
