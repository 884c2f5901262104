"""Where ways end and meet: leaving a node, arriving at a join, and what the failure of a branch
means.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from greenroom.protocol.branches import (
    MAIN,
    BranchStatus,
    Fan,
    FanKind,
    MapResult,
)
from greenroom.protocol.codec import encode
from greenroom.protocol.engine.draft import PAUSE_NODE, Draft
from greenroom.protocol.engine.fanning import (
    BRANCHES_SHOWN,
    Move,
    Moves,
    ended,
    new_id,
    start_items,
    take,
)
from greenroom.protocol.engine.merging import map_values, merged
from greenroom.protocol.engine.outputs import output_fault
from greenroom.protocol.engine.plan import PlanNode
from greenroom.protocol.engine.routing import Outputs, Way, choose
from greenroom.protocol.engine.text import ERROR_CHARS_MAX, bounded_text
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Phase, Status, Token
from greenroom.protocol.parallel import OnBranchFailure

_JOINED: Final = EventType.PARALLEL_JOINED.value
_BRANCH_FAILED: Final = EventType.BRANCH_FAILED.value
_NODE_FAILED: Final = EventType.NODE_FAILED.value
_ERROR_CHARS: Final = 200  # of each of them
_MORE_CHARS: Final = 20  # of what says how many more there are


def leave(
    draft: Draft,
    moves: Moves,
    old_id: int,
    here_id: int,
    token: Token,
    output: Outputs,
    *,
    label: str | None,
) -> None:
    """Let the token go on from its node, which succeeded: by one way, by several at once, or, with
    no edge to take, to the end of its branch.

    The token is `old_id` as it stands, and `here_id` when it stays here: the condition of an edge
    could not be evaluated and no other may be taken, so nobody knows where it should have gone on,
    and it has failed.
    """
    node = draft.plan.nodes[token.node]
    ways, broken = choose(draft, node, output, succeeded=True, label=label)
    if len(ways) == 1 and ways[0].over is None and not ways[0].given:
        moves.append(Move(old_id, draft.branch, ways[0].target, ways[0].output))  # nearly always
    elif ways:
        go(draft, moves, old_id, node, token.visit, ways)
    elif broken is None:
        end(draft, moves, old_id)
    else:
        draft.move(old_id, here_id, ended(token, output, label))
        fail(draft, moves, here_id, f"no edge from node {node.name!r} could be taken: {broken}")


def go(
    draft: Draft,
    moves: Moves,
    token_id: int,
    node: PlanNode,
    visit: int,
    ways: Sequence[Way],
    *,
    succeeded: bool = True,
) -> None:
    """Let the token go by these ways from `node`, and join at once what has no branch to run."""
    for fan_id in take(draft, moves, token_id, node, visit, ways, succeeded=succeeded):
        look(draft, moves, fan_id)


# --- ends


def end(draft: Draft, moves: Moves, token_id: int) -> None:
    """The token has come to the end of the branch in hand."""
    if draft.branch == MAIN:
        draft.complete()
    else:
        arrive(draft, moves, token_id)


def arrive(draft: Draft, moves: Moves, token_id: int) -> None:
    """The token has come to the join of the branch in hand, or to its end before that."""
    draft.remove(token_id)
    branches, branch_id = draft.branches(), draft.branch
    branch = branches.branch(branch_id)
    assert branch is not None, "the token was in it"
    fan = branches.fan(branch.fan)
    if fan.map is not None:
        value = map_values(branches.overlay(branch_id), fan.map.collect)
        branches.results.setdefault(branch.fan, {})[branch.index] = MapResult(value)
        branches.remove_branch(branch_id)
    else:
        arrived = msgspec.structs.replace(
            branch, status=BranchStatus.ARRIVED, inputs={}, since=None
        )
        branches.set_branch(branch_id, arrived)
    look(draft, moves, branch.fan)


def look(draft: Draft, moves: Moves, fan_id: int) -> None:
    """Begin the next elements of a map; close a fan-out in which no branch is open."""
    branches = draft.branches()
    if draft.over or not branches.is_there(fan_id):
        return
    fan = branches.fan(fan_id)
    if fan.timeout_s == 0:
        text = f"the branches of node {fan.node!r} timed out: they may not run at all"
        _fail_fan(draft, moves, fan_id, text)
        return
    start_items(draft, moves, fan_id)
    if not draft.over and not branches.count_of(fan_id)[1]:
        _close(draft, moves, fan_id)


def _close(draft: Draft, moves: Moves, fan_id: int) -> None:
    """Every branch has arrived or failed: join them, once."""
    branches = draft.branches()
    fan = branches.fan(fan_id)
    there, results = branches.of_fan(fan_id), branches.results_of(fan_id)
    failed = [(one.index, one.error or "") for _, one in there if one.status is BranchStatus.FAILED]
    failed += [(at, one.error) for at, one in sorted(results.items()) if one.error is not None]
    succeeded = len(there) + len(results) - len(failed)
    if failed and (fan.on_failure is not OnBranchFailure.CONTINUE_OTHERS or not succeeded):
        _fail_fan(draft, moves, fan_id, _failures(fan, failed))
        return
    values, why = merged(branches, fan, there, results)
    if why is not None:
        _fail_fan(draft, moves, fan_id, f"the branches of node {fan.node!r} {why}")
        return
    node = draft.plan.nodes.get(fan.node)
    if fan.kind is FanKind.SUBGRAPH:
        keys = () if node is None else node.spec.output_keys
        if keys:
            values = {key: raw for key, raw in values.items() if key in keys}
        fault = None if node is None else output_fault(node, values, ())
        if fault is not None:
            _fail_fan(draft, moves, fan_id, fault)
            return
    _remove(draft, fan_id)
    draft.branch = fan.branch
    draft.write(values)
    if fan.kind is FanKind.SUBGRAPH:
        _after_subgraph(draft, moves, fan, node, values)
        return
    shown = [at for at, _ in failed[:BRANCHES_SHOWN]]
    data = {"visit": fan.visit, "count": len(there) + len(results), "failed": shown}
    draft.event(_JOINED, fan.node, data)
    if fan.join is None:
        end(draft, moves, 0)
    else:
        moves.append(Move(0, fan.branch, fan.join, values))


def _after_subgraph(
    draft: Draft, moves: Moves, fan: Fan, node: PlanNode | None, output: Outputs
) -> None:
    token = Token(node=fan.node, visit=fan.visit, branch=fan.branch)
    here_id = new_id(draft, draft.state.steps + draft.steps + 1)
    if node is None:
        hold_lost(draft, here_id, ended(token, output, None))
        return
    draft.node_completed(node, fan.visit, 1, 0)
    if node.pause:
        pause_after(draft, here_id, ended(token, output, None))
    elif node.terminal:
        end(draft, moves, 0)
    else:
        leave(draft, moves, 0, here_id, token, output, label=None)


def pause_after(draft: Draft, token_id: int, token: Token) -> None:
    """A pause node has ended: the execution stands still, or, while others of its branches run on,
    this branch.
    """
    if token.branch == MAIN:
        draft.tokens[token_id] = token
        draft.pause(token.node, PAUSE_NODE)
    else:
        draft.tokens[token_id] = msgspec.structs.replace(token, phase=Phase.PAUSED)
        draft.notice[Status.PAUSED] = token.node


# --- failures


def hold_lost(draft: Draft, token_id: int, token: Token) -> None:
    """Hold the execution: the graph has not the node at which the token stands."""
    draft.tokens[token_id] = token
    draft.stop(Status.HELD, f"node {token.node!r} is not in graph {draft.plan.graph_id!r}")


def fail(draft: Draft, moves: Moves, token_id: int, error: str) -> None:
    """The token, which stands as it is to be taken up again, has failed for good, and with it its
    branch, or the execution.
    """
    token = draft.tokens[token_id]
    assert token is not None, "it stands"
    if token.branch == MAIN:
        draft.stop(Status.FAILED, error)
    else:
        fail_branch(draft, moves, token.branch, error, only=token_id)


def fail_branch(
    draft: Draft, moves: Moves, branch_id: int, error: str, *, only: int | None = None
) -> None:
    """A branch has failed: what runs in it is stopped; what becomes of its siblings is the choice
    of its fan-out. `only` is the one token in it, where that is known.
    """
    branches = draft.branches()
    branch = branches.branch(branch_id)
    assert branch is not None, "it was open"
    fan, text = branches.fan(branch.fan), bounded_text(error)
    inside = _tokens_within(draft, branches.within(branch_id), only)
    draft.note_unanswered(inside)
    for token_id, token in inside.items():
        draft.close_questions(token_id)
        at_rest = draft.stop_run(token_id, draft.tokens.get(token_id) or token)
        draft.tokens[token_id] = msgspec.structs.replace(at_rest, phase=Phase.FAILED)
    failed = msgspec.structs.replace(branch, status=BranchStatus.FAILED, error=text, since=None)
    branches.set_branch(branch_id, failed)
    if fan.kind is FanKind.SUBGRAPH:
        _fail_fan(draft, moves, branch.fan, text)
        return
    data = {"visit": fan.visit, "branch": branch.index, "error": text}
    draft.event(_BRANCH_FAILED, fan.node, data)
    if fan.on_failure is OnBranchFailure.FAIL_ALL:
        _fail_fan(draft, moves, branch.fan, _failures(fan, [(branch.index, text)]))
        return
    if fan.map is not None and fan.on_failure is OnBranchFailure.CONTINUE_OTHERS:
        branches.results.setdefault(branch.fan, {})[branch.index] = MapResult(error=text)
        for token_id in inside:
            draft.remove(token_id)
        for inner in branches.inner_fans(branch_id):
            branches.remove_fan(inner)
        branches.remove_branch(branch_id)
    look(draft, moves, branch.fan)


def _failures(fan: Fan, failed: Sequence[tuple[int, str]]) -> str:
    """The first failures, as many as there is room for in an error, and how many more there are."""
    text = f"Parallel execution failed at node {fan.node!r}: of its branches, "
    room = ERROR_CHARS_MAX - len(text) - _MORE_CHARS
    shown: list[str] = []
    for at, error in failed:
        one = f"{at}: {error[:_ERROR_CHARS]}"
        room -= len(one) + 2
        if shown and room < 0:
            shown.append(f"and {len(failed) - len(shown)} more")
            break
        shown.append(one)
    return text + "; ".join(shown)


def _fail_fan(draft: Draft, moves: Moves, fan_id: int, error: str) -> None:
    """A fan-out has failed, and with it the branch that it is in, or the execution; but a graph
    within the graph may have a way for its failure.
    """
    branches = draft.branches()
    fan, error = branches.fan(fan_id), bounded_text(error)
    if fan.kind is FanKind.SUBGRAPH:
        node = draft.plan.nodes.get(fan.node)
        draft.branch = fan.branch
        if node is not None:
            draft.failures[fan.node] = draft.failures.get(fan.node, 0) + 1
            data = {"visit": fan.visit, "attempt": 1, "error": error, "will_retry": False}
            draft.event(_NODE_FAILED, fan.node, {**data, "error_type": "SubgraphFailed"})
            output = {"error": msgspec.Raw(encode(error))}
            ways, _ = choose(draft, node, output, succeeded=False, label=None)
            if ways:
                _remove(draft, fan_id)
                go(draft, moves, 0, node, fan.visit, ways, succeeded=False)
                return
        error = bounded_text(f"Node {fan.node!r} failed: {error}")
    if fan.branch == MAIN:
        draft.stop(Status.FAILED, error)
    else:
        fail_branch(draft, moves, fan.branch, error)


def _remove(draft: Draft, fan_id: int) -> None:
    """Take a fan-out away, with all that is in its branches."""
    branches = draft.branches()
    within: set[int] = set()
    for branch_id, _ in branches.of_fan(fan_id):
        within |= branches.within(branch_id)
    for token_id in _tokens_within(draft, within):
        draft.remove(token_id)
    branches.remove_fan(fan_id)


def _tokens_within(draft: Draft, within: set[int], only: int | None = None) -> dict[int, Token]:
    """The tokens in these branches; with `only` it is known that there is no other one."""
    if only is None:
        standing = draft.standing_tokens()
        return {number: one for number, one in standing.items() if one.branch in within}
    token = draft.tokens[only]
    assert token is not None, "it stands"
    return {only: token}
