"""Forking: how an execution begins where another one stood.

It goes on as one that is taken back there would (rewinding.py), under an id of its own: what was
done outside is done anew under new keys, and people are asked anew what they were being asked then.
The ids of tokens stay, as no node of this execution has run yet. It always queues for its first
permit, so that its first record says what differs and never what stayed the same.
"""

from typing import Final

import msgspec

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.due import overdue
from greenroom.protocol.engine.fanning import reopen
from greenroom.protocol.engine.opening import ask_again
from greenroom.protocol.engine.pausing import let_all_go
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.rewinding import at_rest
from greenroom.protocol.engine.ticks import Fork
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Status
from greenroom.protocol.patch import Cause

_FORKED: Final = EventType.EXECUTION_FORKED.value


def fork(plan: Plan, tick: Fork, now: float) -> Transition:
    """Accept the fork that begins with `tick.base`, with `tick.memory` over the memory of that
    time. The patch is one over that state.

    Raises ValueError when nothing follows the position, or the graph has not a node of it.
    """
    base = tick.base
    origin = base.accepted.forked
    if origin is None or not base.tokens:
        raise ValueError(f"nothing follows the position at which {base.accepted} was forked")
    for token in base.tokens.values():
        if token.node not in plan.nodes:
            raise ValueError(f"node {token.node!r} is not in graph {plan.graph_id!r}")
    resting = {token_id: at_rest(token) for token_id, token in base.tokens.items()}
    draft = Draft(plan, msgspec.structs.replace(base, tokens=resting), now)
    draft.memory = dict(tick.memory)
    if tick.budget is not None:
        draft.budget = tick.budget
    draft.event(_FORKED, None, {"session_id": origin.execution_id, "seq": origin.seq})
    error = overdue(draft.state, now)
    if base.accepted.timeout_s == 0:
        error = "Execution timed out: it may not run at all"
    if error is not None:
        draft.stop(Status.TIMED_OUT, error)
    else:
        ask_again(draft, tick.asked)
        if tick.failed:
            reopen(draft)
        let_all_go(draft, tick.memory, forgiven=True)
    made = draft.finish(Cause(tick="fork"), base.accepted)
    patch = msgspec.structs.replace(made.patch, tokens={**resting, **made.patch.tokens})
    return msgspec.structs.replace(made, patch=patch)
