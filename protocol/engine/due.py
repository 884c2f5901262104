"""When something comes due of an execution: one time for each, and the rule of when it has come.

While an execution is RUNNING it is in memory, and so is its timer. In every other status the time
is kept in the store, in the index of what comes due, so that a hundred thousand who wait cost
nothing and no restart forgets one.
"""

from typing import Final

import msgspec

from greenroom.protocol.execution import TERMINAL, ExecutionState, Phase, Status, Token
from greenroom.protocol.patch import Patch, apply
from greenroom.protocol.timers import TimerMove, microseconds

_KEEP_SLEEP: Final = frozenset({Phase.READY, Phase.ASKING, Phase.PAUSED, Phase.FAILED})
_EXPIRING: Final = frozenset({Status.WAITING, Status.RUNNING, Status.QUEUED})


def due_at(state: ExecutionState) -> float | None:
    """Return when the first thing comes due of an execution (wall UTC seconds), None for never."""
    if state.status in TERMINAL:
        return None
    first = state.accepted.deadline
    if state.active_at is not None:
        first = _earlier(first, _out_of_time_at(state))
        first = _earlier(first, budget_ends_at(state))
    for token in state.tokens.values():
        if token.due is not None:
            first = _earlier(first, token_due(token))
    if state.branching is not None and state.status is Status.RUNNING:
        first = _earlier(first, state.branching.index.first_end())
    if state.questions and state.status in _EXPIRING:
        for question in state.questions.values():
            first = _earlier(first, question.deadline)
    return first


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def token_due(token: Token) -> float | None:
    """Return when something comes due of a token; one at rest, or whose questions are open, keeps
    the rest of its sleep for later.
    """
    return None if token.phase in _KEEP_SLEEP else token.due


def overdue(state: ExecutionState, now: float) -> str | None:
    """Say which time of the whole execution has run out, None when none has."""
    accepted = state.accepted
    if accepted.deadline is not None and is_due(accepted.deadline, now):
        return "Execution timed out: its deadline has passed"
    out_of_time_at = _out_of_time_at(state)
    if out_of_time_at is not None and is_due(out_of_time_at, now):
        return f"Execution timed out: it has run for its {accepted.timeout_s:g} s"
    return None


def _out_of_time_at(state: ExecutionState) -> float | None:
    """When the execution will have run as long as it may, if it runs."""
    timeout_s = state.accepted.timeout_s
    if timeout_s is None or state.active_at is None:
        return None
    return state.active_at + max(0.0, timeout_s - state.active_s)


def budget_ends_at(state: ExecutionState) -> float | None:
    """When the execution will have used up the time of its budget, if it runs."""
    budget = state.budget
    if budget is None or budget.wall_s is None or state.active_at is None:
        return None
    return state.active_at + max(0.0, budget.wall_s - state.wall_s)


def is_due(due: float, now: float) -> bool:
    """Say whether `due` has come, to the microsecond: as the index of what comes due sees it."""
    return microseconds(due) <= microseconds(now)


def stored_due(state: ExecutionState) -> float | None:
    """Return the time that the store's index holds for an execution, None when it is not there."""
    return None if state.status is Status.RUNNING else due_at(state)


def timer_move(state: ExecutionState | None, patch: Patch) -> TimerMove | None:
    """Return how `patch` changes the store's index, None when it does not. `state` is only read;
    one without a record is what a fork begins with.
    """
    before = None if state is None or not state.seq else stored_due(state)
    after = None if _is_out_after(state, patch) else stored_due(_outline(state, patch))
    return None if before == after else TimerMove(before, after)


def _is_out_after(state: ExecutionState | None, patch: Patch) -> bool:
    """Say whether the status after `patch` alone keeps the execution out of the store's index."""
    status = patch.status
    if status is None and state is not None:
        status = state.status
    return status is Status.RUNNING or status in TERMINAL


def _outline(state: ExecutionState | None, patch: Patch) -> ExecutionState:
    """The state after `patch`, without what grows and no due time depends on."""
    if state is None:
        return apply(None, patch, 1)
    outline = msgspec.structs.replace(
        state,
        tokens=state.tokens.copy(),
        effects={},
        memory={},
        visits={},
        path=[],
        retry_details={},
        questions=state.questions.copy(),
        inbox={},
        branching=None,
    )
    return apply(outline, patch, state.seq + 1)
