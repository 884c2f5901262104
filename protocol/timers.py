"""Times in the index of what comes due."""

from datetime import datetime
from typing import Final

import msgspec

from greenroom.protocol.errors import InvalidInput

_MICROSECONDS: Final = 1_000_000
_LATEST: Final = 2**64 - 1


class TimerMove(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How one commit changes the time at which its execution comes due, in wall UTC seconds.

    None: it is not in the index, before or after.
    """

    before: float | None
    after: float | None


def utc_seconds(name: str, when: object) -> float:
    """Return a point in time as wall UTC seconds. Raises InvalidInput for one that is none."""
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise InvalidInput(
            f"{name} takes a datetime with a time zone, not {when!a:.80}: for example "
            "datetime.now(UTC) + timedelta(hours=1)"
        )
    return when.timestamp()


def microseconds(seconds: float) -> int:
    """Return wall UTC seconds as whole microseconds, as keys hold them."""
    return min(max(int(seconds * _MICROSECONDS), 0), _LATEST)
