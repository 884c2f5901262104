"""Deleting sessions, from the caller's event loop."""

from functools import partial

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.committing import commit_now
from greenroom.actors.host.pausing import summary_of
from greenroom.actors.host.waiting import wish
from greenroom.actors.stream.commits import deletion_of
from greenroom.protocol.execution import SETTLED, ExecutionState
from greenroom.protocol.session_errors import NotDeletable
from greenroom.protocol.stream_messages import DeleteExecution
from greenroom.storage.reader import Reader


async def delete(assembly: Assembly, session_id: str) -> bool:
    """Whether there was one, and the commit that deleted it is durable.

    The stream that owns the session deletes it, between two of its steps. One whose entry point is
    not registered has no owner, and nobody who could take it up meanwhile.
    """
    found = summary_of(assembly, session_id)
    if found is None:
        return False
    if found.entry_point in assembly.streams.refs:
        message = DeleteExecution(execution_id=session_id)
        deleted = await wish(assembly, found.entry_point, message)
    else:
        deleted = await _delete_orphan(assembly, session_id)
    if deleted:
        return True
    now = summary_of(assembly, session_id)
    if now is None:  # somebody else was first
        return False
    raise NotDeletable(session_id, now.status.value)


async def _delete_orphan(assembly: Assembly, session_id: str) -> bool:
    found = assembly.store.read(partial(_settled, session_id))
    if found is None:
        return False
    return await commit_now(assembly, deletion_of(*found))


def _settled(session_id: str, reader: Reader) -> tuple[int, ExecutionState] | None:
    found = reader.execution(session_id)
    if found is None or found.summary.status not in SETTLED:
        return None
    return found.ordinal, reader.load_state(found.ordinal)
