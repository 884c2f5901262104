"""How many executions an entry point may accept in a span of time: a bucket of tokens."""

import re
from typing import Final, Self

import msgspec

from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.limits import RATE_COUNT_MAX, RATE_PER_S_MAX, RATE_PER_S_MIN
from greenroom.protocol.settings import check_integer, check_number, require

_TEXT: Final = re.compile(r"([1-9][0-9]{0,9})/([smhd])")
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """`count` executions in `per_s` seconds on the long run, and up to `burst` at once.

    `burst` None means `count`. Raises InvalidConfig for values that cannot be used.
    """

    count: int
    per_s: float = 1.0
    burst: int | None = None

    def __post_init__(self) -> None:
        check_integer("rate_limit.count", self.count, 1, RATE_COUNT_MAX)
        check_number("rate_limit.per_s", self.per_s, RATE_PER_S_MIN, RATE_PER_S_MAX)
        if self.burst is not None:
            check_integer("rate_limit.burst", self.burst, 1, RATE_COUNT_MAX)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The limit that "10/s", "600/m", "5/h" or "1000/d" stands for. Raises InvalidConfig."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise InvalidConfig(f'rate_limit is {text!a:.80}: write "10/s", or use m, h or d')
        return cls(count=int(found[1]), per_s=_UNITS_S[found[2]])

    def __str__(self) -> str:
        return f"{self.count} in {self.per_s:g} s"

    @property
    def capacity(self) -> int:
        """The most that a bucket can hold."""
        return self.count if self.burst is None else self.burst

    @property
    def refill_per_s(self) -> float:
        """Tokens that come back in a second."""
        return self.count / self.per_s


def rate_limit_of(where: str, value: object) -> RateLimit | None:
    """The setting as a RateLimit, from one or from its text. Raises InvalidConfig."""
    if isinstance(value, str):
        return RateLimit.parse(value)
    require(
        value is None or isinstance(value, RateLimit),
        f'{where}rate_limit is {value!a:.80}: use a RateLimit, "10/s" or None',
    )
    assert value is None or isinstance(value, RateLimit)
    return value


class Bucket:
    """Tokens of one rate limit; full at first. `now` is monotonic seconds. Not for two threads."""

    __slots__ = ("_at", "_level", "_limit")

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._level = float(limit.capacity)
        self._at = now

    def wait_s(self, now: float, count: int = 1) -> float:
        """Seconds until `count` may be taken; 0 when they may be now.

        More than the bucket can hold may be taken from a full one, and leave it in debt, so that
        a large batch passes and the rate holds all the same.
        """
        limit = self._limit
        self._level = min(limit.capacity, self._level + (now - self._at) * limit.refill_per_s)
        self._at = now
        missing = min(count, limit.capacity) - self._level
        return missing / limit.refill_per_s if missing > 0 else 0.0

    def take(self, count: int = 1) -> None:
        """Take tokens; ask `wait_s` first."""
        self._level -= count

    def give_back(self, count: int = 1) -> None:
        """Nothing was accepted for them after all."""
        self._level += count  # `wait_s` cuts off what is over the capacity
