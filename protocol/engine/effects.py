"""What becomes of the records of effects: by the runs of their node, and by what a person says."""

from collections.abc import Sequence
from typing import Final

import msgspec

from greenroom.protocol.effects import (
    EffectChange,
    EffectOutcome,
    EffectPolicy,
    EffectRecord,
    idempotency_key,
)
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Token
from greenroom.protocol.values import decode_value, encode_value

HAPPENED: Final = "happened"
CALL_AGAIN: Final = "call_again"
FAIL: Final = "fail"

ANSWER_SCHEMA: Final = msgspec.Raw(
    encode_value(
        {
            "type": "object",
            "properties": {"outcome": {"enum": [HAPPENED, CALL_AGAIN, FAIL]}, "result": {}},
            "required": ["outcome"],
            "additionalProperties": False,
        }
    )
)
"""JSON Schema of what a person may say of an effect whose outcome is unknown."""

_EVENTS: Final = {
    EffectOutcome.BEGUN: EventType.EFFECT_STARTED.value,
    EffectOutcome.DONE: EventType.EFFECT_RECORDED.value,
    EffectOutcome.UNKNOWN: EventType.OUTCOME_UNKNOWN.value,
}
_NOT_DONE: Final = EventType.EFFECT_NOT_DONE.value


def change_records(
    draft: Draft, token_id: int, token: Token, changes: Sequence[EffectChange]
) -> None:
    """Change what is on record of the token's visit, in this order, each with its event.

    A slot that is new is progress: deaths of the process before it do not count any more.
    """
    records = dict(draft.state.effects.get(token_id, {}))
    for change in changes:
        before = records.get(change.slot)
        if before is None and token.crashes:
            draft.tokens[token_id] = msgspec.structs.replace(token, crashes=0)
        about = change.record or before
        if about is not None and about.policy is not EffectPolicy.STEP:
            _tell(draft, token, change, about)
        if change.record is not None:
            records[change.slot] = change.record
    draft.effects[token_id] = {change.slot: change.record for change in changes}


def _tell(draft: Draft, token: Token, change: EffectChange, about: EffectRecord) -> None:
    kind = _NOT_DONE if change.record is None else _EVENTS.get(change.record.outcome)
    if kind is None:
        return
    name, _, occurrence = change.slot.rpartition("/")
    data = {
        "effect": name,
        "occurrence": int(occurrence),
        "policy": about.policy.value,
        "visit": token.visit,
        "attempt": token.attempt,
        "key": key_of(draft, token, change.slot),
    }
    draft.event(kind, token.node, data)


def key_of(draft: Draft, token: Token, slot: str) -> str:
    """Return the idempotency key of an effect of the token's visit."""
    return idempotency_key(
        draft.accepted.execution_id,
        token.node,
        token.visit,
        slot,
        rewinds=draft.state.rewinds,
        known_as=token.known_as,
    )


def settle(draft: Draft, token_id: int, token: Token, slot: str, answer: msgspec.Raw) -> None:
    """Put on record what a person says of an effect whose outcome is unknown.

    `answer` fits ANSWER_SCHEMA: it happened, with a result; it may be called again; or its node is
    to fail.
    """
    known = draft.state.effects[token_id][slot]
    said = decode_value(answer)
    record: EffectRecord | None
    match said["outcome"]:
        case "happened":
            result = msgspec.Raw(encode_value(said.get("result")))
            record = EffectRecord(known.policy, EffectOutcome.DONE, known.digest, result)
        case "call_again":
            record = None
        case _:
            record = EffectRecord(known.policy, EffectOutcome.GIVEN_UP, known.digest)
    change_records(draft, token_id, token, [EffectChange(slot, record)])
