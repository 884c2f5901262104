"""What a node decides, and what it reports as a problem: as it is given, and as it is stored.

A *note* is one of both. It is buffered while its node runs and stored by the step that closes the
run. Which execution, node, visit and attempt it belongs to follows from that step's record.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.limits import DECISION_OPTIONS_MAX, NOTE_BYTES_MAX
from greenroom.protocol.values import encode_value

CONFIDENCE_DEFAULT: Final = 0.5


class DecisionType(StrEnum):
    """What kind of choice a decision is."""

    TOOL_SELECTION = "tool_selection"
    PARAMETER_CHOICE = "parameter_choice"
    PATH_CHOICE = "path_choice"
    OUTPUT_FORMAT = "output_format"
    RETRY_STRATEGY = "retry_strategy"
    DELEGATION = "delegation"
    TERMINATION = "termination"
    CUSTOM = "custom"


class Severity(StrEnum):
    """How bad a problem is."""

    CRITICAL = "critical"
    WARNING = "warning"
    MINOR = "minor"


class Option(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that could have been chosen. `confidence` is from 0 to 1.

    Raises InvalidInput at construction.
    """

    id: str
    description: str = ""
    action_type: str = ""
    action_params: dict[str, Any] = {}
    pros: list[str] = []
    cons: list[str] = []
    confidence: float = CONFIDENCE_DEFAULT

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise InvalidInput(f"an option's id is {self.id!a:.60}: use a str that is not empty")
        sure = self.confidence
        if isinstance(sure, bool) or not isinstance(sure, int | float) or not 0 <= sure <= 1:
            raise InvalidInput(
                f"option {self.id!a:.60}: confidence is {sure!a:.60}: use a number from 0 to 1"
            )


class DecisionMade(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="decision"
):
    """A decision as it is stored. `at` is wall UTC seconds."""

    id: str
    at: float
    intent: str
    decision_type: DecisionType = DecisionType.CUSTOM
    options: list[Option] = []
    chosen: str = ""
    reasoning: str = ""
    active_constraints: list[str] = []
    input_context: dict[str, Any] = {}


class ProblemReported(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="problem"
):
    """A problem as it is stored. `at` is wall UTC seconds."""

    id: str
    at: float
    severity: Severity
    description: str
    root_cause: str = ""
    decision_id: str = ""
    suggested_fix: str = ""


Note = DecisionMade | ProblemReported

decode_note: Final = msgspec.msgpack.Decoder(Note).decode

_Member = TypeVar("_Member", bound=StrEnum)
OptionLike = Option | str | Mapping[str, Any]


def encode_decision(
    note_id: str,
    at: float,
    intent: str,
    options: Iterable[OptionLike],
    chosen: OptionLike | None,
    reasoning: str,
    decision_type: DecisionType | str,
    active_constraints: Iterable[str],
    input_context: Mapping[str, Any] | None,
) -> msgspec.Raw:
    """Return a DecisionMade, encoded.

    Raises InvalidInput for a choice that is none of the options and for what is not of its type,
    InvalidValue for what cannot be stored, ValueTooLarge over NOTE_BYTES_MAX.
    """
    given = [_option(one) for one in options]
    if len(given) > DECISION_OPTIONS_MAX:
        raise InvalidInput(f"a decision has {len(given)} options, over {DECISION_OPTIONS_MAX}")
    ids = [one.id for one in given]
    if len(set(ids)) < len(ids):
        raise InvalidInput(f"two options have the same id: {ids!a:.200}")
    choice = "" if chosen is None else _option(chosen).id
    if given and choice not in ids:
        raise InvalidInput(f"chosen is {choice!a:.60}, which is none of the options {ids!a:.200}")
    fields = {
        "kind": "decision",
        "id": note_id,
        "at": at,
        "intent": _text("intent", intent, needed=True),
        "decision_type": _member("decision_type", decision_type, DecisionType).value,
        "options": [_fields(one) for one in given],
        "chosen": choice,
        "reasoning": _text("reasoning", reasoning),
        "active_constraints": [_text("active_constraints", one) for one in active_constraints],
        "input_context": dict(input_context or {}),
    }
    return _encode(fields)


def encode_problem(
    note_id: str,
    at: float,
    severity: Severity | str,
    description: str,
    root_cause: str,
    decision_id: str,
    suggested_fix: str,
) -> msgspec.Raw:
    """Return a ProblemReported, encoded. Raises as `encode_decision`."""
    fields = {
        "kind": "problem",
        "id": note_id,
        "at": at,
        "severity": _member("severity", severity, Severity).value,
        "description": _text("description", description, needed=True),
        "root_cause": _text("root_cause", root_cause),
        "decision_id": _text("decision_id", decision_id),
        "suggested_fix": _text("suggested_fix", suggested_fix),
    }
    return _encode(fields)


def _encode(fields: dict[str, Any]) -> msgspec.Raw:
    said = {name: value for name, value in fields.items() if value not in ("", [], {})}
    return msgspec.Raw(encode_value(said, "$", NOTE_BYTES_MAX))


def _option(given: OptionLike) -> Option:
    if isinstance(given, Option):
        return given
    if isinstance(given, str):
        return Option(given)
    try:
        return msgspec.convert(given, Option)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"an option is an Option, its id, or a dict of its fields: {error}"
        ) from (error)


def _fields(option: Option) -> dict[str, Any]:
    """What of the option is said."""
    found = msgspec.structs.asdict(option)
    if found["confidence"] == CONFIDENCE_DEFAULT:
        del found["confidence"]
    return {name: value for name, value in found.items() if value not in ("", [], {})}


def _text(name: str, value: object, *, needed: bool = False) -> str:
    if not isinstance(value, str) or (needed and not value):
        raise InvalidInput(f"{name} is {value!a:.60}: use a str" + " that is not empty" * needed)
    return value


def _member(name: str, value: object, kind: type[_Member]) -> _Member:
    try:
        return kind(str(value))
    except ValueError:
        raise InvalidInput(f"{name} is {value!a:.60}: use one of {', '.join(kind)}") from None
