"""What a node may ask people, checked before it is buffered."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from greenroom.actors.nodes.answer_schemas import check_answer, encode_schema
from greenroom.protocol.errors import InvalidInput, KeyNotAllowed
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.limits import (
    ANSWER_DEFAULT_BYTES_MAX,
    PERSON_CHARS_MAX,
    PROMPT_CHARS_MAX,
    QUESTIONS_OPEN_MAX,
    SLEEP_S_MAX,
)
from greenroom.protocol.questions import AskedQuestion, checked_text
from greenroom.protocol.shared_state import check_key
from greenroom.protocol.timers import utc_seconds
from greenroom.protocol.values import encode_value

ANSWER_KEY: Final = "answer"
_NONE: Final = b"\xc0"


def asked_question(
    node: NodeSpec,
    before: Sequence[AskedQuestion],
    prompt: object,
    *,
    to: str | None,
    schema: dict[str, Any] | None,
    assignee: str | None,
    deadline: float | None,
    default: Any,
) -> AskedQuestion:
    """Return the question, if the node may ask it after those that it asked `before`. `default`
    UNSET means none.

    Raises InvalidInput, InvalidValue, ValueTooLarge, KeyNotAllowed.
    """
    key = _default_key(node) if to is None else check_key(to)
    if node.output_keys and key not in node.output_keys:
        raise KeyNotAllowed(f"Not allowed to write key: {key}")
    if any(one.to == key for one in before):
        raise InvalidInput(f"two questions are answered to key {key!r}: give each its own")
    if len(before) >= QUESTIONS_OPEN_MAX:
        raise InvalidInput(f"a node may ask {QUESTIONS_OPEN_MAX} questions at once, not more")
    encoded = None if schema is None else encode_schema(schema)
    return AskedQuestion(
        prompt=checked_text("prompt", prompt, PROMPT_CHARS_MAX),
        to=key,
        schema=encoded,
        assignee=None if assignee is None else checked_text("assignee", assignee, PERSON_CHARS_MAX),
        deadline=deadline,
        default=None if default is UNSET else _default(default, encoded, deadline),
    )


def _default(value: object, schema: msgspec.Raw | None, deadline: float | None) -> msgspec.Raw:
    if deadline is None:
        raise InvalidInput("a default is taken at a deadline: give deadline= or timeout= with it")
    raw = msgspec.Raw(encode_value(value, "default", ANSWER_DEFAULT_BYTES_MAX))
    if schema is not None:
        check_answer(schema, raw)
    return raw


def deadline_of(now: float, deadline: datetime | None, timeout: float | None) -> float | None:
    """Return when a question expires (wall UTC seconds), None for never. Raises InvalidInput."""
    if deadline is None and timeout is None:
        return None
    if timeout is None:
        at = utc_seconds("deadline", deadline)
        if at - now > SLEEP_S_MAX:
            raise InvalidInput(f"the deadline {at:.0f} is too far away to wait for")
        return at
    if deadline is not None:
        raise InvalidInput("a question has a deadline or a timeout, not both")
    usable = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not usable or not 0 <= timeout <= SLEEP_S_MAX:  # nor NaN
        raise InvalidInput(f"timeout takes 0 to {SLEEP_S_MAX:.0f} seconds, not {timeout!a:.80}")
    return now + timeout


def _default_key(node: NodeSpec) -> str:
    """The node's output key, if it has one; a node that declares none may write any key."""
    if len(node.output_keys) > 1:
        keys = ", ".join(repr(key) for key in node.output_keys)
        raise InvalidInput(f"say which key the answer goes to: to= one of {keys}")
    return node.output_keys[0] if node.output_keys else ANSWER_KEY


def refuse_answered(questions: Sequence[AskedQuestion], outputs: Mapping[str, msgspec.Raw]) -> None:
    """Raise InvalidInput when a node set a key that the answer to a question is to set."""
    for one in questions:
        raw = outputs.get(one.to)
        if raw is not None and bytes(raw) != _NONE:
            raise InvalidInput(
                f"key {one.to!r} was set, and is what a question is answered to: "
                "ask with another `to`"
            )
