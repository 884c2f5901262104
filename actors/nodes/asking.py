"""What a node may ask people, checked before it is buffered."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from greenroom.actors.nodes.answer_schemas import encode_schema
from greenroom.protocol.errors import InvalidInput, KeyNotAllowed
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.limits import PERSON_CHARS_MAX, PROMPT_CHARS_MAX, QUESTIONS_OPEN_MAX
from greenroom.protocol.questions import AskedQuestion, checked_text
from greenroom.protocol.shared_state import check_key

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
) -> AskedQuestion:
    """Return the question, if the node may ask it after those that it asked `before`.

    Raises InvalidInput, InvalidValue, ValueTooLarge, KeyNotAllowed.
    """
    key = _default_key(node) if to is None else check_key(to)
    if node.output_keys and key not in node.output_keys:
        raise KeyNotAllowed(f"Not allowed to write key: {key}")
    if any(one.to == key for one in before):
        raise InvalidInput(f"two questions are answered to key {key!r}: give each its own")
    if len(before) >= QUESTIONS_OPEN_MAX:
        raise InvalidInput(f"a node may ask {QUESTIONS_OPEN_MAX} questions at once, not more")
    return AskedQuestion(
        prompt=checked_text("prompt", prompt, PROMPT_CHARS_MAX),
        to=key,
        schema=None if schema is None else encode_schema(schema),
        assignee=None if assignee is None else checked_text("assignee", assignee, PERSON_CHARS_MAX),
    )


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
