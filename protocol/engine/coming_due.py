"""What happens to an execution when a time has come that it waited for."""

from greenroom.protocol.engine.draft import Draft, parked
from greenroom.protocol.engine.due import due_at, is_due
from greenroom.protocol.engine.going_on import awake, go_on
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.retry import rerun
from greenroom.protocol.engine.ticks import Due
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.engine.walk import hold_lost
from greenroom.protocol.execution import ExecutionState, Phase
from greenroom.protocol.patch import Cause


def come_due(plan: Plan, state: ExecutionState, tick: Due, now: float) -> Transition | None:
    """Do all that is due of the execution; None when nothing is."""
    first = due_at(state)
    if first is None or not is_due(first, now):
        return None
    draft = Draft(plan, state, now)
    for token_id, token in state.tokens.items():
        if token.due is None or not is_due(token.due, now):
            continue
        if token.node not in plan.nodes:
            hold_lost(draft, token_id, token)
            break
        if token.phase is Phase.SLEEPING and token.ended is not None:
            go_on(draft, token_id, awake(token), token.ended, {}, permit=tick.permit)
        elif token.phase is Phase.BACKOFF and tick.permit:
            draft.start()
            draft.dispatch(token_id, rerun(token, conflicts=token.conflicts))
        elif token.phase is Phase.BACKOFF:
            draft.queue(token_id, parked(token))
    return draft.finish(Cause(tick="due"))
