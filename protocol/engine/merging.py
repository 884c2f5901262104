"""What the branches of a fan-out come to together."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from greenroom.protocol.branches import Branch, BranchStatus, Fan, FanMap, MapResult
from greenroom.protocol.codec import encode
from greenroom.protocol.engine.branch_draft import BranchDraft
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.limits import MAP_RESULTS_BYTES_MAX
from greenroom.protocol.parallel import MemoryConflictStrategy

_NONE: Final = msgspec.Raw(b"\xc0")
_KEYS_SHOWN: Final = 5
_KEY_CHARS: Final = 60

Values = dict[str, msgspec.Raw]


def merged(
    branches: BranchDraft,
    fan: Fan,
    there: Sequence[tuple[int, Branch]],
    results: Mapping[int, MapResult],
) -> tuple[Values, str | None]:
    """Return what a fan-out leaves in memory, and why it cannot; None when it can.

    `there` are its branches in their order, `results` those of a map.
    """
    if fan.map is not None:
        return _list_of(fan.map, results)
    arrived = [
        branches.overlay(number) for number, one in there if one.status is BranchStatus.ARRIVED
    ]
    if fan.on_conflict is MemoryConflictStrategy.FIRST_WINS:
        arrived.reverse()
    values: Values = {}
    torn: dict[str, None] = {}
    for overlay in arrived:
        for key, raw in overlay.items():
            if key in values and bytes(values[key]) != bytes(raw):
                torn[key] = None
        values.update(overlay)
    if torn and fan.on_conflict is MemoryConflictStrategy.ERROR:
        shown = ", ".join(repr(bounded_text(key, _KEY_CHARS)) for key in list(torn)[:_KEYS_SHOWN])
        return {}, f"wrote different values to {shown}, and memory_conflict_strategy is 'error'"
    return values, None


def _list_of(spec: FanMap, results: Mapping[int, MapResult]) -> tuple[Values, str | None]:
    found = [results[at].value for at in range(spec.total)]
    size = sum(1 if raw is None else len(raw) for raw in found)
    if size > MAP_RESULTS_BYTES_MAX:
        why = (
            f"returned {size} bytes in all, and the list {spec.into!r} may have "
            f"{MAP_RESULTS_BYTES_MAX}: let each return less, or collect one key"
        )
        return {}, why
    whole = encode([_NONE if raw is None else raw for raw in found])
    return {spec.into: msgspec.Raw(whole)}, None


def map_values(overlay: Values, collect: str | None) -> msgspec.Raw:
    """Return what one element of a map came to: the value of a key, None without one, or all that
    was written, as a dict.
    """
    if collect is None:
        return msgspec.Raw(encode(overlay))
    return overlay.get(collect, _NONE)
