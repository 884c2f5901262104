"""How an execution with several tokens stands, and how long its branches have run."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from greenroom.protocol.engine.branch_draft import BranchDraft
from greenroom.protocol.execution import Phase, Status, Token
from greenroom.protocol.limits import BACKOFF_HELD_S_MAX

_TIMED = frozenset({Phase.BACKOFF, Phase.SLEEPING})


def standing(tokens: Iterable[Token], now: float, *, permit: bool) -> Status:
    """Return the status that the tokens of an execution give it that has not ended.

    It runs while a node does; the first that runs tells, so begin with those that are likely to.
    Otherwise who is ready queues for the permit. A backoff of less than a second keeps one but does
    not get one: `permit` says whether the execution has it. A pause is not broken by what else
    comes due, so it goes before waiting.
    """
    phases: set[Phase] = set()
    active = False
    for token in tokens:
        if token.phase is Phase.RUNNING:
            return Status.RUNNING
        phases.add(token.phase)
        active = active or _is_active(token, now)
    if Phase.READY in phases:
        return Status.QUEUED
    if active and permit:
        return Status.RUNNING
    return Status.PAUSED if Phase.PAUSED in phases else Status.WAITING


def _is_active(token: Token, now: float) -> bool:
    if token.phase is Phase.RUNNING:
        return True
    due = token.due
    return token.phase is Phase.BACKOFF and due is not None and due - now < BACKOFF_HELD_S_MAX


def wakes_at(tokens: Collection[Token]) -> float | None:
    """Return when the first of those that wait goes on by itself, None for never."""
    times = [token.due for token in tokens if token.phase in _TIMED and token.due is not None]
    return min(times, default=None)


def keep_time(
    branches: BranchDraft,
    before: Mapping[int, Token],
    changed: Mapping[int, Token | None],
    now: float,
    *,
    rests: bool,
    unobserved: bool,
) -> None:
    """Bring the time that branches have run up to date, for those in which something began to run
    or came to rest.

    `before` are the tokens as they were, `changed` is what became of some: only their branches, and
    those around them, are looked at. With `unobserved` all are, and what passed since the last step
    does not count. With `rests` the execution runs no more: a backoff that goes on takes no time.
    """
    looked_at = {**before, **changed} if unobserved else changed
    running = set() if rests else _with_running(branches, looked_at.values(), now)
    touched = set(branches.all()) if unobserved or rests else _touched(branches, before, changed)
    for branch_id in sorted(touched):
        branch = branches.branch(branch_id)
        if branch is None or branches.fan(branch.fan).timeout_s is None:
            continue
        since = branch.since
        runs = branch_id in running
        if not runs and since is not None and not unobserved and not rests:
            runs = _others_run(branches, before, changed, branch_id, now)
        runs = runs and branches.is_open(branch_id)
        if runs == (since is not None) and not (unobserved and runs):
            continue
        used_s = branch.used_s
        if since is not None and not unobserved:
            used_s += max(0.0, now - since)
        timed = msgspec.structs.replace(branch, used_s=used_s, since=now if runs else None)
        branches.set_branch(branch_id, timed)


def _touched(
    branches: BranchDraft, before: Mapping[int, Token], changed: Mapping[int, Token | None]
) -> set[int]:
    """The branches in which something changed, and those that they are in, or were."""
    direct = set(branches.branches)
    for token_id, token in changed.items():
        direct.update(one.branch for one in (before.get(token_id), token) if one is not None)
    found: set[int] = set()
    for branch_id in direct:
        for one in branches.outer_of_gone(branch_id):
            if one in found:
                break
            found.add(one)
    return found


def _others_run(
    branches: BranchDraft,
    before: Mapping[int, Token],
    changed: Mapping[int, Token | None],
    branch_id: int,
    now: float,
) -> bool:
    """Whether in a branch something runs that did not change. Only in branches within it can that
    be: it has one token itself.
    """
    if not branches.inner_fans(branch_id):
        return False
    within = branches.within(branch_id)
    return any(
        token.branch in within and _is_active(token, now)
        for token_id, token in before.items()
        if token_id not in changed
    )


def _with_running(branches: BranchDraft, tokens: Iterable[Token | None], now: float) -> set[int]:
    """The branches in which, or in whose own branches, one of these tokens runs."""
    found: set[int] = set()
    for token in tokens:
        if token is None or token.branch in found or not _is_active(token, now):
            continue
        for one in branches.outer(token.branch):
            if one in found:
                break
            found.add(one)
    return found
