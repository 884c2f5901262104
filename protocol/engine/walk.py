"""Moving on: from a node that ended to the next ones that must run, past routers and skipped nodes,
over joins, or to an end.
"""

from collections import deque
from typing import Final

from greenroom.protocol.branches import MAIN, FanKind, branch_ends_at
from greenroom.protocol.engine.draft import NONE, Draft
from greenroom.protocol.engine.due import is_due
from greenroom.protocol.engine.fanning import Move, Moves, ended, enter_subgraph, new_id
from greenroom.protocol.engine.joining import (
    arrive,
    end,
    fail,
    fail_branch,
    go,
    hold_lost,
    leave,
    look,
    pause_after,
)
from greenroom.protocol.engine.plan import PlanNode
from greenroom.protocol.engine.routing import Outputs, choose, route_label
from greenroom.protocol.engine.spending import breach, used_up
from greenroom.protocol.execution import Phase, Status, Token

# Routers can turn in a circle; a transition that long would block all executions of its stream.
NODES_PASSED_MAX: Final = 1_000
_CIRCLE: Final = (
    f"{NODES_PASSED_MAX} nodes were passed in a row and none ran: the routers turn in a circle"
)


def enter(
    draft: Draft,
    token_id: int,
    node_id: str,
    output: Outputs,
    *,
    succeeded: bool,
    permit: bool = True,
) -> None:
    """Move the token, which is in the branch in hand, to `node_id` and on, until nodes must run or
    the execution ends.

    Those nodes are dispatched, or queued for when there is no `permit`. Routers are passed in any
    case: what they see must not depend on how much else runs.

    `output` is what the source of the way returned, and `succeeded` how it ended. A router without
    a function passes them on as its own. A node over its visit limit is skipped: it uses up a step,
    and its edges are followed as after a success with the memory as its output.
    """
    walk(draft, deque((Move(token_id, draft.branch, node_id, output, succeeded),)), permit=permit)


def walk(draft: Draft, moves: Moves, *, permit: bool) -> None:
    """Carry out what is to enter nodes, and what follows from that."""
    while moves and not draft.over:
        _enter(draft, moves, moves.popleft(), permit)
    for move in moves:  # it has ended, or stands still: they are to be found again
        _wait_before(draft, move)


def leave_node(
    draft: Draft, token_id: int, token: Token, output: Outputs, *, label: str | None
) -> None:
    """Let the token go on from its node, which succeeded; the execution has a permit."""
    moves: Moves = deque()
    leave(draft, moves, token_id, token_id, token, output, label=label)
    walk(draft, moves, permit=True)


def fail_node(
    draft: Draft, token_id: int, token: Token, output: Outputs, text: str, *, permit: bool = True
) -> None:
    """Let the token take the way for failures; without one its branch, or the execution, has
    failed.

    `token` is as it is to be taken up again, `output` what its node has for an output, `text` what
    to say.
    """
    draft.tokens[token_id] = token
    moves: Moves = deque()
    node = draft.plan.nodes[token.node]
    ways, broken = choose(draft, node, output, succeeded=False, label=None)
    if ways:
        if permit:
            draft.start()
        go(draft, moves, token_id, node, token.visit, ways, succeeded=False)
    else:
        fail(draft, moves, token_id, text if broken is None else f"{text} ({broken})")
    walk(draft, moves, permit=permit)


def end_branch(draft: Draft, token_id: int) -> None:
    """Let the token, whose node was the last one, come to the end of its branch."""
    moves: Moves = deque()
    end(draft, moves, token_id)
    walk(draft, moves, permit=True)


def expire_branches(draft: Draft, *, permit: bool) -> None:
    """Fail the branches that have run for as long as they may."""
    branches, moves = draft.branches(), Moves()
    for branch_id, branch in branches.all().items():
        if draft.over or branches.branch(branch_id) is not branch:
            continue  # it went with another
        fan = branches.fan(branch.fan)
        ends_at = branch_ends_at(branch, fan)
        if ends_at is None or not is_due(ends_at, draft.now) or not branches.is_open(branch_id):
            continue
        draft.branch = branch_id
        fail_branch(draft, moves, branch_id, f"it timed out after {fan.timeout_s:g} s")
        walk(draft, moves, permit=permit)


def _enter(draft: Draft, moves: Moves, move: Move, permit: bool) -> None:
    """Let something enter a node, or come to the join of its branch."""
    token_id, branch_id, node_id, output, _ = move
    draft.branch = branch_id
    if branch_id != MAIN and _is_over(draft, moves, move):
        return
    step = draft.state.steps + draft.steps + 1
    here_id = step if branch_id == MAIN else new_id(draft, step)
    node = draft.plan.nodes.get(node_id)
    if node is None:
        draft.remove(token_id)
        hold_lost(draft, here_id, Token(node=node_id, branch=branch_id))
        return
    visit = next_visit(draft, node_id)
    if step > draft.plan.max_steps:
        draft.move(token_id, here_id, Token(node=node_id, visit=visit, branch=branch_id))
        text = f"max_steps of {draft.plan.max_steps} are used up before node {node.name!r}"
        draft.stop(Status.EXHAUSTED, text)
        return
    counted = visit if branch_id == MAIN else _visits_here(draft, node_id, visit)
    skipped = bool(node.visits_max) and counted > node.visits_max
    runs = node.function is not None and not skipped
    if runs and (draft.budget is not None or not permit):
        ahead = Token(node=node_id, visit=visit, branch=branch_id)
        if _stays(draft, token_id, here_id, ahead, permit):
            return
    draft.visits[node_id] = visit
    draft.steps += 1
    if branch_id != MAIN:
        _count_visit(draft, node_id)
    if not skipped:
        draft.path.append(node_id)
        if counted > 1:
            draft.write(dict.fromkeys(node.nullable, NONE))
        if runs:
            token = Token(
                node=node_id, visit=visit, attempt=1, phase=Phase.RUNNING, branch=branch_id
            )
            draft.move(token_id, here_id, token)
            draft.dispatch(here_id, token)
            return
    draft.passed += 1
    if draft.passed >= NODES_PASSED_MAX:
        ahead = Token(node=node_id, visit=visit, branch=branch_id)
        draft.move(token_id, here_id, ahead)
        draft.stop(Status.EXHAUSTED, _CIRCLE)
    elif skipped:
        token = Token(node=node_id, visit=visit, branch=branch_id)
        leave(draft, moves, token_id, here_id, token, draft.all_memory(), label=None)
    elif node.inside is not None:
        draft.node_entered(node, visit)
        look(draft, moves, enter_subgraph(draft, moves, token_id, node, visit, output))
    else:
        _pass_router(draft, moves, move, node, here_id, visit)


def _pass_router(
    draft: Draft, moves: Moves, move: Move, node: PlanNode, here_id: int, visit: int
) -> None:
    """Let something go on from a router that needs no run of its own."""
    token_id, branch_id, _, output, succeeded = move
    draft.router_passed(node, visit)
    here = Token(node=node.id, visit=visit, branch=branch_id)
    if node.pause:
        label: str | None = None
        if node.spec.route_on is None:
            label = route_label(draft, node, output, succeeded=succeeded)
        draft.move(token_id, here_id, ended(here, output, label))
        pause_after(draft, here_id, ended(here, output, label))
    elif node.terminal:
        end(draft, moves, token_id)
    else:
        label = route_label(draft, node, output, succeeded=succeeded)
        leave(draft, moves, token_id, here_id, here, output, label=label)


def _is_over(draft: Draft, moves: Moves, move: Move) -> bool:
    """Whether a branch goes on no further: it has failed meanwhile, or this is its join, or that of
    a branch that it is in.
    """
    branches = draft.branches()
    branch = branches.branch(move.branch)
    if branch is None or not branches.is_open(move.branch):
        _wait_before(draft, move)
        return True
    fan = branches.fan(branch.fan)
    while fan.kind is not FanKind.SUBGRAPH:
        if fan.join == move.node:
            arrive(draft, moves, move.token_id)
            return True
        outer = branches.branch(fan.branch)
        if outer is None:
            break
        fan = branches.fan(outer.fan)
    return False


def _wait_before(draft: Draft, move: Move) -> None:
    """Let what was to enter a node wait before it, at rest, unless its branch is no more."""
    draft.branch = move.branch
    phase = Phase.READY
    if move.branch != MAIN:
        branches = draft.branches()
        if branches.branch(move.branch) is None:
            return
        phase = Phase.READY if branches.is_open(move.branch) else Phase.FAILED
    visit = next_visit(draft, move.node)
    here_id = new_id(draft, draft.state.steps + draft.steps + 1)
    token = Token(node=move.node, visit=visit, phase=phase, branch=move.branch)
    draft.move(move.token_id, here_id, token)


def _stays(draft: Draft, token_id: int, here_id: int, ahead: Token, permit: bool) -> bool:
    """Whether the token stays before a node that is to run: for want of budget, or of a permit."""
    spent = used_up(draft, token_id)
    if spent is None and permit:
        return False
    draft.move(token_id, here_id, ahead)
    if spent is not None:
        breach(draft, here_id, ahead, spent)
    else:
        draft.queue(here_id, ahead)
    return True


def next_visit(draft: Draft, node_id: str) -> int:
    """Return the number of the node's next visit, as the transition stands."""
    seen = draft.visits.get(node_id)
    return (draft.state.visits.get(node_id, 0) if seen is None else seen) + 1


def _visits_here(draft: Draft, node_id: str, visit: int) -> int:
    """Return which visit it is of those that count to the node's limit: for each element of a map
    they are counted anew.
    """
    branches = draft.branches()
    number = branches.map_branch(draft.branch)
    return visit if number is None else branches.visited(number, node_id) + 1


def _count_visit(draft: Draft, node_id: str) -> None:
    branches = draft.branches()
    number = branches.map_branch(draft.branch)
    if number is not None:
        branches.count_visit(number, node_id)
