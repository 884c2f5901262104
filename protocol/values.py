"""Values that may cross a border: what is stored is what everyone gets, also the next live node.

The domain is None, bool, int in [-2^63, 2^64), finite float, str, bytes, aware datetime (kept as
UTC), list, and dict with str keys. Converted at once: tuple, set and frozenset to list (sets in
sorted order, so that equal sets have equal bytes), dataclass and msgspec.Struct to dict, Enum to
its value, UUID, Decimal and date to str. Anything else is refused with the path of the value.
"""

import dataclasses
from collections.abc import Collection
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from math import isfinite
from typing import Any, Final
from uuid import UUID

import msgspec

from greenroom.protocol.errors import InvalidValue, StoreCorrupt, ValueTooLarge
from greenroom.protocol.limits import (
    INTEGER_MAX,
    INTEGER_MIN,
    VALUE_BYTES_MAX,
    VALUE_DEPTH_MAX,
)

_encoder: Final = msgspec.msgpack.Encoder()
_orderly: Final = msgspec.msgpack.Encoder(order="deterministic")
_decoder: Final = msgspec.msgpack.Decoder()
_NONE: Final = type(None)

# The encoder refuses integers out of range and lone surrogates; the path is found afterwards.
_LEFT_TO_THE_ENCODER: Final = frozenset({str, int, bool, _NONE, bytes})


def encode_value(value: object, path: str = "$", limit: int = VALUE_BYTES_MAX) -> bytes:
    """Return the stored form of `value`: msgpack of `to_storable(value)`.

    Raises InvalidValue with the path of the part that is outside the domain, ValueTooLarge when
    the stored form has more than `limit` bytes. `path` stands for the root in messages.
    """
    raw: bytes | None = None
    if _is_plain(value, VALUE_DEPTH_MAX):
        try:
            raw = _encoder.encode(value)
        except (OverflowError, UnicodeEncodeError):
            raw = None  # normalising finds the place
    if raw is None:
        raw = _encoder.encode(to_storable(value, path))
    if len(raw) > limit:
        raise ValueTooLarge(path, len(raw), limit)
    return raw


def decode_value(raw: bytes | bytearray | memoryview) -> Any:
    """Return a fresh value from its stored form; StoreCorrupt if it is not one whole value."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreCorrupt(f"stored bytes are not a value: {error}") from error


def to_storable(value: object, path: str = "$") -> Any:
    """Return `value` as it will come back from the store, sharing no container with it.

    Raises InvalidValue with the path of the first part that is outside the domain.
    """
    return _normalise(value, path, VALUE_DEPTH_MAX)


def payload_digest(raw: bytes) -> bytes:
    """Return the 16-byte blake2b digest by which two stored payloads are told apart."""
    return blake2b(raw, digest_size=16).digest()


def answer_digest(raw: bytes | msgspec.Raw) -> bytes:
    """Return a digest of a stored value in which the order of keys does not count."""
    return payload_digest(_orderly.encode(decode_value(raw)))


def _is_plain(value: object, room: int) -> bool:
    """Say whether the encoder alone gives the right bytes or an error. False: look closer.

    Nearly every value is JSON-like and passes here, without being copied.
    """
    kind = type(value)
    if kind in _LEFT_TO_THE_ENCODER:
        return True
    if kind is float:
        return isfinite(value)  # type: ignore[arg-type]
    if kind is dict:
        if not room:
            return False
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                return False
            if type(item) not in _LEFT_TO_THE_ENCODER and not _is_plain(item, room - 1):
                return False
        return True
    if kind is list:
        if not room:
            return False
        for item in value:  # type: ignore[attr-defined]
            if type(item) not in _LEFT_TO_THE_ENCODER and not _is_plain(item, room - 1):
                return False
        return True
    return kind is datetime and value.tzinfo is UTC  # type: ignore[attr-defined]


def _normalise(value: object, path: str, room: int) -> Any:
    # Enum comes first: a StrEnum is a str too, and its value is what is stored.
    if isinstance(value, Enum):
        return _normalise(value.value, path, room)
    if value is None or isinstance(value, bool | bytes):
        return value if value is None or isinstance(value, bool) else bytes(value)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise InvalidValue(path, "the integer is outside [-2^63, 2^64): store it as a str")
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise InvalidValue(path, f"{float(value)} is not a finite number: use None or a str")
        return float(value)
    if isinstance(value, datetime):
        return _moment(value, path)
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return _container(value, path, room)


def _container(value: object, path: str, room: int) -> Any:
    entries: dict[Any, Any] | None = None
    if isinstance(value, dict):
        entries = value
    elif isinstance(value, msgspec.Struct):
        entries = {name: getattr(value, name) for name in value.__struct_fields__}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif not isinstance(value, list | tuple | set | frozenset):
        raise InvalidValue(path, _why_unknown(value))
    if not room:
        raise InvalidValue(path, f"nested more than {VALUE_DEPTH_MAX} deep (or contains itself)")
    if entries is not None:
        return {
            _key(key, path): _normalise(item, _under(path, key), room - 1)
            for key, item in entries.items()
        }
    assert isinstance(value, list | tuple | set | frozenset)  # refused above otherwise
    items = [_normalise(item, f"{path}[{at}]", room - 1) for at, item in enumerate(value)]
    return _sorted(items) if isinstance(value, set | frozenset) else items


def _sorted(items: Collection[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=_encoder.encode)


def _text(value: str, path: str) -> str:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(
            path, f"character {error.start} is a lone surrogate: decode the text properly first"
        ) from error
    return text


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise InvalidValue(
            path, f"the key {key!a:.60} is a {type(key).__name__}: only str keys can be stored"
        )
    return _text(key.value if isinstance(key, Enum) else key, _under(path, key))


def _moment(value: datetime, path: str) -> datetime:
    if value.utcoffset() is None:
        raise InvalidValue(path, "the datetime has no time zone: give it one, as in UTC")
    try:
        moment = value.astimezone(UTC)
    except OverflowError as error:
        raise InvalidValue(path, "the datetime is out of range in UTC") from error
    return datetime(
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
        UTC,
    )


def _under(path: str, key: object) -> str:
    if isinstance(key, str) and len(key) <= 60 and key.isascii() and key.isidentifier():
        return f"{path}.{key}"
    return f"{path}[{key!a:.60}]"


def _why_unknown(value: object) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, bytearray | memoryview):
        return f"a {name} cannot be stored: use bytes(...)"
    if hasattr(value, "model_dump"):
        return f"a {name} cannot be stored: use .model_dump()"
    return f"a {name} cannot be stored: use plain data (dict, list, str, numbers, bytes, datetime)"
