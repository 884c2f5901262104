"""Whether a node returned what it declares."""

from typing import Any

import msgspec

from greenroom.protocol.engine.plan import PlanNode
from greenroom.protocol.questions import AskedQuestion
from greenroom.protocol.values import decode_value

_NONE = 0xC0
_SHORT_TEXT = range(0xA0, 0xC0)
_LONG_TEXT = range(0xD9, 0xDC)


def output_fault(
    node: PlanNode, outputs: dict[str, msgspec.Raw], questions: tuple[AskedQuestion, ...]
) -> str | None:
    """Return what is wrong with a node's outputs, None when nothing is.

    A declared output key that is not nullable may not be missing, None, or text without a visible
    character. A key that the answer to a question is to fill is not asked for yet.
    """
    faults = []
    awaited = {one.to for one in questions} if questions else ()
    for key in node.required:
        if key in awaited:
            continue
        raw = outputs.get(key)
        if raw is None:
            faults.append(f"missing output key {key!r}")
        elif (first := memoryview(raw)[0]) == _NONE:
            faults.append(f"output key {key!r} is None")
        elif (first in _SHORT_TEXT or first in _LONG_TEXT) and _is_blank(raw, first):
            faults.append(f"output key {key!r} is blank")
    return "Output validation failed: " + "; ".join(faults) if faults else None


def _is_blank(raw: msgspec.Raw, first: int) -> bool:
    encoded = memoryview(raw)
    if first in _SHORT_TEXT and len(encoded) > 1 and 0x20 < encoded[1] < 0x7F:
        return False  # begins with a printable character: the common case, not decoded
    text: Any = decode_value(raw)
    return not text.strip()
