"""What the store keeps of its own beside protocol's records. Arrays, to which later versions may
only append.
"""

import struct
from typing import Final

import msgspec

from greenroom.protocol.codec import decode_summary, encode
from greenroom.protocol.commit import Summary
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.optional_raw import OptionalRaw
from greenroom.protocol.questions import Closing, QuestionRecord

NIL: Final = msgspec.Raw(b"\xc0")
_mark: Final = struct.Struct(">Q")


class StateEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One shared value. A deleted one stays as a tombstone (`live` False): its absence has a
    version too.
    """

    version: int
    key: str
    live: bool
    value: msgspec.Raw = NIL


class ScopeEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A scope's own record: the version of its newest write."""

    version: int
    scope: str
    owner: str


class ClaimEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An idempotency claim."""

    execution_id: str
    digest: bytes
    expires_at: float
    namespace: str
    key: str


class CursorEntry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A log consumer's position, and its own record when it keeps one."""

    consumer: str
    seq: int
    state: OptionalRaw = None


class FenceEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stream's present incarnation."""

    stream: str
    incarnation: int


class CheckpointEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A named position in a journal."""

    node: str
    at: float  # wall UTC seconds
    step: int
    description: str


decode_checkpoint: Final = msgspec.msgpack.Decoder(CheckpointEntry).decode


class QuestionEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A question, and once it is closed how."""

    record: QuestionRecord
    closing: Closing | None = None


decode_state_entry: Final = msgspec.msgpack.Decoder(StateEntry).decode
decode_scope_entry: Final = msgspec.msgpack.Decoder(ScopeEntry).decode
decode_claim: Final = msgspec.msgpack.Decoder(ClaimEntry).decode
decode_cursor: Final = msgspec.msgpack.Decoder(CursorEntry).decode
decode_fence: Final = msgspec.msgpack.Decoder(FenceEntry).decode
decode_question: Final = msgspec.msgpack.Decoder(QuestionEntry).decode
decode_bodies: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class SeqOnly(msgspec.Struct, frozen=True, gc=False):
    """The one field of a journal record that the writer checks."""

    seq: int


class AtOnly(msgspec.Struct, frozen=True, gc=False):
    """The one field of a journal record that tells its age."""

    at: float


class AskingOnly(msgspec.Struct, frozen=True, gc=False):
    """What a snapshot tells of questions: which are open, and the number of the newest."""

    questions: dict[int, msgspec.Raw] = {}
    asked: int = 0


decode_at: Final = msgspec.msgpack.Decoder(AtOnly).decode
decode_asking: Final = msgspec.msgpack.Decoder(AskingOnly).decode
decode_seq: Final = msgspec.msgpack.Decoder(SeqOnly).decode


def pack_summary(mark: int, summary: Summary) -> bytes:
    """Stored form of a summary; `mark` is its place among the finished ones, 0 while it is
    unfinished.
    """
    return _mark.pack(mark) + encode(summary)


def unpack_summary(raw: bytes) -> tuple[int, Summary]:
    """Return (finish mark, summary); raises StoreCorrupt for other bytes."""
    try:
        return _mark.unpack_from(raw)[0], decode_summary(raw[_mark.size :])
    except (struct.error, msgspec.MsgspecError) as error:
        raise StoreCorrupt(f"a stored summary cannot be read: {error}") from error
