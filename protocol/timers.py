"""Points in time: wall UTC seconds inside, aware datetimes outside."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from greenroom.protocol.errors import InvalidInput

_MICROSECONDS: Final = 1_000_000
_LATEST: Final = 2**64 - 1
_CALENDAR_START_S: Final = -62_135_596_800.0  # year 1
_CALENDAR_END_S: Final = 253_402_300_799.0  # the last whole second of year 9999


class TimerMove(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How one commit changes the time at which its execution comes due, in wall UTC seconds.

    None: it is not in the index, before or after.
    """

    before: float | None
    after: float | None


def utc_seconds(name: str, when: object) -> float:
    """Return a point in time as wall UTC seconds. Raises InvalidInput for one that is none.

    What `moment` could not show is brought to the nearest that it can: datetime.max is one.
    """
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise InvalidInput(
            f"{name} takes a datetime with a time zone, not {when!a:.80}: for example "
            "datetime.now(UTC) + timedelta(hours=1)"
        )
    return representable(when.timestamp())


def representable(seconds: float) -> float:
    """Return the nearest seconds that a datetime can show in UTC."""
    return float(min(max(seconds, _CALENDAR_START_S), _CALENDAR_END_S))


def moment(seconds: float) -> datetime:
    """Return wall UTC seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def microseconds(seconds: float) -> int:
    """Return wall UTC seconds as whole microseconds, as keys hold them."""
    return min(max(int(seconds * _MICROSECONDS), 0), _LATEST)
