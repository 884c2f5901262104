"""The writer's answers to a commit."""

from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind
from greenroom.protocol.errors import StoreUnavailable


def applied(commit: Commit, ordinal: int) -> CommitOutcome:
    """The commit was stored by an earlier submission, as this execution's."""
    return CommitOutcome(
        commit_id=commit.commit_id,
        kind=OutcomeKind.APPLIED,
        execution_id=commit.execution_id,
        ordinal=ordinal,
    )


def duplicate(commit: Commit, first: str, ordinal: int) -> CommitOutcome:
    """Execution `first`, whose number is `ordinal` unless it was dropped, stands for this one."""
    return CommitOutcome(
        commit_id=commit.commit_id,
        kind=OutcomeKind.DUPLICATE,
        execution_id=commit.execution_id,
        ordinal=ordinal,
        duplicate_of=first,
    )


def refused(commit: Commit, code: str, text: str) -> CommitOutcome:
    """The commit can never be applied."""
    return CommitOutcome(
        commit_id=commit.commit_id,
        kind=OutcomeKind.REFUSED,
        execution_id=commit.execution_id,
        ordinal=commit.ordinal,
        code=code,
        text=text,
    )


def unavailable(commit: Commit, text: str) -> CommitOutcome:
    """Nothing can be stored now."""
    return CommitOutcome(
        commit_id=commit.commit_id,
        kind=OutcomeKind.UNAVAILABLE,
        execution_id=commit.execution_id,
        ordinal=commit.ordinal,
        code=StoreUnavailable.code,
        text=text,
    )
