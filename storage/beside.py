"""What one commit changes of an execution beside its record: decisions, questions, checkpoints,
and the time at which it comes due.
"""

from greenroom.protocol.commit import Commit
from greenroom.storage import checkpoints, notes, questions, timers
from greenroom.storage.tables import Transaction


def needs_record(commit: Commit) -> bool:
    """Say whether the commit holds what only a step changes."""
    return any((commit.summary, commit.snapshot, commit.notes, commit.questions, commit.timer))


def put(txn: Transaction, entry: bytes, ordinal: int, commit: Commit) -> None:
    """Store all of it; `entry` is the digest of the execution's entry point."""
    if commit.notes:
        notes.put(txn, ordinal, commit.expected_seq + 1, commit.notes)
    if commit.questions:
        questions.change(txn, ordinal, commit.questions)
    if commit.naming is not None:
        checkpoints.apply(txn, ordinal, commit.naming)
    if commit.timer is not None:
        timers.move(txn, entry, ordinal, commit.timer)
