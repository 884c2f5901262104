"""Ways that fan out: what is to enter nodes next, and the branches that begin.

Nothing here enters a node. What is to enter one is a `Move`, added to a queue that walk.py works
off, so that no graph, however it turns in circles, nests calls.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from greenroom.protocol.branches import MAIN, Branch, BranchStatus, Fan, FanKind, FanMap
from greenroom.protocol.codec import encode
from greenroom.protocol.engine.branch_draft import BranchDraft
from greenroom.protocol.engine.draft import Draft, parked
from greenroom.protocol.engine.plan import PlanNode
from greenroom.protocol.engine.routing import Outputs, Way, items_in
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Ended, Phase, Status, Token
from greenroom.protocol.limits import ID_CHARS_MAX, TOKENS_MAX

BRANCHES_SHOWN: Final = 20  # that an event or an error names

_PASSED_EACH: Final = 10  # nodes that each element may pass before they count

_STARTED: Final = EventType.PARALLEL_STARTED.value


class Move(NamedTuple):
    """Something is to enter a node: the token of that id, or, for 0, a new one."""

    token_id: int
    branch: int
    node: str
    output: Outputs
    succeeded: bool = True


Moves = deque[Move]


def ended(token: Token, output: Iterable[str], route: str | None) -> Token:
    """Return the token of a node that is done, and where it goes on is still to be decided.

    `output` names the keys that are the node's output.
    """
    return msgspec.structs.replace(token, ended=Ended(outputs=tuple(output), route=route))


def new_id(draft: Draft, step: int) -> int:
    """Return the id of a token that enters a node with the execution's `step`-th step, in the
    branch in hand.

    No two visits of an execution share one, so that the late end of an earlier node run can never
    pass for that of another.
    """
    return step if draft.branch == MAIN else -draft.branches().number()


def take(
    draft: Draft,
    moves: Moves,
    token_id: int,
    node: PlanNode,
    visit: int,
    ways: Sequence[Way],
    *,
    succeeded: bool = True,
) -> list[int]:
    """Let the token go by these ways from `node`; return the fan-outs that may be over already."""
    if len(ways) == 1:
        way = ways[0]
        if way.over is None:
            if way.given:
                draft.write(way.given)
            moves.append(Move(token_id, draft.branch, way.target, way.output, succeeded))
            return []
        draft.remove(token_id)
        return [_fan_over(draft, moves, draft.branch, node, visit, way)]
    draft.remove(token_id)
    branches = draft.branches()
    fan_id, parallel = branches.number(), node.parallel
    fan = branches.fans[fan_id] = Fan(
        node=node.id,
        branch=draft.branch,
        join=node.join,
        visit=visit,
        on_failure=parallel.failure,
        on_conflict=parallel.conflict,
        timeout_s=parallel.branch_timeout_seconds,
    )
    draft.event(
        _STARTED,
        node.id,
        {
            "visit": visit,
            "count": len(ways),
            "branches": [_shown(way.target) for way in ways[:BRANCHES_SHOWN]],
            "join": node.join,
        },
    )
    begun = [fan_id]
    for index, way in enumerate(ways):
        number = branches.number()
        branches.set_branch(number, Branch(fan=fan_id, index=index, inputs=dict(way.given)))
        if way.over is not None and fan.timeout_s != 0:
            begun.append(_fan_over(draft, moves, number, node, visit, way))
        else:
            _begin(draft, moves, fan, number, way.target, way.output)
    return begun


def _shown(node: str) -> str:
    """Return as much of a node's id as an event of many holds: that of one deep in graphs within
    graphs is long, and its end tells more.
    """
    return node if len(node) <= ID_CHARS_MAX else "..." + node[3 - ID_CHARS_MAX :]


def _begin(
    draft: Draft, moves: Moves, fan: Fan, branch_id: int, target: str, output: Outputs
) -> None:
    """Send a new branch to its first node; one that may not run at all stays before it."""
    if fan.timeout_s != 0:
        moves.append(Move(0, branch_id, target, output))
        return
    token_id = -draft.branches().number()
    draft.tokens[token_id] = Token(node=target, branch=branch_id)


def _fan_over(
    draft: Draft, moves: Moves, branch_id: int, node: PlanNode, visit: int, way: Way
) -> int:
    """Fan out over the list of a way; return the number of that fan-out."""
    edge, items = way.over, way.items
    assert edge is not None, "a map has an edge"
    assert edge.map is not None, "and says how"
    assert items is not None, "and a list"
    branches, parallel, spec = draft.branches(), node.parallel, edge.map
    fan_id, total = branches.number(), items_in(items) or 0
    branches.fans[fan_id] = Fan(
        node=node.id,
        kind=FanKind.MAP,
        branch=branch_id,
        join=edge.until,
        visit=visit,
        on_failure=parallel.failure,
        on_conflict=parallel.conflict,
        timeout_s=parallel.branch_timeout_seconds,
        map=FanMap(
            items=items,
            total=total,
            target=way.target,
            concurrency=spec.concurrency,
            item=spec.item,
            into=spec.into,
            index=spec.index,
            collect=spec.collect,
            inputs=dict(way.given),
        ),
    )
    data = {"visit": visit, "count": total, "branches": [_shown(way.target)], "join": edge.until}
    draft.event(_STARTED, node.id, data)
    start_items(draft, moves, fan_id)
    return fan_id


def start_items(draft: Draft, moves: Moves, fan_id: int) -> None:
    """Begin as many elements of a map as may run at a time."""
    branches = draft.branches()
    fan = branches.fan(fan_id)
    spec = fan.map
    if spec is None:
        return
    there, opened = branches.count_of(fan_id)
    if opened < min(there, spec.concurrency) and not draft.over:
        opened += _take_up_elements(draft, fan_id, spec.concurrency - opened)
    started = there + branches.count_results(fan_id)
    count = min(spec.concurrency - opened, spec.total - started)
    if count <= 0:
        return
    if draft.over:
        count = 1  # that waits before its node until somebody goes on
    elif count > 1 and len(draft.standing_tokens()) + len(moves) + count > TOKENS_MAX:
        text = f"more than {TOKENS_MAX} branches are under way: let maps run fewer at a time"
        draft.stop(Status.FAILED, text)
        if opened:
            return
        count = 1  # that stays before its node: without one nobody would look at the map again
    items = branches.items(fan_id)
    # A list has an end: only what one element passes may be a circle.
    draft.passed = min(draft.passed, -_PASSED_EACH * count)
    for index in range(started, started + count):
        inputs = {spec.item: items[index]}
        if spec.index is not None:
            inputs[spec.index] = msgspec.Raw(encode(index))
        number = branches.number()
        branches.set_branch(number, Branch(fan=fan_id, index=index, inputs=inputs))
        _begin(draft, moves, fan, number, spec.target, {**spec.inputs, **inputs})


def _take_up_elements(draft: Draft, fan_id: int, free: int) -> int:
    """Let up to `free` failed elements of a map go on that wait to; return how many do."""
    branches = draft.branches()
    waiting = [number for number, one in branches.of_fan(fan_id) if one.again][:free]
    for number in waiting:
        reopen(draft, number)
    return len(waiting)


def reopen(draft: Draft, within: int = MAIN) -> None:
    """Let branches that failed go on, all or those in one: somebody takes the failed execution up
    again. Of a map no more go on at a time than may; the others follow as these end.

    Their tokens are at rest where they were; a branch whose ways had come to their ends stays away.
    """
    branches = draft.parallel
    if branches is None:
        return
    for token_id, token in draft.standing_tokens().items():
        if token.phase is not Phase.FAILED:
            continue
        path = [*branches.outer(token.branch)]
        if within != MAIN and within not in path:
            continue
        if all(_opens(branches, one, token) for one in reversed(path)):
            at_rest = msgspec.structs.replace(token, phase=Phase.READY)
            draft.tokens[token_id] = parked(at_rest)


def _opens(branches: BranchDraft, branch_id: int, token: Token) -> bool:
    """Open a branch for a token in it, if it had failed; False when it has to wait for others.

    What is asked of people is asked again at once: a token that only waits takes nobody's place.
    """
    branch = branches.branch(branch_id)
    if branch is None or branch.status is not BranchStatus.FAILED:
        return True
    spec = branches.fan(branch.fan).map
    full = spec is not None and branches.count_of(branch.fan)[1] >= spec.concurrency
    if full and not token.unanswered:
        branches.set_branch(branch_id, msgspec.structs.replace(branch, again=True))
        return False
    opened = msgspec.structs.replace(
        branch, status=BranchStatus.OPEN, error=None, used_s=0.0, again=False
    )
    branches.set_branch(branch_id, opened)
    return True


def enter_subgraph(
    draft: Draft, moves: Moves, token_id: int, node: PlanNode, visit: int, output: Outputs
) -> int:
    """Begin a graph within the graph, with what its node declares as input; `output` is that of the
    node before. Returns the number of that fan-out.
    """
    assert node.inside is not None, "it is one"
    draft.remove(token_id)
    keys = node.spec.input_keys
    seen = {**draft.all_memory(), **output}
    inputs = {key: seen[key] for key in keys if key in seen} if keys else seen
    branches = draft.branches()
    fan_id, branch_id = branches.number(), branches.number()
    fan = branches.fans[fan_id] = Fan(
        node=node.id,
        kind=FanKind.SUBGRAPH,
        branch=draft.branch,
        visit=visit,
        timeout_s=None if node.spec.timeout_s is None else float(node.spec.timeout_s),
    )
    branches.set_branch(branch_id, Branch(fan=fan_id, inputs=inputs))
    _begin(draft, moves, fan, branch_id, node.inside, inputs)
    return fan_id
