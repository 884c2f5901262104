"""Held: what cannot go on without a person, or goes on by itself when the graph fits again."""

import msgspec

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.pausing import take_up
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Hold
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.execution import TERMINAL, ExecutionState, Status
from greenroom.protocol.patch import Cause


def hold(plan: Plan, state: ExecutionState, tick: Hold, now: float) -> Transition | None:
    """Hold what has not ended; None for what has, and for what is held."""
    if state.status in TERMINAL or state.status is Status.HELD:
        return None
    draft = Draft(plan, state, now)
    draft.stop(Status.HELD, tick.reason)
    made = draft.finish(Cause(tick="hold"))
    if not tick.unfit:
        return made
    return msgspec.structs.replace(
        made, patch=msgspec.structs.replace(made.patch, unfit=tick.unfit)
    )


def release(plan: Plan, state: ExecutionState, now: float) -> Transition | None:
    """Let an execution go on that was held because it did not fit the graph; None for any other.

    As a resume that nobody asked for, with nothing forgiven: it was no fault of its own.
    """
    if state.status is not Status.HELD or not state.unfit:
        return None
    if any(token.node not in plan.nodes for token in state.tokens.values()):
        return None
    draft = Draft(plan, state, now)
    take_up(draft, {}, {"was": state.status.value, "released": True}, forgiven=False)
    return draft.finish(Cause(tick="release"))
