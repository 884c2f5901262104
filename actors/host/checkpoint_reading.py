"""Reading checkpoints: for the facade, and for the command line beside a running process."""

import msgspec

from greenroom.actors.host.waiting import may_be_execution
from greenroom.protocol.checkpoints import (
    Checkpoint,
    CheckpointKey,
    CheckpointType,
    LoadedCheckpoint,
    checkpoint_of,
    loaded_checkpoint,
)
from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.limits import LIST_PAGE_MAX
from greenroom.protocol.people_errors import ExecutionNotFound
from greenroom.protocol.settings import check_integer, member
from greenroom.storage.reader import Reader, StoredExecution


class CheckpointQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request for some checkpoints of a session. Made by `checkpoint_query`."""

    session_id: str
    kind: CheckpointType | None
    limit: int
    before: str | None


def checkpoint_query(
    session_id: str, checkpoint_type: CheckpointType | str | None, limit: int, before: str | None
) -> CheckpointQuery:
    """Check the arguments of a listing. Raises InvalidConfig, InvalidInput."""
    check_integer("limit", limit, 1, LIST_PAGE_MAX)
    if before is not None:
        key_of("before", before)
    return CheckpointQuery(
        session_id=session_id, kind=_type_of(checkpoint_type), limit=limit, before=before
    )


def checkpoints_in(query: CheckpointQuery, reader: Reader) -> list[Checkpoint]:
    """Read some checkpoints, newest first. Raises ExecutionNotFound."""
    session = session_at(query.session_id, reader)
    before = CheckpointKey.parse(query.before)
    found = reader.checkpoints(session.ordinal, query.kind, before, query.limit)
    return [checkpoint_of(query.session_id, one) for one in found]


def loaded_in(
    session_id: str, checkpoint_id: str | None, reader: Reader
) -> LoadedCheckpoint | None:
    """Read one checkpoint, the newest without an id, with the state that it names; None when there
    is none. Raises ExecutionNotFound, StoreCorrupt.
    """
    session = session_at(session_id, reader)
    if checkpoint_id is None:
        newest = reader.checkpoints(session.ordinal, limit=1)
        stored = newest[0] if newest else None
    else:
        key = CheckpointKey.parse(checkpoint_id)
        stored = None if key is None else reader.checkpoint(session.ordinal, key)
    if stored is None:
        return None
    return loaded_checkpoint(stored, reader.load_state(session.ordinal, stored.seq))


def session_at(session_id: str, reader: Reader) -> StoredExecution:
    """Return where a session stands. Raises ExecutionNotFound."""
    found = reader.execution(session_id) if may_be_execution(session_id) else None
    if found is None:
        raise ExecutionNotFound(f"there is no execution {session_id!a:.140} in the store")
    return found


def key_of(name: str, checkpoint_id: object) -> CheckpointKey:
    """Return what a checkpoint's id says. Raises InvalidInput when it is none."""
    key = CheckpointKey.parse(checkpoint_id)
    if key is None:
        raise InvalidInput(f"{name} is {checkpoint_id!a:.140}: give the id of a checkpoint")
    return key


def _type_of(value: CheckpointType | str | None) -> CheckpointType | None:
    return None if value is None else member("checkpoint_type", value, CheckpointType)
