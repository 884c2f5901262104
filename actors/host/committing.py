"""Commits that the host makes itself, because they belong to no step of a stream."""

from greenroom.actors.host.assembly import Assembly
from greenroom.protocol.commit import Commit, OutcomeKind
from greenroom.protocol.errors import StoreUnavailable
from greenroom.protocol.messages import CommitNow


async def commit_now(assembly: Assembly, commit: Commit) -> bool:
    """Whether it is durable; False when what it names has changed. Raises StoreUnavailable."""
    outcome = await assembly.writer.ask(CommitNow(commit=commit), control=True)
    if outcome.kind is OutcomeKind.UNAVAILABLE:
        raise StoreUnavailable(f"the store cannot write now ({outcome.text}): try again")
    return bool(outcome.kind is OutcomeKind.APPLIED)
