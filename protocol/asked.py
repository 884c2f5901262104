"""What callers may narrow listings and searches to. Each check says what would be right."""

import math
from datetime import datetime

from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.execution import Status
from greenroom.protocol.limits import ID_CHARS_MAX
from greenroom.protocol.questions import checked_text
from greenroom.protocol.settings import member
from greenroom.protocol.timers import representable, utc_seconds


def asked_text(name: str, value: str | None, chars_max: int = ID_CHARS_MAX) -> str | None:
    """Return an id, or a name, that is asked for; None for any.

    Raises InvalidInput for what no such thing can be called: another type, "", a text that is too
    long or cannot be stored.
    """
    return None if value is None else checked_text(name, value, chars_max)


def asked_status(value: Status | str | None) -> Status | None:
    """Return the status that is asked for, None for any. Raises InvalidConfig."""
    return None if value is None else member("status", value, Status)


def asked_time(name: str, value: datetime | float | None) -> float | None:
    """Return a bound in wall UTC seconds, None for none; one outside of the calendar is its end.

    Raises InvalidInput for a datetime without a time zone, and for what is no time.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return utc_seconds(name, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -math.inf <= value <= math.inf:  # NaN is in no range
        raise InvalidInput(f"{name} is {value!a:.60}: use an aware datetime, or UTC seconds")
    return representable(value)
