"""The times that a node may let its execution sleep until."""

from datetime import datetime

from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.limits import SLEEP_S_MAX
from greenroom.protocol.timers import utc_seconds


def wake_after(now: float, seconds: float) -> float:
    """Return `now` and so many seconds. Raises InvalidInput for what is no time to sleep."""
    usable = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not usable or not 0 <= seconds <= SLEEP_S_MAX:  # nor NaN
        raise InvalidInput(
            f"sleep takes 0 to {SLEEP_S_MAX:.0f} seconds, not {seconds!a:.80}: for a point in time "
            "use sleep_until"
        )
    return now + seconds


def wake_at(now: float, when: datetime) -> float:
    """Return a point in time as wall UTC seconds. Raises InvalidInput for one that is none."""
    until = utc_seconds("sleep_until", when)
    if until - now > SLEEP_S_MAX:
        raise InvalidInput(f"{when.isoformat()} is too far away to wait for")
    return until
