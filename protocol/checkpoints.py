"""Checkpoints: names for positions in a session's journal. What a name leads to is in the journal
itself, so making one costs the same however long the session is.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from greenroom.protocol.execution import ExecutionState, Status
from greenroom.protocol.timers import moment
from greenroom.protocol.values import decode_value


class CheckpointType(StrEnum):
    """Why a position has a name. Ids sort by position, then in this order."""

    MANUAL = "manual"
    NODE_COMPLETE = "node_complete"
    NODE_START = "node_start"
    PAUSE = "pause"


class CheckpointKey(NamedTuple):
    """What a checkpoint's id says. Ids of a session sort as these do: in the order of its steps."""

    seq: int
    kind: CheckpointType
    number: int  # among those of its type at its position

    def __str__(self) -> str:
        return f"cp_{self.seq:010d}_{self.kind.value}_{self.number:04d}"

    @classmethod
    def parse(cls, text: object) -> "CheckpointKey | None":
        """Return what an id says, None when it is none."""
        found = _ID.fullmatch(text) if isinstance(text, str) else None
        if found is None or int(found[1]) > SEQ_MAX:
            return None
        return cls(int(found[1]), CheckpointType(found[2]), int(found[3]))


_ID: Final = re.compile(rf"cp_([0-9]{{10}})_({'|'.join(CheckpointType)})_([0-9]{{4}})")
NUMBER_MAX: Final = 9_999
SEQ_MAX: Final = 2**32 - 1


class NewCheckpoint(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A name to be stored. `step` is how many nodes the session had visited; 0 for a manual one,
    which does not leave with the visits of nodes.
    """

    seq: int
    kind: CheckpointType
    number: int
    node: str
    at: float  # wall UTC seconds
    step: int = 0
    description: str = ""

    @property
    def key(self) -> CheckpointKey:
        """What its id says."""
        return CheckpointKey(self.seq, self.kind, self.number)


class Pruning(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Names that are to leave: made before `older_than`, or by themselves before visit
    `before_step`.
    """

    older_than: float  # wall UTC seconds
    before_step: int = 0


class Naming(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What one commit changes about the checkpoints of its execution. `forget` holds ids."""

    names: tuple[NewCheckpoint, ...] = ()
    forget: tuple[str, ...] = ()
    prune: Pruning | None = None


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A named position: the session as its step `seq` left it.

    `current_node` is the node that started, was done, or at which the session stood.
    `created_at` is aware, UTC.
    """

    checkpoint_id: str
    checkpoint_type: CheckpointType
    session_id: str
    seq: int
    current_node: str
    created_at: datetime
    description: str


class LoadedCheckpoint(Checkpoint, frozen=True, kw_only=True):
    """A checkpoint with the state that it names. `next_nodes` is where `resume` would go on;
    `is_clean`: until then no attempt of a node had failed.
    """

    status: Status
    is_clean: bool
    next_nodes: list[str]
    execution_path: list[str]
    shared_memory: dict[str, Any]
    node_visit_counts: dict[str, int]
    steps_executed: int
    run: int


def checkpoint_of(session_id: str, stored: NewCheckpoint) -> Checkpoint:
    """Return what a listing shows of a name."""
    return Checkpoint(**_shown(session_id, stored))


def loaded_checkpoint(stored: NewCheckpoint, state: ExecutionState) -> LoadedCheckpoint:
    """Return a checkpoint with the state at its position, with values of its own."""
    return LoadedCheckpoint(
        **_shown(state.accepted.execution_id, stored),
        status=state.status,
        is_clean=not state.retry_details,
        next_nodes=[token.node for token in state.tokens.values()],
        execution_path=list(state.path),
        shared_memory={key: decode_value(raw) for key, raw in state.memory.items()},
        node_visit_counts=dict(state.visits),
        steps_executed=state.steps,
        run=state.run,
    )


def _shown(session_id: str, stored: NewCheckpoint) -> dict[str, Any]:
    return {
        "checkpoint_id": str(stored.key),
        "checkpoint_type": stored.kind,
        "session_id": session_id,
        "seq": stored.seq,
        "current_node": stored.node,
        "created_at": moment(stored.at),
        "description": stored.description,
    }
