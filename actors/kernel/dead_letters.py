"""Messages that nobody will handle: counted by reason, the latest kept, never silently gone."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from greenroom.protocol.limits import DEAD_LETTERS_MAX

logger = logging.getLogger("greenroom.dead_letters")

Reason = Literal["stopped", "poison", "unknown", "refused", "stale", "abandoned"]


class DeadLetter(NamedTuple):
    """One message that was not handled. `body` is its encoded form; `at` is wall UTC seconds."""

    address: str
    reason: Reason
    body: object
    detail: str
    at: float


class DeadLetters:
    """The newest `limit` dead letters, and a counter per reason that never forgets. Safe from any
    thread.
    """

    def __init__(self, limit: int = DEAD_LETTERS_MAX) -> None:
        self._lock = threading.Lock()
        self._kept: deque[DeadLetter] = deque(maxlen=limit)
        self._counts: Counter[str] = Counter()
        self._subscribers: tuple[Callable[[DeadLetter], None], ...] = ()

    def add(self, letter: DeadLetter) -> None:
        """Record a letter and hand it to the subscribers, on the calling thread."""
        with self._lock:
            self._kept.append(letter)
            self._counts[letter.reason] += 1
            subscribers = self._subscribers
        for subscriber in subscribers:
            try:
                subscriber(letter)
            except Exception:
                logger.exception("a subscriber of the dead letters failed")

    def subscribe(self, callback: Callable[[DeadLetter], None]) -> Callable[[], None]:
        """Call `callback` for each new letter, on the thread that found it; returns a function that
        ends this.
        """
        with self._lock:
            self._subscribers = (*self._subscribers, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not callback)

        return unsubscribe

    def counts(self) -> dict[str, int]:
        """How many letters there were, per reason, since the start."""
        with self._lock:
            return dict(self._counts)

    def newest(self) -> list[DeadLetter]:
        """The letters still kept, oldest first."""
        with self._lock:
            return list(self._kept)

    def __len__(self) -> int:
        with self._lock:
            return sum(self._counts.values())
