"""Going back: what Rewind does to an execution. The journal is only added to, so the way back is
one more step, which holds what differs between where the execution stands and where it stood.

Memory, visits, path and position become what they were. What was used up stays used up: steps and
retries; what was done outside cannot be undone, so effects and their keys are new ones. People are
asked anew what they were being asked then.
"""

from itertools import takewhile
from typing import Final

import msgspec

from greenroom.protocol.branches import MAIN, Branching, BranchingPatch, resting
from greenroom.protocol.engine.draft import Draft, parked
from greenroom.protocol.engine.fanning import reopen
from greenroom.protocol.engine.opening import ask_again
from greenroom.protocol.engine.pausing import take_up
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Rewind
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.execution import (
    SETTLED,
    ExecutionState,
    Status,
    Token,
    asked_again,
)
from greenroom.protocol.patch import Cause, Patch, Rewound

_IDS: Final = 2**32
"""Ids below are numbers of steps; each multiple of it is that of one way back, on the main line."""


def rewind(plan: Plan, state: ExecutionState, tick: Rewind, now: float) -> Transition | None:
    """Take a settled execution back to `tick.target`, an earlier state of it, and let it go on from
    there with `tick.memory` over the memory of that time.

    None for what goes on by itself, for a position that nothing follows, and while the graph has
    not the node at which it stood then. Each token gets an id that none ever had, so that the late
    end of an earlier run can never pass for that of a new one.
    """
    target = tick.target
    if state.status not in SETTLED or not target.tokens:
        return None
    if any(token.node not in plan.nodes for token in target.tokens.values()):
        return None
    branching = _branching(state, target)
    ids = _new_ids(state, target, branching)
    there = msgspec.structs.replace(
        state,
        tokens={ids[one]: at_rest(token) for one, token in target.tokens.items()},
        effects={},
        memory=target.memory,
        visits=target.visits,
        path=target.path,
        violated=target.violated,
        rewinds=state.rewinds + 1,
        branching=branching,
    )
    draft = Draft(plan, there, now)
    draft.active_from_zero = True
    if tick.budget is not None:
        draft.budget = tick.budget
    draft.close_questions()
    again = asked_again(target)
    ask_again(draft, [(ids[token_id], tick.asked[number]) for number, token_id in again])
    if target.status is Status.FAILED:
        reopen(draft)
    data = {"was": state.status.value, "from_seq": target.seq}
    take_up(draft, tick.memory, data, forgiven=True)
    made = draft.finish(Cause(tick="rewind"))
    return msgspec.structs.replace(made, patch=_way_back(state, there, made.patch))


def _new_ids(
    state: ExecutionState, target: ExecutionState, branching: Branching | None
) -> dict[int, int]:
    """Return the new id of each token; what branches count by goes on counting."""
    ids = {}
    for token_id, token in target.tokens.items():
        if token.branch == MAIN:
            ids[token_id] = (state.rewinds + 1) * _IDS
        else:
            assert branching is not None, "the token is in a branch"
            branching.newest += 1
            ids[token_id] = -branching.newest
    return ids


def _branching(state: ExecutionState, target: ExecutionState) -> Branching | None:
    """What branched there; the numbers that were given since are not given again."""
    if target.branching is None:
        return state.branching and Branching(newest=state.branching.newest)
    there = resting(target.branching)
    if state.branching is not None:
        there.newest = max(there.newest, state.branching.newest)
    return there


def at_rest(token: Token) -> Token:
    """As it would be paused: a sleep goes on, a backoff does not."""
    due = token.due if token.ended else None
    return msgspec.structs.replace(parked(token), due=due, unanswered=())


def _way_back(state: ExecutionState, there: ExecutionState, made: Patch) -> Patch:
    """Return `made`, the changes that follow `there`, with the changes that lead there."""
    kept = _common(state.path, there.path)
    tokens = {
        one: token for one, token in (there.tokens | made.tokens).items() if token is not None
    }
    branching = made.branching
    if there.branching is not None and (there.branching.fans or state.branching is not None):
        changes = branching or BranchingPatch()
        branching = msgspec.structs.replace(changes, whole=there.branching)
    restored = {
        key: raw
        for key, raw in there.memory.items()
        if key not in state.memory or bytes(state.memory[key]) != bytes(raw)
    }
    memory = restored | made.memory
    return msgspec.structs.replace(
        made,
        tokens=dict.fromkeys(state.tokens) | tokens,
        forget=tuple(key for key in state.memory if key not in there.memory and key not in memory),
        memory=memory,
        visits={
            node: count for node, count in there.visits.items() if state.visits.get(node) != count
        }
        | made.visits,
        branching=branching,
        violated=there.violated if there.violated != state.violated else None,
        rewound=Rewound(
            kept=kept,
            path=tuple(there.path[kept:]),
            unvisited=tuple(node for node in state.visits if node not in there.visits),
        ),
    )


def _common(path: list[str], other: list[str]) -> int:
    pairs = zip(path, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
