"""The bar of a criterion: `0.8`, `">= 0.8"`, `"< 5"`, `"95%"`, `"< 5%"`."""

import operator
import re
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import msgspec

from greenroom.protocol.errors import InvalidConfig

_TARGET: Final = re.compile(
    r"\s*(>=|<=|==|!=|=|>|<)?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%)?\s*"
)
_TARGET_CHARS: Final = 60
_HOLDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


class Target(msgspec.Struct, frozen=True):
    """A comparison with a number; a percentage is a share of 1."""

    sign: str
    number: float
    percent: bool = False

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return self.sign in (">=", ">")

    def met(self, value: float) -> bool:
        """Whether `value` reaches the bar."""
        return _HOLDS[self.sign](value, self.number)

    def progress(self, value: float) -> float:
        """How near `value` is to the bar, from 0 to 1; 1 when it reaches it."""
        if self.met(value):
            return 1.0
        part, whole = (value, self.number) if self.rises else (self.number, value)
        if self.sign in ("==", "!=") or part <= 0 or whole <= 0:
            return 0.0
        return min(1.0, part / whole)


def parse_target(target: object, default: float) -> Target:
    """Return the bar that `target` describes; None is at least `default`.

    A number is a bar that must be reached. Raises InvalidConfig for anything else.
    """
    if target is None:
        return Target(">=", default)
    if isinstance(target, int | float) and not isinstance(target, bool):
        if isfinite(target):
            return Target(">=", float(target))
    elif isinstance(target, str) and len(target) <= _TARGET_CHARS:
        found = _TARGET.fullmatch(target)
        if found is not None:
            sign, digits, percent = found.groups()
            number = float(digits) / (100 if percent else 1)
            if isfinite(number):
                return Target({None: ">=", "=": "=="}.get(sign, sign), number, bool(percent))
    raise InvalidConfig(
        f"the target {target!a:.60} is no bar: use a number, 'N%', or a comparison as in '< 5'"
    )
