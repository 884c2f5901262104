"""Rules for external ids: executions, entry points, nodes, edges, goals and graphs share one."""

import re
from datetime import datetime
from typing import Final

from greenroom.protocol.errors import InvalidId
from greenroom.protocol.limits import ID_CHARS_MAX

_ALLOWED: Final = re.compile(r"[A-Za-z0-9._:-]+")
_EIGHT_HEX: Final = re.compile(r"[0-9a-f]{8}")


def validate_id(kind: str, value: object) -> str:
    """Return `value` if it may be used as an id, else raise InvalidId.

    An id is 1 to 128 characters of `A-Z a-z 0-9 . _ : -` and holds no `..`. `kind` names the
    thing in the message, as in "node" or "execution".
    """
    if not isinstance(value, str):
        raise InvalidId(f"{kind} id must be a str, not {type(value).__name__}")
    if not value:
        raise InvalidId(f"{kind} id is empty: give 1 to {ID_CHARS_MAX} characters")
    if len(value) > ID_CHARS_MAX:
        raise InvalidId(
            f"{kind} id {value[:32]!a}... has {len(value)} characters: use at most {ID_CHARS_MAX}"
        )
    if _ALLOWED.fullmatch(value) is None:
        wrong = next(character for character in value if _ALLOWED.fullmatch(character) is None)
        raise InvalidId(
            f"{kind} id {value!a} contains {wrong!a}: use letters, digits and '.', '_', ':', '-'"
        )
    if ".." in value:
        raise InvalidId(f"{kind} id {value!a} contains '..': use single dots")
    return value


def new_execution_id(now: datetime, random8: str) -> str:
    """Return `session_YYYYMMDD_HHMMSS_{random8}` for a clock reading and 8 lower-case hex digits.

    Both are passed in, so the rule is pure; uniqueness rests on `random8`. Raises InvalidId when
    `random8` is anything else.
    """
    if _EIGHT_HEX.fullmatch(random8) is None:
        raise InvalidId(f"an execution id needs 8 lower-case hex digits, not {random8!a}")
    return f"session_{now:%Y%m%d_%H%M%S}_{random8}"
