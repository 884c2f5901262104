"""Sub-steps: what a node run has recorded before it ends. They use up no step of the graph."""

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.effects import change_records
from greenroom.protocol.engine.node_ends import running
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Progressed
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.patch import Cause


def progressed(
    plan: Plan, state: ExecutionState, tick: Progressed, now: float
) -> Transition | None:
    """Record the effects, and nothing else; None when the run is stale."""
    token = running(state, tick)
    if token is None:
        return None
    draft = Draft(plan, state, now)
    change_records(draft, tick.token_id, token, tick.changes)
    return draft.finish(
        Cause(tick="progressed", node=token.node, visit=token.visit, attempt=token.attempt)
    )
