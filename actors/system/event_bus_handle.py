"""What hosts and nodes hold of the event bus: subscribe, publish, wait, look back. Any thread."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Any, Final

from greenroom.actors.kernel.clock import Clock, SystemClock
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.event_data import EventData
from greenroom.actors.system.subscriptions import (
    Handler,
    Subscriptions,
    UserCode,
    hops_in_hand,
)
from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind
from greenroom.protocol.errors import (
    ActorStopped,
    CommitRefused,
    InvalidInput,
    RuntimeNotRunning,
    StoreUnavailable,
)
from greenroom.protocol.event_filter import EventFilter, event_types
from greenroom.protocol.events import AgentEvent, EventBody, EventType
from greenroom.protocol.limits import EVENT_HISTORY_DEFAULT, LIST_PAGE_DEFAULT
from greenroom.protocol.messages import (
    BusMessage,
    CatchUp,
    CommitNow,
    EventsAppended,
    WriterMessage,
)
from greenroom.protocol.new_event import new_event
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store

Types = EventType | str | Iterable[EventType | str]

PUBLISHER: Final = "events"  # the sender of commits that hold published events; it has no fence
HISTORY_PAGE: Final = 500


class EventBusHandle:
    """The event bus as everybody but the runtime sees it.

    Subscriptions may be made before the runtime starts, and survive a stop; each gets the events
    that are committed after it was made, in the order of the log. Handlers run where nodes run, one
    at a time per subscription, and may publish. A subscriber that is too slow loses its oldest
    events, which is counted, and delays nobody.
    """

    def __init__(
        self, max_history: int = EVENT_HISTORY_DEFAULT, clock: Clock | None = None
    ) -> None:
        self.subscriptions = Subscriptions()
        self._max_history = max_history
        self._clock = clock or SystemClock()
        self._numbers = count(1)
        self._store: Store | None = None
        self._writer: ActorRef[WriterMessage] | None = None
        self._bus: ActorRef[BusMessage] | None = None
        self._code: UserCode | None = None

    # --- for the runtime

    def open(self, store: Store, code: UserCode) -> None:
        """The store is open: subscribers get what is committed from now on."""
        self.subscriptions.begin(store.read(lambda reader: reader.last_event()))
        self._store, self._code = store, code

    def attach(self, bus: ActorRef[BusMessage], writer: ActorRef[WriterMessage]) -> None:
        """The actors have their addresses; publishing works from now on."""
        self._bus, self._writer = bus, writer

    def close(self) -> None:
        """The runtime stops: publishing is refused, `wait_for` raises RuntimeStopped.

        Subscriptions stay for the next start; looking back needs the store, and finds nothing.
        """
        self._store = self._writer = self._bus = self._code = None
        for subscription in self.subscriptions.all():
            subscription.pause()

    # --- for everybody

    def subscribe(
        self,
        event_types: Types,
        handler: Handler,
        filter_stream: str | None = None,
        filter_node: str | None = None,
        filter_execution: str | None = None,
    ) -> str:
        """Have `handler` called with each matching event from now on; returns its id ("sub_1").

        A filter that is empty or None means any. Raises InvalidConfig for an unknown event type,
        RuntimeStateError when there are too many subscriptions.
        """
        wanted = _filter(event_types, filter_stream, filter_node, filter_execution)
        if not callable(handler):
            raise InvalidInput(f"the handler {handler!a:.60} cannot be called")
        sub_id = self.subscriptions.add(wanted, handler, self._last_event())
        self._wake_bus()
        return sub_id

    def unsubscribe(self, sub_id: str) -> bool:
        """End a subscription; False when there is none with that id.

        The event that its handler has in hand is finished; no other follows.
        """
        return self.subscriptions.remove(sub_id)

    async def publish(
        self,
        event: AgentEvent | EventType | str,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        data: dict[str, Any] | None = None,
        correlation_id: str | None = None,
    ) -> int:
        """Commit an event and return its seq; waits for no subscriber.

        `event` is its type, or a whole event that is published anew (the keywords are then left
        out). What a handler publishes counts as caused by the event in its hand.

        Raises InvalidConfig, InvalidValue, ValueTooLarge, StoreUnavailable (may be tried again) and
        RuntimeNotRunning.
        """
        writer = self._writer
        if writer is None:
            raise RuntimeNotRunning("events are published in a started runtime")
        hops = hops_in_hand.get()
        kind: str = event if isinstance(event, str) else event.type
        if isinstance(event, AgentEvent):
            stream_id, node_id, execution_id = event.stream_id, event.node_id, event.execution_id
            data, correlation_id = event.data, event.correlation_id
            hops = max(hops, event.hops)
        made = new_event(
            kind,
            self._clock.now(),
            stream=stream_id,
            node=node_id,
            execution=execution_id,
            correlation=correlation_id,
            data=data,
            hops=hops,
        )
        commit = Commit(
            commit_id=next(self._numbers), stream=PUBLISHER, incarnation=0, events=(made,)
        )
        try:
            outcome: CommitOutcome = await writer.ask(CommitNow(commit=commit))
        except ActorStopped as stopped:
            raise RuntimeNotRunning("the runtime stopped; the event was not stored") from stopped
        if outcome.kind is OutcomeKind.UNAVAILABLE:
            raise StoreUnavailable(outcome.text or "the store cannot write now")
        if outcome.kind is not OutcomeKind.APPLIED:
            raise CommitRefused(f"the event was refused: {outcome.code} {outcome.text}")
        return outcome.first_event

    async def wait_for(
        self,
        event_type: Types,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,
    ) -> AgentEvent | None:
        """Return the first matching event committed from now on, None after `timeout` seconds.

        0 returns at once, None waits for ever. Raises RuntimeStopped when the runtime stops.
        """
        wanted = _filter(event_type, stream_id, node_id, execution_id)
        waiter = self.subscriptions.add_waiter(wanted, self._last_event())
        self._wake_bus()
        try:
            async with asyncio.timeout(timeout):
                return await waiter.future
        except TimeoutError:
            return None
        finally:
            self.subscriptions.remove(waiter.id)

    async def settled(self, sub_id: str) -> None:
        """Return once the subscription has handled, or dropped, all that was committed before.

        Raises InvalidInput when there is none with that id. Returns at once in a runtime that is
        not running.
        """
        subscription = self.subscriptions.get(sub_id)
        if subscription is None:
            raise InvalidInput(f"there is no subscription {sub_id!a:.60}")
        bus, code = self._bus, self._code
        if bus is None or code is None:
            return
        seq: int = await bus.ask(CatchUp(), control=True)
        done: Future[None] = Future()
        if code.call_soon(lambda: subscription.when_settled(seq, done)):
            await done

    def get_history(
        self,
        event_type: EventType | str | None = None,
        stream_id: str | None = None,
        execution_id: str | None = None,
        limit: int = LIST_PAGE_DEFAULT,
    ) -> list[AgentEvent]:
        """Return up to `limit` matching events among the newest `max_history`, newest first.

        Reads the store on the calling thread; [] in a runtime that is not running.
        """
        store = self._store
        if store is None:
            return []
        types = frozenset(EventType) if event_type is None else event_type
        wanted = _filter(types, stream_id, None, execution_id)
        data = EventData(store)
        found: list[AgentEvent] = []
        for seq, body in self._newest_first(store):
            if len(found) >= limit:
                break
            if wanted.matches(body):
                found.append(data.event(seq, body))
        return found

    def get_stats(self) -> dict[str, Any]:
        """Return counters; those of events are of the newest `max_history`.

        `dropped`, `handled` and `handler_errors` are of the present subscriptions.
        """
        subscriptions = self.subscriptions.all()
        store = self._store
        by_type = Counter(
            body.type for _, body in (self._newest_first(store) if store is not None else ())
        )
        return {
            "total_events": by_type.total(),
            "subscriptions": len(subscriptions),
            "events_by_type": dict(by_type),
            "handled": sum(one.handled for one in subscriptions),
            "dropped": sum(one.dropped for one in subscriptions),
            "handler_errors": sum(one.errors for one in subscriptions),
            "queued": sum(one.queued for one in subscriptions),
        }

    def _newest_first(self, store: Store) -> Iterable[tuple[int, EventBody]]:
        high = store.read(lambda reader: reader.last_event())
        low = max(1, high - self._max_history + 1)
        while high >= low:
            start = max(low, high - HISTORY_PAGE + 1)
            page, oldest = _page(store, start, high)
            yield from reversed(page)
            low, high = max(low, oldest), start - 1

    def _last_event(self) -> int | None:
        store = self._store
        return None if store is None else store.read(lambda reader: reader.last_event())

    def _wake_bus(self) -> None:
        if self._bus is not None:
            self._bus.tell(EventsAppended(last=0), control=True)


def _page(store: Store, start: int, high: int) -> tuple[list[tuple[int, EventBody]], int]:
    """Return events [start, high] as far as they are kept, and the oldest seq that may be kept."""

    def load(reader: Reader) -> tuple[list[tuple[int, EventBody]], int]:
        oldest = reader.oldest_event()
        first = max(start, oldest)
        return (reader.events(first, high - first + 1) if first <= high else []), oldest

    return store.read(load)


def _filter(
    types: Types, stream: str | None, node: str | None, execution: str | None
) -> EventFilter:
    return EventFilter(
        types=event_types("a subscription", types),
        stream=stream,
        node=node,
        execution=execution,
    )
