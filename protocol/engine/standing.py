"""How an execution with several tokens stands, and how long its branches have run."""

from collections.abc import Collection, Mapping

import msgspec

from greenroom.protocol.branches import MAIN
from greenroom.protocol.engine.branch_draft import BranchDraft
from greenroom.protocol.execution import Phase, Status, Token
from greenroom.protocol.limits import BACKOFF_HELD_S_MAX

_WAITING = frozenset({Phase.BACKOFF, Phase.SLEEPING, Phase.ASKING})


def standing(tokens: Collection[Token], now: float) -> Status:
    """Return the status that the tokens of an execution give it that has not ended.

    It runs while a node does. Otherwise who is ready queues for the permit, which a backoff of less
    than a second keeps. A pause is not broken by what else comes due, so it goes before waiting.
    """
    phases = {token.phase for token in tokens}
    if Phase.RUNNING in phases:
        return Status.RUNNING
    if Phase.READY in phases:
        return Status.QUEUED
    if any(_is_active(token, now) for token in tokens):
        return Status.RUNNING
    return Status.PAUSED if Phase.PAUSED in phases else Status.WAITING


def _is_active(token: Token, now: float) -> bool:
    if token.phase is Phase.RUNNING:
        return True
    due = token.due
    return token.phase is Phase.BACKOFF and due is not None and due - now < BACKOFF_HELD_S_MAX


def wakes_at(tokens: Collection[Token]) -> float | None:
    """Return when the first of those that wait goes on by itself, None for never."""
    times = [
        token.due
        for token in tokens
        if token.phase in _WAITING and token.phase is not Phase.ASKING and token.due is not None
    ]
    return min(times, default=None)


def keep_time(
    branches: BranchDraft, tokens: Mapping[int, Token], now: float, *, unobserved: bool
) -> None:
    """Bring the time that branches have run up to date, for those in which something began to run
    or came to rest.

    `tokens` are all that there are now. With `unobserved` what passed since the last step does not
    count.
    """
    running = _with_running(branches, tokens, now)
    for branch_id, branch in branches.all().items():
        if branches.fan(branch.fan).timeout_s is None:
            continue
        runs = branch_id in running and branches.is_open(branch_id)
        since = branch.since
        if runs == (since is not None) and not (unobserved and runs):
            continue
        used_s = branch.used_s
        if since is not None and not unobserved:
            used_s += max(0.0, now - since)
        branches.branches[branch_id] = msgspec.structs.replace(
            branch, used_s=used_s, since=now if runs else None
        )


def _with_running(branches: BranchDraft, tokens: Mapping[int, Token], now: float) -> set[int]:
    """The branches in which, or in whose own branches, something runs."""
    found: set[int] = set()
    for token in tokens.values():
        if token.branch == MAIN or token.branch in found or not _is_active(token, now):
            continue
        for one in branches.outer(token.branch):
            if one in found:
                break
            found.add(one)
    return found
