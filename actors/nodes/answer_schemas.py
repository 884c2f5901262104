"""JSON Schemas of answers: whether one is sound, and whether a value fits it. Any thread."""

from functools import lru_cache
from typing import Any, Final, NoReturn

import jsonschema_rs
from msgspec import Raw

from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.errors import InvalidInput, InvalidValue, ValueTooLarge
from greenroom.protocol.limits import ANSWER_SCHEMA_BYTES_MAX
from greenroom.protocol.people_errors import InvalidAnswer
from greenroom.protocol.values import decode_value, encode_value

_VALIDATORS_KEPT: Final = 256


def encode_schema(schema: object) -> Raw:
    """Return the stored form of a JSON Schema.

    Raises InvalidInput for what is none, also when it refers to another document: nothing is
    fetched. Raises ValueTooLarge.
    """
    if not isinstance(schema, dict):
        raise InvalidInput(f"a schema is a dict with a JSON Schema, not a {type(schema).__name__}")
    try:
        raw = encode_value(schema, "schema", ANSWER_SCHEMA_BYTES_MAX)
    except ValueTooLarge:
        raise
    except InvalidValue as error:
        raise InvalidInput(f"the schema is not one of JSON: {error}") from error
    _validator(raw)
    return Raw(raw)


def check_answer(schema: Raw, value: Raw) -> None:
    """Check an encoded value against an encoded schema. Raises InvalidAnswer with the path of the
    first part that does not fit.
    """
    try:
        _validator(bytes(schema)).validate(decode_value(value))
    except jsonschema_rs.ValidationError as error:
        path = "$" + "".join(map(_step, error.instance_path))
        raise InvalidAnswer(path, bounded_text(error.message)) from None
    except ValueError as error:  # bytes and datetimes are no JSON
        raise InvalidAnswer("$", f"is not JSON: {error}") from error


def answer_fits(schema: Raw, value: Raw) -> bool:
    """Say whether an encoded value fits an encoded schema."""
    try:
        check_answer(schema, value)
    except InvalidAnswer:
        return False
    return True


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if part.isascii() and part.isidentifier() else f"[{part!a:.60}]"


@lru_cache(maxsize=_VALIDATORS_KEPT)
def _validator(raw: bytes) -> Any:
    try:
        return jsonschema_rs.validator_for(decode_value(raw), retriever=_refuse)
    except ValueError as error:
        why = getattr(error, "message", None) or str(error)
        raise InvalidInput(f"the schema is not a JSON Schema: {bounded_text(why)}") from error


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is another document, and nothing is fetched")
