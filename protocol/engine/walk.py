"""Moving on: from a node that ended to the next one that must run, past routers and skipped nodes,
or to an end.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from greenroom.protocol.engine.draft import NONE, Draft
from greenroom.protocol.engine.routing import Outputs, Way, choose, route_label
from greenroom.protocol.engine.spending import breach, used_up
from greenroom.protocol.execution import Ended, Phase, Status, Token

# Routers can turn in a circle; a transition that long would block all executions of its stream.
NODES_PASSED_MAX: Final = 1_000
_CIRCLE: Final = (
    f"{NODES_PASSED_MAX} nodes were passed in a row and none ran: the routers turn in a circle"
)

PAUSE_NODE: Final = "the graph pauses after this node"


def enter(
    draft: Draft,
    token_id: int,
    node_id: str,
    output: Outputs,
    *,
    succeeded: bool,
    permit: bool = True,
) -> None:
    """Move the token to `node_id` and on, until a node must run or the execution ends.

    That node is dispatched, or queued for when there is no `permit`. Routers are passed in any
    case: what they see must not depend on how much else runs.

    The token's new id is the number of the step that it enters with, so no two visits of an
    execution share one: the late end of an earlier node run can never pass for that of another.

    `output` is what the source of the way returned, and `succeeded` how it ended. A router without
    a function passes them on as its own. A node over its visit limit is skipped: it uses up a step,
    and its edges are followed as after a success with the memory as its output.
    """
    plan = draft.plan
    taken = draft.state.steps
    for _ in range(NODES_PASSED_MAX):
        node = plan.nodes[node_id]
        visit = next_visit(draft, node_id)
        step = taken + draft.steps + 1
        if step > plan.max_steps:
            draft.move(token_id, step, Token(node=node_id, visit=visit))
            text = f"max_steps of {plan.max_steps} are used up before node {node.name!r}"
            draft.stop(Status.EXHAUSTED, text)
            return
        skipped = bool(node.visits_max) and visit > node.visits_max
        runs = node.function is not None and not skipped
        may_stay = draft.budget is not None or not permit
        if runs and may_stay and _stays(draft, token_id, step, node_id, visit, permit):
            return
        draft.visits[node_id] = visit
        draft.steps += 1
        label: str | None = None
        if skipped:
            output, succeeded = draft.all_memory(), True
        else:
            draft.path.append(node_id)
            if visit > 1:
                draft.memory.update(dict.fromkeys(node.nullable, NONE))
            if runs:
                token = Token(node=node_id, visit=visit, attempt=1, phase=Phase.RUNNING)
                draft.move(token_id, step, token)
                draft.dispatch(step, token)
                return
            draft.router_passed(node, visit)
            if node.pause:
                if node.spec.route_on is None:
                    label = route_label(draft, node, output, succeeded=succeeded)
                draft.move(token_id, step, ended(Token(node=node_id, visit=visit), output, label))
                draft.pause(node_id, PAUSE_NODE)
                return
            if node.terminal:
                draft.complete()
                return
            label = route_label(draft, node, output, succeeded=succeeded)
        here = Token(node=node_id, visit=visit)
        way = leave(draft, token_id, step, here, output, label=label)
        if way is None:
            return
        node_id, output, succeeded = way.target, way.output, True
    ahead = Token(node=node_id, visit=next_visit(draft, node_id))
    draft.move(token_id, taken + draft.steps + 1, ahead)
    draft.stop(Status.EXHAUSTED, _CIRCLE)


def _stays(draft: Draft, token_id: int, step: int, node_id: str, visit: int, permit: bool) -> bool:
    """Whether the token stays before a node that is to run: for want of budget, or of a permit."""
    spent = used_up(draft)
    if spent is None and permit:
        return False
    ahead = Token(node=node_id, visit=visit)
    draft.move(token_id, step, ahead)
    if spent is not None:
        breach(draft, step, ahead, spent)
    else:
        draft.queue(step, ahead)
    return True


def leave(
    draft: Draft,
    old_id: int,
    new_id: int,
    token: Token,
    output: Outputs,
    *,
    label: str | None,
) -> Way | None:
    """Return the way onward from the token's node, which succeeded; None when that ended the
    execution.

    The token is `old_id` in the state, and `new_id` when it is left here. Without an edge to take
    the execution is complete, unless the condition of one could not be evaluated: then nobody knows
    where it should have gone on, and it fails.
    """
    node = draft.plan.nodes[token.node]
    way, broken = choose(draft, node, output, succeeded=True, label=label)
    if way is not None:
        return way
    if broken is None:
        draft.complete()
        return None
    draft.move(old_id, new_id, ended(token, output, label))
    draft.stop(Status.FAILED, f"no edge from node {node.name!r} could be taken: {broken}")
    return None


def ended(token: Token, output: Iterable[str], route: str | None) -> Token:
    """Return the token of a node that is done, and where it goes on is still to be decided.

    `output` names the keys that are the node's output.
    """
    return msgspec.structs.replace(token, ended=Ended(outputs=tuple(output), route=route))


def next_visit(draft: Draft, node_id: str) -> int:
    """Return the number of the node's next visit, as the transition stands."""
    seen = draft.visits.get(node_id)
    return (draft.state.visits.get(node_id, 0) if seen is None else seen) + 1


def hold_lost(draft: Draft, token_id: int, token: Token) -> None:
    """Hold the execution: the graph has not the node at which the token stands."""
    draft.tokens[token_id] = token
    draft.stop(Status.HELD, f"node {token.node!r} is not in graph {draft.plan.graph_id!r}")
