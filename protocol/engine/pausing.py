"""Standing still and going on: what Pause and Resume do to an execution."""

from typing import Final

import msgspec

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.routing import Way, route_label
from greenroom.protocol.engine.ticks import Pause, Resume
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.engine.walk import leave, next_visit
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Ended, ExecutionState, Status, Token
from greenroom.protocol.patch import Cause

PAUSABLE: Final = frozenset({Status.QUEUED, Status.RUNNING, Status.WAITING})
RESUMABLE: Final = frozenset({Status.PAUSED, Status.FAILED, Status.EXHAUSTED, Status.HELD})

_RESUMED: Final = EventType.EXECUTION_RESUMED.value


def pause(plan: Plan, state: ExecutionState, tick: Pause, now: float) -> Transition | None:
    """Pause what is queued, runs or waits; None for everything else."""
    if state.status not in PAUSABLE:
        return None
    draft = Draft(plan, state, now)
    node = next(iter(state.tokens.values())).node
    draft.pause(node, tick.reason)
    return draft.finish(Cause(tick="pause", node=node))


def resume(plan: Plan, state: ExecutionState, tick: Resume, now: float) -> Transition | None:
    """Take up what is paused, failed, exhausted or held, with `tick.memory` over its memory.

    None for everything else, and while the graph has not the node at which it stands. A node that
    had not ended runs again in its visit, its attempts counted on; a failure or a hold is forgiven:
    `failures` and `crashes` start from 0. From a node that had ended the way is chosen now, with
    its output and the new input over it.
    """
    if state.status not in RESUMABLE:
        return None
    tokens = state.tokens.items()
    if any(token.node not in plan.nodes for _, token in tokens):
        return None
    draft = Draft(plan, state, now)
    draft.run = state.run + 1
    draft.clear_error = True
    draft.memory = dict(tick.memory)
    forgiven = state.status is not Status.PAUSED
    for token_id, token in tokens:
        data = {"run": draft.run, "was": state.status.value}
        draft.event(_RESUMED, token.node, data)
        if token.ended is not None:
            _go_on(draft, token_id, token, token.ended, tick.memory)
            continue
        if forgiven:
            token = msgspec.structs.replace(token, failures=0, crashes=0, conflicts=0)
        draft.queue(token_id, token)
    return draft.finish(Cause(tick="resume"))


def _go_on(
    draft: Draft, token_id: int, token: Token, ended: Ended, added: dict[str, msgspec.Raw]
) -> None:
    """Let the token leave a node that is done, by the way that is right now."""
    node = draft.plan.nodes[token.node]
    output = {key: raw for key in ended.outputs if (raw := draft.read(key)) is not None} | added
    if node.pause and node.resume_at is not None:
        way: Way | None = Way(node.resume_at, output)
    elif node.terminal:
        draft.complete()
        return
    else:
        label = ended.route
        if label is None and node.routes:
            label = route_label(draft, node, output, succeeded=True)
        way = leave(draft, token_id, token_id, token, output, label=label)
    if way is None:
        return
    # As `enter` numbers them: by the step to come.
    step = draft.state.steps + 1
    ahead = Token(node=way.target, visit=next_visit(draft, way.target))
    draft.move(token_id, step, ahead)
    draft.queue(step, ahead)
