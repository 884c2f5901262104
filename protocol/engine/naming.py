"""Which names a step gets: what its events say of starts, ends and pauses, under the policy."""

from typing import Final

import msgspec

from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.checkpoints import CheckpointType, Naming, NewCheckpoint, Pruning
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.execution import ExecutionState

_DAY_S: Final = 24 * 3600.0
_COMPLETED: Final = EventType.NODE_COMPLETED.value
_STARTED: Final = EventType.NODE_STARTED.value
_PAUSED: Final = EventType.EXECUTION_PAUSED.value


class _Attempt(msgspec.Struct, frozen=True, gc=False):
    attempt: int


_decode_attempt: Final = msgspec.msgpack.Decoder(_Attempt).decode


def names_of(
    config: CheckpointConfig | None,
    state: ExecutionState | None,
    transition: Transition,
    now: float,
) -> Naming | None:
    """Return the names that the step gets, and those that leave with it; None without any."""
    if config is None or not config.enabled:
        return None
    before = 0 if state is None else state.steps
    step = before + transition.patch.steps
    counts = dict.fromkeys(CheckpointType, 0)
    names = []
    for event in transition.events:
        kind = _kind(config, event)
        if kind is None:
            continue
        names.append(
            NewCheckpoint(
                seq=1 if state is None else state.seq + 1,
                kind=kind,
                number=counts[kind],
                node=event.node or "",
                at=now,
                step=step,
            )
        )
        counts[kind] += 1
    prune = _pruning(config, before, step, now)
    return Naming(names=tuple(names), prune=prune) if names or prune else None


def _kind(config: CheckpointConfig, event: EventBody) -> CheckpointType | None:
    match event.type:
        case t if t == _COMPLETED and config.checkpoint_on_node_complete:
            return CheckpointType.NODE_COMPLETE
        case t if t == _STARTED and config.checkpoint_on_node_start:
            assert event.data is not None, "the engine says which attempt starts"
            first = _decode_attempt(event.data).attempt == 1
            return CheckpointType.NODE_START if first else None
        case t if t == _PAUSED:
            return CheckpointType.PAUSE
        case _:
            return None


def _pruning(config: CheckpointConfig, before: int, step: int, now: float) -> Pruning | None:
    every, keep = config.prune_every_n_nodes, config.keep_last_n_nodes
    if not every or step // every == before // every:
        return None
    return Pruning(
        older_than=now - config.max_age_days * _DAY_S,
        before_step=0 if keep is None else max(0, step - keep + 1),
    )
