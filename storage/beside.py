"""What one commit changes of an execution beside its record: decisions, questions, checkpoints,
where a fork is read, and the time at which it comes due.
"""

from greenroom.protocol.commit import Commit, CommitOutcome
from greenroom.protocol.people_errors import ExecutionNotFound
from greenroom.storage import checkpoints, forks, notes, questions, timers
from greenroom.storage.outcomes import refused
from greenroom.storage.tables import Transaction


def needs_record(commit: Commit) -> bool:
    """Say whether the commit holds what only a step changes."""
    parts = (commit.summary, commit.snapshot, commit.notes, commit.questions, commit.timer)
    return any((*parts, commit.fork))


def refusal(txn: Transaction, commit: Commit) -> CommitOutcome | None:
    """Say what becomes of a commit of a record that what lies beside it does not allow; None when
    it does.
    """
    if commit.fork is None or commit.fork.base is not None:
        return None
    why = forks.missing(txn, commit.fork.origin)
    return None if why is None else refused(commit, ExecutionNotFound.code, why)


def put(txn: Transaction, entry: bytes, ordinal: int, commit: Commit) -> None:
    """Store all of it; `entry` is the digest of the execution's entry point."""
    if commit.notes:
        notes.put(txn, ordinal, commit.expected_seq + 1, commit.notes)
    if commit.questions:
        questions.change(txn, ordinal, commit.questions)
    if commit.naming is not None:
        checkpoints.apply(txn, ordinal, commit.naming)
    if commit.fork is not None:
        forks.change(txn, ordinal, commit.fork)
    if commit.timer is not None:
        timers.move(txn, entry, ordinal, commit.timer)
