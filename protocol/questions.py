"""Questions to people: what a node asks, what the store keeps of it, and how a question ends."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from greenroom.protocol.budget import BudgetPart
from greenroom.protocol.errors import InvalidValue, ValueTooLarge
from greenroom.protocol.optional_raw import OptionalRaw
from greenroom.protocol.values import encode_value

_MARK: Final = ":q"
_DIGITS_MAX: Final = 10

BRANCHES_FROM: Final = 1 << 31
"""Questions that the nodes of branches ask have numbers from here on; all others count from 1."""

_EACH: Final = 128  # numbers for the node of one token; it may ask fewer
_TOKEN_MAX: Final = (BRANCHES_FROM // _EACH) - 1


class QuestionEnding(StrEnum):
    """How a question was closed."""

    ANSWERED = "answered"
    EXPIRED = "expired"  # its deadline passed; the default was taken, if it had one
    CLOSED = "closed"  # its execution ended, or went on, without waiting for the answer


class AnswerOutcome(StrEnum):
    """What became of an answer."""

    ACCEPTED = "accepted"  # durable, and its execution goes on when all its questions are answered
    DUPLICATE = "duplicate"  # answered before, with an equal value: nothing changed, all is well
    CONFLICTING = "conflicting"  # answered before, with another value, which stands
    LATE = "late"  # the question had expired, and its default was taken if it had one
    CLOSED = "closed"  # too late: the execution ended, or went on, without it
    UNKNOWN = "unknown"  # there is no such question, or its execution was pruned


class InjectionOutcome(StrEnum):
    """What became of input for a node."""

    ANSWERED = "answered"  # it answered the oldest open question of the node
    KEPT = "kept"  # durable; it answers the next question of the node that it fits
    NOBODY_WAITS = "nobody_waits"  # nothing was stored


class AskedQuestion(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A question, as a node run buffers it, too. `to` is empty when it is about an effect, or about
    the budget. `schema` is an encoded JSON Schema; `default` is taken
    for an answer when the deadline (wall UTC seconds) passes without one.
    """

    prompt: str
    to: str  # the key of execution memory that the answer is stored under
    schema: OptionalRaw = None
    assignee: str | None = None
    effect: str | None = None  # slot of the effect that it is about
    budget: BudgetPart | None = None  # part of the budget that it is about
    deadline: float | None = None
    default: OptionalRaw = None


class OpenQuestion(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What the state of an execution holds of a question that nobody has answered: only what the
    engine decides by.
    """

    token: int  # id of the token whose node asked
    to: str
    effect: str | None = None  # slot of the effect that it is about
    budget: BudgetPart | None = None  # part of the budget that it is about
    deadline: float | None = None
    default: OptionalRaw = None


class Injected(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Input that is kept for a node until it asks. `request` is the sender's own name for it: the
    same request that comes again is kept once.
    """

    node: str
    value: msgspec.Raw
    request: str


class QuestionRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What the store keeps of a question, open or closed, as long as its execution."""

    execution_id: str
    entry_point: str
    node: str
    visit: int
    prompt: str
    to: str
    asked_at: float  # wall UTC seconds
    schema: OptionalRaw = None
    assignee: str | None = None
    effect: str | None = None  # slot of the effect that it is about
    budget: BudgetPart | None = None  # part of the budget that it is about
    deadline: float | None = None
    default: OptionalRaw = None


class Closing(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """How and when a question was closed; `digest` is that of the answer (`answer_digest`)."""

    ending: QuestionEnding
    at: float  # wall UTC seconds
    digest: bytes = b""
    by: str | None = None


class QuestionChange(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What one step does to one question: with `record` it opens, with `closing` it is closed; with
    `node` it stays open, and the node that asked has another name, and that number of visits.
    """

    number: int
    record: QuestionRecord | None = None
    closing: Closing | None = None
    node: str | None = None
    visit: int = 0


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a person, as hosts see it.

    `id` is what `answer` takes; equal attempts of a node give equal ids. `to` is the key of the
    execution's memory that the answer becomes; it is empty when the question is about an effect
    whose outcome is unknown, which `effect` names then, or about more of a part of its budget
    ("steps" or "wall_s"), which is `budget` then. `ending` says how it was closed, None while
    it is open; `closed_at` and `answered_by` belong to it. With `has_default` the `default` is
    taken for the answer when `deadline` passes. `session_id` is the execution's id.
    """

    id: str
    session_id: str
    entry_point: str
    node_id: str
    prompt: str
    to: str
    asked_at: datetime  # aware, UTC
    schema: dict[str, Any] | None = None
    assignee: str | None = None
    effect: str | None = None
    budget: BudgetPart | None = None
    deadline: datetime | None = None  # aware, UTC
    has_default: bool = False
    default: Any = None
    ending: QuestionEnding | None = None
    closed_at: datetime | None = None
    answered_by: str | None = None


def number_of(asked: int, token_id: int, nth: int) -> int:
    """Return the number of the `nth` question, from 1, that the run of a token's node asks.

    The node is told it before its step closes. `asked` is the number of the newest question when
    the run began. By then branches may have asked others, so the tokens in them, whose ids are
    negative, have numbers of their own.
    """
    if token_id >= 0:
        return asked + nth
    assert -token_id <= _TOKEN_MAX, "an execution takes fewer steps"
    assert 0 < nth < _EACH
    return BRANCHES_FROM - token_id * _EACH + nth


def question_id(execution_id: str, number: int) -> str:
    """Return the id of an execution's question; one that a branch asked is told by its token, and
    by which of its questions it is.
    """
    if number < BRANCHES_FROM:
        return f"{execution_id}{_MARK}{number}"
    token, nth = divmod(number - BRANCHES_FROM, _EACH)
    return f"{execution_id}{_MARK}{token}.{nth}"


def split_question_id(text: object) -> tuple[str, int] | None:
    """Return (execution id, number), None for what `question_id` cannot have made."""
    if not isinstance(text, str):
        return None
    execution_id, _, digits = text.rpartition(_MARK)
    token, dot, nth = digits.rpartition(".")
    if not (execution_id and _is_short(nth) and (not dot or _is_short(token))):
        return None
    number = int(nth) + (BRANCHES_FROM + int(token) * _EACH if dot else 0)
    return (execution_id, number) if question_id(execution_id, number) == text else None


def _is_short(digits: str) -> bool:
    return 0 < len(digits) <= _DIGITS_MAX and digits.isascii() and digits.isdigit()


def checked_text(what: str, value: object, chars_max: int) -> str:
    """Return `value` if it is a text that can be stored: a str, not empty, and not too long.

    Raises InvalidValue with `what` as the path, ValueTooLarge.
    """
    if not isinstance(value, str) or not value:
        raise InvalidValue(what, "must be a str, not empty")
    if len(value) > chars_max:
        raise ValueTooLarge(what, len(value), chars_max)
    encode_value(value, what)  # refuses what has no bytes
    return value
