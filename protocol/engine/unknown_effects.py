"""Asking people what became of effects whose outcome is unknown."""

from typing import Final

from greenroom.protocol.effect_errors import OutcomeUnknown
from greenroom.protocol.effects import EffectOutcome
from greenroom.protocol.engine.draft import Draft, parked
from greenroom.protocol.engine.effects import ANSWER_SCHEMA, CALL_AGAIN, FAIL, HAPPENED, key_of
from greenroom.protocol.engine.opening import await_answers, open_question
from greenroom.protocol.engine.ticks import NodeErrored
from greenroom.protocol.execution import Token
from greenroom.protocol.questions import AskedQuestion

_UNKNOWN: Final = OutcomeUnknown.code


def ask_about_effects(draft: Draft, token: Token, tick: NodeErrored) -> bool:
    """Ask about every effect whose outcome is unknown, when that is what the run failed with and
    its node wants people to be asked; False when not.

    The node has not ended: it runs again in its visit when all is answered.
    """
    if _UNKNOWN not in tick.error_types:
        return False
    token_id = tick.token_id
    slots = [
        slot
        for slot, record in draft.state.effects.get(token_id, {}).items()
        if record.outcome is EffectOutcome.UNKNOWN and record.ask
    ]
    if not slots:
        return False
    for slot in slots:
        open_question(draft, token_id, token, _question(draft, token, slot))
    await_answers(draft, token_id, parked(token))
    return True


def _question(draft: Draft, token: Token, slot: str) -> AskedQuestion:
    key = key_of(draft, token, slot)
    return AskedQuestion(
        prompt=(
            f"Effect {slot.rpartition('/')[0]!r} of node {token.node!r} may have happened or not; "
            f"its key is {key}. What came of it? {HAPPENED!r}: it happened, with this result; "
            f"{CALL_AGAIN!r}: it did not, call it again; {FAIL!r}: let the node fail."
        ),
        to="",
        schema=ANSWER_SCHEMA,
        effect=slot,
    )
