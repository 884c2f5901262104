"""Sub-steps: what a node run has recorded before it ends. They use up no step of the graph."""

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
    """Record the effects, and nothing else; None when the run is stale.

    A slot that is new is progress: deaths of the process before it do not count any more.
    """
    token = running(state, tick)
    if token is None:
        return None
    draft = Draft(plan, state, now)
    records = dict(state.effects.get(tick.token_id, {}))
    for change in tick.changes:
        before = records.get(change.slot)
        if before is None and token.crashes:
            draft.tokens[tick.token_id] = msgspec.structs.replace(token, crashes=0)
        about = change.record or before
        if about is not None and about.policy is not EffectPolicy.STEP:
            _tell(draft, token, change, about)
        if change.record is not None:
            records[change.slot] = change.record
    draft.effects[tick.token_id] = {change.slot: change.record for change in tick.changes}
    return draft.finish(
        Cause(tick="progressed", node=token.node, visit=token.visit, attempt=token.attempt)
    )


def _tell(draft: Draft, token: Token, change: EffectChange, about: EffectRecord) -> None:
    name, _, occurrence = change.slot.rpartition("/")
    execution_id = draft.accepted.execution_id
    data = {
        "effect": name,
        "occurrence": int(occurrence),
        "policy": about.policy.value,
        "visit": token.visit,
        "attempt": token.attempt,
        "key": idempotency_key(execution_id, token.node, token.visit, change.slot),
    }
    kind = _NOT_DONE if change.record is None else _EVENTS[change.record.outcome]
    draft.event(kind, token.node, data)
