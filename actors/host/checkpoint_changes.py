"""Making and removing checkpoints, from the caller's event loop."""

from functools import partial
from itertools import islice
from typing import Final

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.checkpoint_reading import session_at
from greenroom.actors.host.committing import commit_now
from greenroom.protocol.checkpoints import (
    NUMBER_MAX,
    Checkpoint,
    CheckpointKey,
    CheckpointType,
    Naming,
    NewCheckpoint,
    Pruning,
    checkpoint_of,
)
from greenroom.protocol.commit import Commit
from greenroom.protocol.errors import InvalidValue, VersionConflict
from greenroom.protocol.limits import CHECKPOINT_DESCRIPTION_CHARS_MAX
from greenroom.protocol.values import encode_value
from greenroom.storage import checkpoints
from greenroom.storage.reader import Reader, StoredExecution

_TRIES: Final = 16
"""Whoever names the same position at the same moment takes the next number."""

_PAGE: Final = 1_000
_LOOKED_BACK: Final = 32


async def create(assembly: Assembly, session_id: str, description: str, now: float) -> Checkpoint:
    """Name where the session stands. Raises ExecutionNotFound, InvalidValue, StoreUnavailable."""
    if not isinstance(description, str) or len(description) > CHECKPOINT_DESCRIPTION_CHARS_MAX:
        limit = CHECKPOINT_DESCRIPTION_CHARS_MAX
        raise InvalidValue("description", f"must be a str of up to {limit} characters")
    encode_value(description, "description")  # refuses what has no bytes
    for _ in range(_TRIES):
        ordinal, name = assembly.store.read(partial(_next_name, session_id, description, now))
        if await _commit(assembly, session_id, ordinal, Naming(names=(name,))):
            return checkpoint_of(session_id, name)
    raise VersionConflict(f"session {session_id}: the names of its position are contended")


async def delete(assembly: Assembly, session_id: str, key: CheckpointKey | None) -> bool:
    """Whether there was one. Raises ExecutionNotFound, StoreUnavailable."""
    session = assembly.store.read(partial(session_at, session_id))
    if key is None:
        return False
    if assembly.store.read(lambda reader: reader.checkpoint(session.ordinal, key)) is None:
        return False
    return await _commit(assembly, session_id, session.ordinal, Naming(forget=(str(key),)))


async def prune(assembly: Assembly, session_id: str, rule: Pruning) -> int:
    """How many left. Raises ExecutionNotFound, StoreUnavailable."""
    pruned = 0
    while True:
        ordinal, keys = assembly.store.read(partial(_prunable, session_id, rule))
        if not keys or not await _commit(
            assembly, session_id, ordinal, Naming(forget=tuple(map(str, keys)))
        ):
            return pruned
        pruned += len(keys)


def _next_name(
    session_id: str, description: str, now: float, reader: Reader
) -> tuple[int, NewCheckpoint]:
    session = session_at(session_id, reader)
    kind = CheckpointType.MANUAL
    held = reader.checkpoints(session.ordinal, kind, limit=1)
    number = held[0].number + 1 if held and held[0].seq == session.seq else 0
    if number > NUMBER_MAX:
        raise InvalidValue("session_id", f"its position has {NUMBER_MAX + 1} names already")
    return session.ordinal, NewCheckpoint(
        seq=session.seq,
        kind=kind,
        number=number,
        node=_node_at(session, reader),
        at=now,
        description=description,
    )


def _node_at(session: StoredExecution, reader: Reader) -> str:
    """The node at which the session stands, or which was its last one, from its latest records:
    the whole state grows with the path.
    """
    records = reader.journal(session.ordinal, max(0, session.seq - _LOOKED_BACK), _LOOKED_BACK)
    for record in reversed(records):
        moved = [token.node for token in record.patch.tokens.values() if token is not None]
        if moved or record.patch.tokens:
            return moved[0] if moved else record.cause.node or ""
    return ""


def _prunable(session_id: str, rule: Pruning, reader: Reader) -> tuple[int, list[CheckpointKey]]:
    ordinal = session_at(session_id, reader).ordinal
    found = checkpoints.prunable(reader.transaction, ordinal, rule)
    return ordinal, list(islice(found, _PAGE))


async def _commit(assembly: Assembly, session_id: str, ordinal: int, naming: Naming) -> bool:
    """False when the session is gone, or the name was taken meanwhile."""
    commit = Commit(
        commit_id=0,
        stream="",
        incarnation=0,
        execution_id=session_id,
        ordinal=ordinal,
        naming=naming,
    )
    return await commit_now(assembly, commit)
