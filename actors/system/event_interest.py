"""Who waits for events: asked by the store writer at every commit, for one attribute read."""

from typing import Any

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.synchronisation import new_lock


class EventInterest:
    """The actors that want `EventsAppended` after a commit. Any thread.

    A message that nobody waits for is the dearest part of a step, so the writer asks `wanted`
    first. Each listener adds itself while it has something to wait for.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._lock = new_lock()
        self._listeners: tuple[ActorRef[Any], ...] = ()

    def add(self, listener: ActorRef[Any]) -> None:
        """Tell `listener` from the next commit on; adding it twice changes nothing."""
        with self._lock:
            if all(one.address != listener.address for one in self._listeners):
                self._listeners = (*self._listeners, listener)
            self.wanted = True

    def remove(self, listener: ActorRef[Any]) -> None:
        """Tell it no more."""
        with self._lock:
            self._listeners = tuple(
                one for one in self._listeners if one.address != listener.address
            )
            self.wanted = bool(self._listeners)

    def listeners(self) -> tuple[ActorRef[Any], ...]:
        """Whom to tell now."""
        return self._listeners
