"""Checks that the declared settings share: InvalidConfig says what would be right."""

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from greenroom.protocol.errors import InvalidConfig

_Member = TypeVar("_Member", bound=StrEnum)


def require(holds: bool, why: str) -> None:
    """Raise InvalidConfig(why) unless `holds`."""
    if not holds:
        raise InvalidConfig(why)


def member(name: str, value: object, kind: type[_Member]) -> _Member:
    """Return the member of `kind` with that value; a plain str is converted."""
    try:
        return kind(str(value) if isinstance(value, str) else repr(value))
    except ValueError:
        choices = ", ".join(kind)
        raise InvalidConfig(f"{name} is {value!a:.80}: use one of {choices}") from None


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Require an int (not a bool) in [low, high]."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidConfig(f"{name} is {value!a:.80}: use an integer from {low} to {high}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Require a finite int or float in [low, high]."""
    # NaN and infinities fail the comparison.
    fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not fits:
        raise InvalidConfig(f"{name} is {value!a:.80}: use a number from {low:g} to {high:g}")


def is_text_list(value: object) -> bool:
    """Say whether `value` is a list or tuple of str."""
    return isinstance(value, list | tuple) and all_text(value)


def all_text(values: Iterable[object]) -> bool:
    """Say whether every item is a str."""
    return all(isinstance(item, str) for item in values)
