"""Many acceptances in one commit: all of them or none, whatever becomes of the group around them.

A group that fails is replayed one commit at a time. What must not be torn apart is therefore one
commit for the group, and whole in itself: every part is checked before the first one is put.
"""

from collections.abc import Callable

from msgspec.structs import replace

from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind
from greenroom.protocol.errors import CommitRefused
from greenroom.storage.outcomes import refused

Examine = Callable[[Commit], CommitOutcome | None]
Put = Callable[[Commit], CommitOutcome]


def accept_all(commit: Commit, examine: Examine, put: Put) -> CommitOutcome:
    """Accept every part that is new. A repeat keeps nobody back; one that is refused refuses all.

    `examine` says what becomes of a part without a put, None when it is to be put.
    """
    text = _malformed(commit)
    if text is not None:
        return refused(commit, CommitRefused.code, text)
    found = [examine(part) for part in commit.accepts]
    for outcome in found:
        if outcome is not None and outcome.kind is OutcomeKind.REFUSED:
            return replace(outcome, commit_id=commit.commit_id)
    parts = tuple(
        put(part) if outcome is None else outcome
        for part, outcome in zip(commit.accepts, found, strict=True)
    )
    return CommitOutcome(commit_id=commit.commit_id, kind=OutcomeKind.APPLIED, parts=parts)


def _malformed(commit: Commit) -> str | None:
    """Why the parts cannot be checked apart from each other, and put together."""
    if replace(commit, accepts=()) != Commit(
        commit_id=commit.commit_id, stream=commit.stream, incarnation=commit.incarnation
    ):
        return "a commit of many acceptances holds nothing else"
    ids: set[str] = set()
    claims: set[tuple[str, str]] = set()
    for part in commit.accepts:
        keys = {(claim.namespace, claim.key) for claim in part.idempotency}
        if part.record is None or part.ordinal or part.cursor or part.reads or part.accepts:
            return "a part of a commit of many is no acceptance"
        if (part.stream, part.incarnation) != (commit.stream, commit.incarnation):
            return "the parts of a commit are of one incarnation of one stream"
        if part.execution_id in ids or claims & keys:
            return f"execution {part.execution_id}, or its key, is twice in one commit"
        ids.add(part.execution_id)
        claims |= keys
    return None
