"""Input that comes for a node that is busy: kept, for the next question that the node asks."""

from enum import Enum

import msgspec

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Fits, Inject
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.execution import TERMINAL, ExecutionState
from greenroom.protocol.limits import INBOX_BYTES_MAX, INBOX_MAX
from greenroom.protocol.patch import Cause
from greenroom.protocol.questions import AskedQuestion, Injected


class Reception(Enum):
    """What an execution can do with input for one of its nodes."""

    ANSWER = "a question of the node is open"
    KEEP = "the node has not ended"
    FULL = "the node has not ended, and too much is kept already"
    SEVERAL = "several branches stand at the node"
    NOBODY = "the execution is somewhere else, or has ended"


def reception(state: ExecutionState, node: str, size: int) -> Reception:
    """Say what may be done with input of `size` bytes for a node."""
    if state.status in TERMINAL:
        return Reception.NOBODY
    tokens = state.tokens.items()
    asks = {one.token for one in state.questions.values() if one.to}
    here = {one for one, token in tokens if token.node == node and (one in asks or not token.ended)}
    if len(here) > 1:
        return Reception.SEVERAL
    if here & asks:
        return Reception.ANSWER
    if not here:
        return Reception.NOBODY
    kept = sum(len(one.value) for one in state.inbox.values())
    if len(state.inbox) >= INBOX_MAX or kept + size > INBOX_BYTES_MAX:
        return Reception.FULL
    return Reception.KEEP


def is_kept(state: ExecutionState, request: str) -> bool:
    """Say whether the input of that request waits for its node to ask."""
    return any(one.request == request for one in state.inbox.values())


def inject(plan: Plan, state: ExecutionState, tick: Inject, now: float) -> Transition | None:
    """Keep the input until the node asks; None when that is not what can be done with it now, or
    when it is kept already: a crash between commit and answer brings the same request again.
    """
    if (
        is_kept(state, tick.request)
        or reception(state, tick.node, len(tick.value)) is not Reception.KEEP
    ):
        return None
    draft = Draft(plan, state, now)
    draft.inbox[state.injected + 1] = Injected(
        node=tick.node, value=tick.value, request=tick.request
    )
    return draft.finish(Cause(tick="inject", node=tick.node))


def take_kept(
    draft: Draft, node: str, question: AskedQuestion, fits: Fits | None
) -> msgspec.Raw | None:
    """Take the oldest input that is kept for the node and fits the question; None when none does.

    What does not fit is kept, for a question that it does fit.
    """
    for number, kept in draft.state.inbox.items():
        if kept.node != node or number in draft.inbox:
            continue
        if question.schema is None or (fits is not None and fits(question.schema, kept.value)):
            draft.inbox[number] = None
            return kept.value
    return None
