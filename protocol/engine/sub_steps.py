"""Sub-steps: what a node run has recorded before it ends. They use up no step of the graph."""

from typing import Final

import msgspec

from greenroom.protocol.effects import EffectOutcome, EffectPolicy, EffectRecord, idempotency_key
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.node_ends import running
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Progressed
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import ExecutionState, Token
from greenroom.protocol.patch import Cause

_EVENTS: Final = {
    EffectOutcome.BEGUN: EventType.EFFECT_STARTED.value,
    EffectOutcome.DONE: EventType.EFFECT_RECORDED.value,
    EffectOutcome.UNKNOWN: EventType.OUTCOME_UNKNOWN.value,
}
_NOT_DONE: Final = EventType.EFFECT_NOT_DONE.value


def progressed(
    plan: Plan, state: ExecutionState, tick: Progressed, now: float
) -> Transition | None:
    """Record the effect, and nothing else; None when the run is stale.

    A slot that is new is progress: deaths of the process before it do not count any more.
    """
    token = running(state, tick)
    if token is None:
        return None
    draft = Draft(plan, state, now)
    draft.effects[tick.token_id] = {tick.slot: tick.record}
    before = state.effects.get(tick.token_id, {}).get(tick.slot)
    if before is None and token.crashes:
        draft.tokens[tick.token_id] = msgspec.structs.replace(token, crashes=0)
    about = tick.record or before
    if about is not None and about.policy is not EffectPolicy.STEP:
        _tell(draft, token, tick, about)
    return draft.finish(
        Cause(tick="progressed", node=token.node, visit=token.visit, attempt=token.attempt)
    )


def _tell(draft: Draft, token: Token, tick: Progressed, about: EffectRecord) -> None:
    name, _, occurrence = tick.slot.rpartition("/")
    execution_id = draft.accepted.execution_id
    data = {
        "effect": name,
        "occurrence": int(occurrence),
        "policy": about.policy.value,
        "visit": token.visit,
        "attempt": token.attempt,
        "key": idempotency_key(execution_id, token.node, token.visit, tick.slot),
    }
    kind = _NOT_DONE if tick.record is None else _EVENTS[tick.record.outcome]
    draft.event(kind, token.node, data)
