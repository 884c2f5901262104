"""The executions of one stream that wait for a permit, in the order in which they get one."""

import heapq
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the line. Woken executions come before new ones; then by key, then by ordinal."""

    fresh: bool  # False: it ran before, and comes first
    key: float  # accepted_at - priority x 60 s
    ordinal: int
    execution_id: str
    counted: bool = True  # against the entry point's bound; recovered work is not


class WaitingLine:
    """A heap of places with removal. Only ids are held: states stay in the store until they run."""

    def __init__(self) -> None:
        self._heap: list[Place] = []
        self._places: dict[str, Place] = {}
        self._new: dict[str, Place] = {}  # counted, and never started, in the order of acceptance
        self.counted = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._places

    def join(self, place: Place) -> None:
        """Take a place. An execution that is in the line already keeps its place."""
        if place.execution_id in self._places:
            return
        self._places[place.execution_id] = place
        heapq.heappush(self._heap, place)
        self.counted += place.counted
        if place.fresh and place.counted:
            self._new[place.execution_id] = place

    def leave(self, execution_id: str) -> None:
        """Give the place up, if there is one."""
        place = self._places.pop(execution_id, None)
        if place is not None:
            self.counted -= place.counted
            self._new.pop(execution_id, None)

    def first(self) -> Place | None:
        """Who is next; stays in the line until `leave`."""
        while self._heap:
            place = self._heap[0]
            if self._places.get(place.execution_id) is place:
                return place
            heapq.heappop(self._heap)
        return None

    def oldest(self) -> Place | None:
        """Who joined first of those that never started and count against the bound."""
        return next(iter(self._new.values()), None)

    def ids(self) -> list[str]:
        """Everyone in the line, in no particular order."""
        return list(self._places)
