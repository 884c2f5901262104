"""A store, its writer and an event bus on a real actor system."""

import functools
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from greenroom.actors.kernel.specs import SupervisorSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.nodes.host import NodesHost
from greenroom.actors.system.event_bus import EventBus
from greenroom.actors.system.event_bus_handle import EventBusHandle
from greenroom.actors.system.event_interest import EventInterest
from greenroom.actors.system.store_writer import StoreWriter
from greenroom.protocol.commit import Commit, NewEvent
from greenroom.protocol.messages import CommitNow
from greenroom.protocol.new_event import new_event
from greenroom.storage.memory_store import MemoryStore
from greenroom.storage.store import Store


class Rig:
    """What the event side needs of a runtime, without agents."""

    def __init__(self, store: Store, handle: EventBusHandle | None) -> None:
        self.store = store
        self.interest = EventInterest()
        self.system = ActorSystem(
            "events",
            watchdog_limit_s=None,
            root=SupervisorSpec("root", restarts_max=100, on_intensity="give_up"),
        )
        self.nodes = NodesHost()
        self.handle = handle or EventBusHandle()
        self._numbers = count(1)

    def start(self) -> None:
        """Start the system, the writer and the bus; nodes run on this thread's loop, if any."""
        self.system.start()
        self.nodes.start()
        self.handle.open(self.store, self.nodes)
        self.writer = self.system.spawn(
            functools.partial(StoreWriter, self.store, self.interest), id="store_writer"
        )
        self.bus = self.system.spawn(
            functools.partial(
                EventBus, self.handle.subscriptions, self.store, self.interest, self.nodes
            ),
            id="event_bus",
        )
        self.handle.attach(self.bus, self.writer)

    def stop(self) -> None:
        """Stop everything; calling it again changes nothing. The store stays open."""
        if self.system.stopped:
            return
        self.handle.close()
        self.system.stop()
        self.nodes.stop()

    async def stop_async(self) -> None:
        """`stop` on a thread with an event loop."""
        self.handle.close()
        await self.system.stop_async()
        self.nodes.stop()

    async def append(self, *events: NewEvent) -> int:
        """Commit events together; returns the seq of the first."""
        commit = Commit(
            commit_id=next(self._numbers), stream="test", incarnation=0, events=tuple(events)
        )
        outcome = await self.writer.ask(CommitNow(commit=commit))
        first: int = outcome.first_event
        return first

    async def custom(self, count: int, **fields: Any) -> int:
        """Commit `count` custom events whose data is their number; returns the seq of the first."""
        return await self.append(
            *(new_event("custom", 1.0, data={"n": n}, **fields) for n in range(count))
        )


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    """Make rigs on given stores; all are stopped at the end."""
    rigs: list[Rig] = []

    def make(store: Store, handle: EventBusHandle | None = None) -> Rig:
        rig = Rig(store, handle)
        rigs.append(rig)
        rig.start()
        return rig

    yield make
    for rig in rigs:
        rig.stop()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A started rig on a store in memory."""
    return make_rig(MemoryStore())
