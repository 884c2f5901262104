"""Concurrency keys: of the executions with one key, one at a time, in the order of acceptance."""

from bisect import bisect_left, insort
from collections.abc import Callable
from operator import attrgetter

from greenroom.actors.stream.waiting_line import Place, WaitingLine

_ordinal = attrgetter("ordinal")


class KeyLine:
    """Decides who may join the line of a stream. Only on the runtime's loop thread.

    A key is taken by beginning and given back by ending: whoever has begun keeps it while it waits,
    is paused or held. That is in the store, and `owner(key)` reads the ordinal from there, 0 for
    none; so an execution that stands still costs no memory. In memory are those to whom a key was
    promised, and the places of those behind, who are in the line but cannot come up in it.
    """

    def __init__(self, line: WaitingLine, owner: Callable[[str], int]) -> None:
        self._line = line
        self._owner = owner
        self._promised: dict[str, str] = {}  # key -> execution id
        self._behind: dict[str, list[Place]] = {}  # by ordinal

    def arrive(self, key: str, execution_id: str) -> bool:
        """A new execution wants the key: promised to it, and True, when nobody is before it."""
        if key in self._promised or key in self._behind or self._owner(key):
            return False
        self._promised[key] = execution_id
        return True

    def has(self, key: str, ordinal: int) -> bool:
        """The execution has begun with the key, and not ended."""
        return self._owner(key) == ordinal

    def join(self, place: Place) -> None:
        """The execution is queued: it comes up in the line when it has its key."""
        if place.execution_id in self._line:
            return
        key = place.concurrency_key
        first = self._promised.get(key)
        if first is None and self._owner(key) == place.ordinal:
            first = self._promised[key] = place.execution_id
        if first == place.execution_id:
            self._line.join(place)
            return
        self._line.join(place, ready=False)
        insort(self._behind.setdefault(key, []), place, key=_ordinal)
        self._pass_on(key)

    def leave(self, key: str, place: Place | None, execution_id: str) -> None:
        """The execution ended, or stands still, or was never accepted: the key goes on, unless it
        keeps it. `place` is the one that it had.
        """
        if self._promised.get(key) == execution_id:
            del self._promised[key]
        elif place is not None:
            self._forget(key, place)
        self._pass_on(key)

    def _forget(self, key: str, place: Place) -> None:
        behind = self._behind.get(key, [])
        at = bisect_left(behind, place.ordinal, key=_ordinal)
        if at < len(behind) and behind[at].execution_id == place.execution_id:
            del behind[at]
            if not behind:
                del self._behind[key]

    def _pass_on(self, key: str) -> None:
        """Promise a free key to the first who waits for it."""
        behind = self._behind.get(key)
        if behind is None or key in self._promised or self._owner(key):
            return
        place = behind.pop(0)
        if not behind:
            del self._behind[key]
        self._promised[key] = place.execution_id
        self._line.make_ready(place)
