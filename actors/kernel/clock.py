"""Time as a dependency, so that a test can own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for due times and timestamps, monotonic time for durations; both in seconds."""

    def now(self) -> float:
        """Wall time, UTC seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
