"""Messages as bytes: one encoder, one decoder per union, and the rule that a message has a tag."""

import types
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec

encode: Final = msgspec.msgpack.Encoder().encode

_decoders: dict[Any, Callable[[bytes], Any]] = {}
_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})


def decoder_for(messages: Any) -> Callable[[bytes], Any]:
    """The decoder of a type, built once per process."""
    decode = _decoders.get(messages)
    if decode is None:
        decode = _decoders.setdefault(messages, msgspec.msgpack.Decoder(messages).decode)
    return decode


def check_messages(owner: str, messages: Any) -> None:
    """Raise TypeError unless `messages` is one tagged Struct or a union of them."""
    members = (
        typing.get_args(messages)
        if typing.get_origin(messages) in (types.UnionType, typing.Union)
        else (messages,)
    )
    for member in members:
        if not (isinstance(member, type) and issubclass(member, msgspec.Struct)):
            raise TypeError(f"{owner}.messages: {member!r} is not a msgspec.Struct")
        if member.__struct_config__.tag is None:
            raise TypeError(
                f"{owner}.messages: {member.__name__} needs a tag (class X(..., tag=...))"
            )
    msgspec.msgpack.Decoder(messages)


def copy_reply(value: Any, reply_type: Any) -> Any:
    """The reply as the asker gets it: encoded and decoded, so that no mutable object is shared.

    `reply_type` is the message's declared `reply`. Without one a Struct keeps its own type and
    anything else comes back as plain data. Raises msgspec.ValidationError if the reply is not of
    the declared type, TypeError if it cannot be encoded.
    """
    if reply_type is None:
        if type(value) in _SCALARS:
            return value
        reply_type = type(value) if isinstance(value, msgspec.Struct) else Any
    return decoder_for(reply_type)(encode(value))
