"""Encoders and decoders of everything stored, each built once. Stored structs tolerate unknown
fields.
"""

from typing import Final

import msgspec

from greenroom.protocol.commit import Summary
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.patch import JournalRecord

_encoder: Final = msgspec.msgpack.Encoder()
encode: Final = _encoder.encode

decode_record: Final = msgspec.msgpack.Decoder(JournalRecord).decode
decode_state: Final = msgspec.msgpack.Decoder(ExecutionState).decode
decode_event: Final = msgspec.msgpack.Decoder(EventBody).decode
decode_events: Final = msgspec.msgpack.Decoder(list[EventBody]).decode
decode_summary: Final = msgspec.msgpack.Decoder(Summary).decode
