"""What an execution has used of its budget, and what happens when it needs more."""

from greenroom.protocol.budget import OnBreach
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.execution import Status


def used_up(draft: Draft) -> str | None:
    """Say which part of the budget is used up, as the transition stands; None while none is."""
    budget, state = draft.budget, draft.state
    if budget is None:
        return None
    return budget.used_up(state.node_runs + draft.node_runs, state.wall_s + draft.ran_s())


def breach(draft: Draft, node_id: str, why: str) -> None:
    """The execution may run that node no more: it ends, or is paused, and its token stays there."""
    text = f"{why}, at node {draft.plan.nodes[node_id].name!r}"
    if draft.budget is not None and draft.budget.on_breach is OnBreach.PAUSE:
        draft.pause(node_id, text)
        draft.error = text
    else:
        draft.stop(Status.EXHAUSTED, text)
