"""The executions of one stream that wait for a permit, in the order in which they get one."""

import heapq
from dataclasses import dataclass
from typing import Final

_STALE_MAX: Final = 64  # places in the heap that were given up, beyond as many as there are


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the line. Woken executions come before new ones; then by key, then by ordinal."""

    fresh: bool  # False: it ran before, and comes first
    key: float  # accepted_at - priority x 60 s
    ordinal: int
    execution_id: str
    counted: bool = True  # against the entry point's bound; recovered work is not
    concurrency_key: str = ""


class WaitingLine:
    """A heap of places with removal. Only ids are held: states stay in the store until they run.

    Who joins without being ready counts as waiting, and comes up only after `make_ready`.
    """

    def __init__(self) -> None:
        self._heap: list[Place] = []
        self._places: dict[str, Place] = {}
        self._new: dict[str, Place] = {}  # counted, and never started, in the order of acceptance
        self.counted = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._places

    def join(self, place: Place, *, ready: bool = True) -> None:
        """Take a place. An execution that is in the line already keeps its place."""
        if place.execution_id in self._places:
            return
        self._places[place.execution_id] = place
        if ready:
            heapq.heappush(self._heap, place)
        self.counted += place.counted
        if place.fresh and place.counted:
            self._new[place.execution_id] = place

    def make_ready(self, place: Place) -> None:
        """Who joined without being ready may come up now."""
        heapq.heappush(self._heap, place)

    def leave(self, execution_id: str) -> Place | None:
        """Give the place up, and return it, if there is one."""
        place = self._places.pop(execution_id, None)
        if place is not None:
            self.counted -= place.counted
            self._new.pop(execution_id, None)
            if len(self._heap) > 2 * len(self._places) + _STALE_MAX:
                self._heap = [one for one in self._heap if self._is_current(one)]
                heapq.heapify(self._heap)
        return place

    def first(self) -> Place | None:
        """Who is next; stays in the line until `leave`."""
        while self._heap:
            place = self._heap[0]
            if self._is_current(place):
                return place
            heapq.heappop(self._heap)
        return None

    def _is_current(self, place: Place) -> bool:
        return self._places.get(place.execution_id) is place

    def oldest(self) -> Place | None:
        """Who joined first of those that never started and count against the bound."""
        return next(iter(self._new.values()), None)

    def ids(self) -> list[str]:
        """Everyone in the line, in no particular order."""
        return list(self._places)
