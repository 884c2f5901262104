"""Live subscriptions: each has its own queue, and its handler gets one event at a time.

The event bus fills the queues on the runtime's loop; everything else about a subscription happens
on the nodes' loop. The two share nothing but a deque, whose single operations are atomic.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from itertools import count
from typing import Any, Final, Protocol

from greenroom.actors.kernel.future import Future
from greenroom.actors.nodes.host import is_async
from greenroom.actors.system.event_data import EventData
from greenroom.protocol.errors import RuntimeStateError, RuntimeStopped
from greenroom.protocol.event_filter import EventFilter
from greenroom.protocol.events import AgentEvent, EventBody
from greenroom.protocol.limits import SUBSCRIBER_QUEUE_MAX, SUBSCRIPTIONS_MAX

logger = logging.getLogger("greenroom.events")

Handler = Callable[[AgentEvent], Awaitable[object] | object]

HANDLER_BURST: Final = 64  # events handled before the nodes' loop turns to others
hops_in_hand: ContextVar[int] = ContextVar("hops_in_hand", default=0)
"""Hops of the event that the running handler was given: what it publishes counts from there."""


class UserCode(Protocol):
    """Where handlers run; a NodesHost."""

    def call(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        done: Callable[[Any, BaseException | None], object],
    ) -> None:
        """Run a user's function where it belongs, then `done`, on any thread."""
        ...

    def call_soon(self, run: Callable[[], object]) -> bool:
        """Have `run` called on the nodes' loop, in order; False when that loop is gone."""
        ...


class Subscription:
    """One subscriber's filter, queue and counters.

    `after` is the seq of the last event that was there when it subscribed; it gets later ones only.
    """

    def __init__(self, sub_id: str, wanted: EventFilter, handler: Handler | None) -> None:
        self.id = sub_id
        self.wanted = wanted
        self.after: int | None = None
        self.active = True
        self.handled = 0
        self.errors = 0
        self.dropped = 0
        self._handler = handler
        self._queue: deque[tuple[int, EventBody]] = deque()
        self._in_hand = 0  # seq of the event that the handler has now; 0 for none
        self._running = False
        self._woken = False  # a turn is on its way to the nodes' loop
        self._round = 0  # of the runtime's starts; what an earlier one set going is over
        self._waiting: list[tuple[int, Future[None]]] = []
        self._data: EventData | None = None
        self._code: UserCode | None = None

    @property
    def queued(self) -> int:
        """How many events wait for the handler."""
        return len(self._queue)

    def offer(self, seq: int, body: EventBody, data: EventData) -> None:
        """Append an event; a full queue loses its oldest. On the bus's thread."""
        self._data = data
        if len(self._queue) >= SUBSCRIBER_QUEUE_MAX:
            try:
                self._queue.popleft()
            except IndexError:
                pass  # the subscriber emptied the queue just now: nothing is lost
            else:
                self.dropped += 1
        self._queue.append((seq, body))

    def wake(self, code: UserCode) -> None:
        """Have the handler called for what is queued. On the bus's thread."""
        if not self._woken:
            self._woken = True
            self._code = code
            if not code.call_soon(self._wake_up):
                self._woken = False

    def end(self) -> None:
        """Take no more events and forget those that wait; the one in hand is finished."""
        self.active = False
        self._queue.clear()
        if self._code is None or not self._code.call_soon(self._release):
            self._release()

    def pause(self) -> None:
        """The runtime has stopped: forget what waits, until it starts again."""
        self._round += 1
        self._queue.clear()
        self._running = self._woken = False
        self._in_hand = 0
        self._release()

    def when_settled(self, seq: int, settled: Future[None]) -> None:
        """Settle the future once no event up to `seq` waits or is in hand. On the nodes' loop."""
        self._waiting.append((seq, settled))
        self._release()

    def _wake_up(self) -> None:
        # The flag falls first: what is queued after this wakes the subscription again.
        self._woken = False
        self._turn()

    def _turn(self) -> None:
        if self._running or not self.active or self._code is None:
            return
        if not self._queue:
            self._release()
            return
        self._running = True
        this_round = self._round
        if is_async(self._handler):  # type: ignore[arg-type]
            code = self._code
            code.call(
                self._burst,
                (this_round,),
                lambda _, error: self._burst_ended(code, this_round, error),
            )
            return
        event = self._next()
        if event is None:
            self._running = False
        else:
            self._call_in_pool(self._code, this_round, event)

    async def _burst(self, this_round: int) -> None:
        for _ in range(HANDLER_BURST):
            event = self._next() if this_round == self._round else None
            if event is None:
                return
            token = hops_in_hand.set(event.hops)
            try:
                await self._handler(event)  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001  user code; counted and logged
                self._failed(event, error)
            finally:
                hops_in_hand.reset(token)
                self._done_one()

    def _burst_ended(self, code: UserCode, this_round: int, error: BaseException | None) -> None:
        if error is not None:
            logger.warning("the handler of %s was stopped: %r", self.id, error)
        code.call_soon(lambda: self._again(this_round))

    def _call_in_pool(self, code: UserCode, this_round: int, event: AgentEvent) -> None:
        def run() -> object:
            token = hops_in_hand.set(event.hops)
            try:
                return self._handler(event)  # type: ignore[misc]
            finally:
                hops_in_hand.reset(token)

        def on_loop(error: BaseException | None) -> None:
            if this_round != self._round:
                return
            if error is not None:
                self._failed(event, error)
            self._done_one()
            self._again(this_round)

        # It ends on a thread of the pool; the counters belong to the nodes' loop.
        code.call(run, (), lambda _, error: code.call_soon(lambda: on_loop(error)))

    def _next(self) -> AgentEvent | None:
        try:
            seq, body = self._queue.popleft()
        except IndexError:
            return None
        self._in_hand = seq
        assert self._data is not None
        return self._data.event(seq, body)

    def _failed(self, event: AgentEvent, error: BaseException) -> None:
        self.errors += 1
        logger.error("the handler of %s failed for %r", self.id, event, exc_info=error)

    def _done_one(self) -> None:
        self.handled += 1
        self._in_hand = 0
        self._release()

    def _again(self, this_round: int) -> None:
        if this_round == self._round:
            self._running = False
            self._turn()

    def _release(self) -> None:
        if not self._waiting:
            return
        pending = self._in_hand or self._oldest_queued()
        still: list[tuple[int, Future[None]]] = []
        for seq, settled in self._waiting:
            if self.active and pending and pending <= seq:
                still.append((seq, settled))
            else:
                settled.settle(None)
        self._waiting = still

    def _oldest_queued(self) -> int:
        try:
            return self._queue[0][0]
        except IndexError:
            return 0


class FirstEvent(Subscription):
    """Waits for one event: no queue and no handler, only a future. None stands for a time-out."""

    def __init__(self, sub_id: str, wanted: EventFilter) -> None:
        super().__init__(sub_id, wanted, None)
        self.future: Future[AgentEvent | None] = Future()

    def offer(self, seq: int, body: EventBody, data: EventData) -> None:
        """Give the first event to whoever waits; later ones find the future settled."""
        self.future.settle(data.event(seq, body))

    def wake(self, code: UserCode) -> None:
        """Nothing is queued."""

    def pause(self) -> None:
        """The runtime has stopped: so does the wait."""
        self.end()

    def end(self) -> None:
        """Wait no more; whoever still does gets RuntimeStopped."""
        self.active = False
        self.future.settle_exception(RuntimeStopped())


class Subscriptions:
    """All subscriptions of one runtime; outlives the bus's instances. Any thread.

    `position` is the seq up to which the log was handed on. Only the bus moves it.
    """

    def __init__(self) -> None:
        self.position = 0
        self._all: dict[str, Subscription] = {}
        self._numbers = count(1)
        self._waits = count(1)
        self._changed = True
        self._by_type: dict[str, tuple[Subscription, ...]] = {}
        self._after = 0

    def add(self, wanted: EventFilter, handler: Handler, after: int | None) -> str:
        """Add a subscription and return its id, "sub_1" for the first."""
        if len(self._all) >= SUBSCRIPTIONS_MAX:
            raise RuntimeStateError(
                f"there are {SUBSCRIPTIONS_MAX} subscriptions already: unsubscribe some"
            )
        return self._keep(Subscription(f"sub_{next(self._numbers)}", wanted, handler), after)

    def add_waiter(self, wanted: EventFilter, after: int | None) -> FirstEvent:
        """Add one that waits for a single event."""
        waiter = FirstEvent(f"wait_{next(self._waits)}", wanted)
        self._keep(waiter, after)
        return waiter

    def _keep(self, subscription: Subscription, after: int | None) -> str:
        subscription.after = after
        self._all[subscription.id] = subscription
        self._changed = True
        return subscription.id

    def remove(self, sub_id: str) -> bool:
        """Remove a subscription; False when there is none with that id."""
        found = self._all.pop(sub_id, None)
        self._changed = True
        if found is not None:
            found.end()
        return found is not None

    def get(self, sub_id: str) -> Subscription | None:
        """The subscription with that id."""
        return self._all.get(sub_id)

    def all(self) -> list[Subscription]:
        """Every subscription at this moment."""
        return list(self._all.copy().values())

    def begin(self, last: int) -> None:
        """The log that is read from now on ends at `last`: nobody gets what is older."""
        self.position = last
        for subscription in self.all():
            subscription.after = last
        self._changed = True

    def index(self) -> dict[str, tuple[Subscription, ...]]:
        """Subscriptions by event type, and with it `start_after`. For the bus alone."""
        if self._changed:
            self._changed = False  # first: what changes from here on is seen next time
            found: dict[str, list[Subscription]] = {}
            kept = self.all()
            for subscription in kept:
                for kind in subscription.wanted.types:
                    found.setdefault(kind, []).append(subscription)
            self._by_type = {kind: tuple(members) for kind, members in found.items()}
            self._after = min((one.after or 0 for one in kept), default=0)
        return self._by_type

    @property
    def start_after(self) -> int:
        """The seq before which no present subscription wants anything."""
        return self._after
