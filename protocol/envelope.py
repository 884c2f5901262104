"""The envelope: what travels with a message, and its self-contained wire form.

Inside one process a plain `tell` is only its encoded body, because a header whose fields are all at
their defaults says nothing. The header is built when there is something to say, and by anything
that sends a message out of the process.
"""

from typing import Final

import msgspec


class Header(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a receiver may know about a message besides its body.

    `id` names the message for its sender's own use (empty: never asked for). `sender` is an actor's
    address. `deadline` is wall UTC seconds after which nobody waits for the answer. `attempt` is 1
    at the first delivery and grows each time the receiver crashed on the message. `trace` is a
    W3C-style trace context.
    """

    id: str = ""
    sender: str = ""
    deadline: float | None = None
    attempt: int = 1
    trace: dict[str, str] | None = None


class WireEnvelope(msgspec.Struct, frozen=True, array_like=True):
    """A header and a body that stays encoded, so that it is never encoded twice."""

    header: Header
    body: msgspec.Raw


NO_HEADER: Final = Header()
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(WireEnvelope)


def pack(body: bytes, header: Header = NO_HEADER) -> bytes:
    """Put an encoded body and its header into one self-contained message."""
    return _encoder.encode(WireEnvelope(header, msgspec.Raw(body)))


def unpack(data: bytes) -> tuple[Header, bytes]:
    """Split what `pack` made. Raises msgspec.DecodeError for anything else."""
    envelope = _decoder.decode(data)
    return envelope.header, bytes(envelope.body)
