"""What happens to an execution when a time has come that it waited for."""

from greenroom.protocol.engine.asking import MOVING, expire, has_permit
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.due import budget_ends_at, due_at, is_due, overdue, token_due
from greenroom.protocol.engine.going_on import awake, go_on, set_out
from greenroom.protocol.engine.joining import hold_lost
from greenroom.protocol.engine.node_ends import run_out_of_time
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.spending import breach, used_up
from greenroom.protocol.engine.ticks import Due
from greenroom.protocol.engine.transition import StopNode, Transition
from greenroom.protocol.engine.walk import expire_branches
from greenroom.protocol.execution import ExecutionState, Phase, Status
from greenroom.protocol.patch import Cause


def come_due(plan: Plan, state: ExecutionState, tick: Due, now: float) -> Transition | None:
    """Do all that is due of the execution; None when nothing is."""
    first = due_at(state)
    if first is None or not is_due(first, now):
        return None
    draft = Draft(plan, state, now)
    error = overdue(state, now)
    if error is not None:
        draft.stop(Status.TIMED_OUT, error)
        return draft.finish(Cause(tick="due"))
    ends_at = budget_ends_at(state)
    if ends_at is not None and is_due(ends_at, now):
        return _budget_ends(draft)
    cause = Cause(tick="due")
    permit = has_permit(state, tick.permit)
    if state.questions and state.status in MOVING:
        expire(draft, permit=permit)
    for token_id, token in state.tokens.items():
        due = token_due(token)
        if due is None or not is_due(due, now) or token_id in draft.tokens:
            continue
        if draft.over:
            break
        if token.node not in plan.nodes:
            hold_lost(draft, token_id, token)
            break
        if token.phase is Phase.RUNNING:
            draft.commands.append(StopNode(token_id))
            cause = run_out_of_time(draft, token_id, token, cause.tick)
        elif token.phase is Phase.SLEEPING and token.ended is not None:
            go_on(draft, token_id, awake(token), token.ended, {}, permit=permit)
        else:  # what it had left of its budget others may have used meanwhile
            set_out(draft, token_id, token, permit=permit)
    if draft.parallel is not None:
        expire_branches(draft, permit=permit)
    return draft.finish(cause)


def _budget_ends(draft: Draft) -> Transition:
    """The time of the budget is used up while a node runs, or a short backoff passes."""
    node = ""
    for token_id, token in draft.state.tokens.items():
        if draft.over or token.phase not in (Phase.RUNNING, Phase.BACKOFF):
            continue
        node = node or token.node
        if token.node not in draft.plan.nodes:
            hold_lost(draft, token_id, token)
        else:
            spent = used_up(draft)
            assert spent is not None, "its time has come"
            breach(draft, token_id, token, spent)
    return draft.finish(Cause(tick="due", node=node))
