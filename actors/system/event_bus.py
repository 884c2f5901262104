"""The event bus: hands the durable log on to live subscriptions, in order."""

import asyncio
import logging
from typing import Final

import msgspec

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.system.event_data import EventData
from greenroom.actors.system.event_interest import EventInterest
from greenroom.actors.system.subscriptions import Subscription, Subscriptions, UserCode
from greenroom.protocol.errors import EventsPruned, StorageError
from greenroom.protocol.events import EventBody
from greenroom.protocol.messages import BusMessage, CatchUp, EventsAppended
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.events")

RETRY_S: Final = 0.5  # after the store could not be read
PAGE_EVENTS: Final = 100  # read and handed on before the runtime's loop turns to others


class EventBus(Actor[BusMessage]):
    """Reads the log from where the last instance stopped and fills the subscriptions' queues.

    It waits for no subscriber. While there is none it reads nothing and the store's writer tells it
    nothing. `subscriptions` outlives it, so a restart loses nothing and repeats nothing.
    """

    messages = BusMessage

    def __init__(
        self,
        subscriptions: Subscriptions,
        store: Store,
        interest: EventInterest,
        code: UserCode,
    ) -> None:
        super().__init__()
        self._subscriptions = subscriptions
        self._store = store
        self._interest = interest
        self._code = code
        self._data = EventData(store)
        self._listening = False

    async def on_start(self) -> None:
        """Hand on what was committed while no instance ran."""
        await self._deliver()

    def on_stop(self) -> None:
        """Want nothing more."""
        self._interest.remove(self.ref)

    async def handle(self, message: BusMessage) -> int:
        """Hand on what is new; returns the seq up to which the log was read."""
        match message:
            case EventsAppended(last=last) if last and last <= self._subscriptions.position:
                return self._subscriptions.position
            case EventsAppended() | CatchUp():
                try:
                    return await self._deliver()
                except StorageError:
                    self.schedule(RETRY_S, EventsAppended(last=0))
                    raise

    async def _deliver(self) -> int:
        subscriptions = self._subscriptions
        while True:
            index = subscriptions.index()
            self._listen(bool(index))
            if not index:
                return subscriptions.position
            subscriptions.position = max(subscriptions.position, subscriptions.start_after)
            page = self._read(subscriptions.position + 1)
            if not page:
                return subscriptions.position
            for one in self._hand_on(page, index):
                one.wake(self._code)
            if len(page) < PAGE_EVENTS:
                return subscriptions.position
            await asyncio.sleep(0)

    def _listen(self, wanted: bool) -> None:
        # Always before the log is read: what is committed after that is then told of.
        if wanted and not self._listening:
            self._interest.add(self.ref)
        elif not wanted:
            self._interest.remove(self.ref)
        self._listening = wanted

    def _hand_on(
        self, page: list[tuple[int, EventBody]], index: dict[str, tuple[Subscription, ...]]
    ) -> dict[Subscription, None]:
        woken: dict[Subscription, None] = {}
        for seq, body in page:
            takers = [
                one
                for one in index.get(body.type, ())
                if one.active and seq > (one.after or 0) and one.wanted.matches(body)
            ]
            kept = _detached(body) if takers else body
            for one in takers:
                one.offer(seq, kept, self._data)
                woken[one] = None
            self._subscriptions.position = seq
        return woken

    def _read(self, from_seq: int) -> list[tuple[int, EventBody]]:
        try:
            return self._store.read(lambda reader: reader.events(from_seq, PAGE_EVENTS))
        except EventsPruned as pruned:
            missed = pruned.oldest - from_seq
            logger.warning("%d events were pruned before they were delivered", missed)
            oldest = pruned.oldest
            self._subscriptions.position = oldest - 1
            return self._store.read(lambda reader: reader.events(oldest, PAGE_EVENTS))


def _detached(body: EventBody) -> EventBody:
    """The event with data of its own: as it was read, it would keep its whole page in memory for as
    long as it waits in a queue.
    """
    if body.data is None:
        return body
    return msgspec.structs.replace(body, data=body.data.copy())
