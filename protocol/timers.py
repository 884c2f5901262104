"""Times in the index of what comes due."""

from typing import Final

import msgspec

_MICROSECONDS: Final = 1_000_000
_LATEST: Final = 2**64 - 1


class TimerMove(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How one commit changes the time at which its execution comes due, in wall UTC seconds.

    None: it is not in the index, before or after.
    """

    before: float | None
    after: float | None


def microseconds(seconds: float) -> int:
    """Return wall UTC seconds as whole microseconds, as keys hold them."""
    return min(max(int(seconds * _MICROSECONDS), 0), _LATEST)
