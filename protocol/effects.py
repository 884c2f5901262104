"""Effects: calls to the outside that a node makes, and what the journal keeps of each.

An effect is told apart by its name and occurrence within one visit of one node, written as its
*slot*, `name/occurrence`. What is recorded there stands only for a call with equal arguments.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from greenroom.protocol.optional_raw import OptionalRaw
from greenroom.protocol.values import decode_value, encode_value, payload_digest

# Equal arguments have equal digests, in whatever order a dict was filled.
_canonical: Final = msgspec.msgpack.Encoder(order="deterministic")


class EffectPolicy(StrEnum):
    """What becomes of an effect whose result was not recorded when its node runs again."""

    STEP = "step"  # called again; writes no events
    REPEAT = "repeat"  # called again
    IDEMPOTENT = "idempotent"  # called again with the same key; what was begun is on record
    ONCE = "once"  # never called again: its outcome is unknown


INTENDED: Final = frozenset({EffectPolicy.IDEMPOTENT, EffectPolicy.ONCE})
"""Policies under which the intent is durable before the call."""


class EffectOutcome(StrEnum):
    """How far a recorded effect got."""

    BEGUN = "begun"  # the intent is durable, the call may or may not have been made
    DONE = "done"  # it returned `value`
    UNKNOWN = "unknown"  # it was begun under `once`, and nobody knows what came of it
    GIVEN_UP = "given_up"  # it was unknown, and a person said that its node is to fail


class OnUnknown(StrEnum):
    """What a node wants when the outcome of its effect is unknown."""

    FAIL = "fail"  # it fails
    ASK = "ask"  # a person is asked what came of it, and the node runs again with the answer


class EffectRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the journal keeps of one effect. `digest` is that of the call's arguments; with `ask` a
    person is asked about an outcome that is unknown.
    """

    policy: EffectPolicy
    outcome: EffectOutcome
    digest: bytes
    value: OptionalRaw = None
    ask: bool = False


class EffectChange(msgspec.Struct, frozen=True, gc=False):
    """What is to stand in a slot; None withdraws what stands there."""

    slot: str
    record: EffectRecord | None = None


def slot_of(name: str, occurrence: int) -> str:
    """Return the slot of an effect. Names hold no slash."""
    return f"{name}/{occurrence}"


def idempotency_key(
    execution_id: str,
    node: str,
    visit: int,
    slot: str | None = None,
    *,
    rewinds: int = 0,
    known_as: str | None = None,
) -> str:
    """Return the key of a visit, or of one effect in it: equal in every run, new on a new visit,
    and after each time that the execution was taken back. `known_as` is the visit that it began
    as, when the execution was migrated since: what was done outside was done under that name.
    """
    back = f"~{rewinds}" if rewinds else ""
    key = f"{execution_id}{back}/{known_as or f'{node}/{visit}'}"
    return key if slot is None else f"{key}/{slot}"


def argument_digest(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bytes:
    """Return the digest by which two calls of one effect are told apart.

    Raises InvalidValue with the path of an argument that is outside the value domain, and
    ValueTooLarge.
    """
    raw = encode_value({"args": list(arguments), "kwargs": keywords})
    return payload_digest(_canonical.encode(decode_value(raw)))
