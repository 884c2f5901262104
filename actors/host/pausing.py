"""Pausing and resuming executions, from the caller's event loop."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.checkpoint_reading import loaded_in, session_at
from greenroom.actors.host.triggering import encode_input
from greenroom.actors.host.waiting import check_reason, may_be_execution, wish
from greenroom.actors.stream.versions import unfit_at
from greenroom.protocol.budget import Budget, check_budget
from greenroom.protocol.commit import Summary
from greenroom.protocol.errors import EntryPointNotFound, NodeNotFound
from greenroom.protocol.people_errors import ExecutionNotFound, NotResumable
from greenroom.protocol.session_errors import CheckpointNotFound
from greenroom.protocol.stream_messages import PauseExecution, ResumeExecution
from greenroom.protocol.version_errors import GraphChanged
from greenroom.storage.reader import Reader


async def pause(assembly: Assembly, execution_id: str, reason: str) -> bool:
    """Whether the pause is committed. Raises StreamUnavailable, RuntimeStopped."""
    found = summary_of(assembly, execution_id)
    if found is None or found.entry_point not in assembly.streams.refs:
        return False
    check_reason(reason)
    message = PauseExecution(execution_id=execution_id, reason=reason)
    return await wish(assembly, found.entry_point, message)


async def resume(
    assembly: Assembly,
    execution_id: str,
    input_data: Mapping[str, Any] | None,
    budget: Budget | None,
    from_checkpoint: str | None = None,
) -> None:
    """Returns once it is committed.

    Raises ExecutionNotFound, EntryPointNotFound, CheckpointNotFound, NodeNotFound, NotResumable,
    GraphChanged, InvalidValue, StreamUnavailable, RuntimeStopped.
    """
    memory = encode_input(input_data)
    check_budget(budget)
    entry_point = served_by(assembly, execution_id)
    seq = 0 if from_checkpoint is None else _position(assembly, execution_id, from_checkpoint)
    message = ResumeExecution(execution_id=execution_id, memory=memory, budget=budget, seq=seq)
    if not await wish(assembly, entry_point, message):
        now = summary_of(assembly, execution_id)
        if now is None:  # it was deleted meanwhile
            raise ExecutionNotFound(f"there is no execution {execution_id} in the store any more")
        if from_checkpoint is not None:  # so may the checkpoint, and what it led to
            _position(assembly, execution_id, from_checkpoint)
        raise NotResumable(execution_id, now.status.value, now.error or "")


def _position(assembly: Assembly, execution_id: str, checkpoint_id: str) -> int:
    """The record that a checkpoint names, when an execution can go on from there."""
    found = assembly.store.read(partial(loaded_in, execution_id, checkpoint_id))
    if found is None:
        raise CheckpointNotFound(execution_id, checkpoint_id)
    gone = [node for node in found.next_nodes if node not in assembly.plan.nodes]
    if gone:
        raise NodeNotFound(
            f"checkpoint {checkpoint_id} of execution {execution_id} stands at node {gone[0]!r}, "
            f"which graph {assembly.plan.graph_id!r} has not: put the node back, or go on from "
            "another checkpoint"
        )
    reasons = assembly.store.read(partial(_unfit_at, assembly, execution_id, found.seq))
    if reasons:
        raise GraphChanged(execution_id, reasons)
    if not found.next_nodes:
        why = f"nothing follows checkpoint {checkpoint_id}"
        raise NotResumable(execution_id, found.status.value, why)
    return found.seq


def _unfit_at(assembly: Assembly, execution_id: str, seq: int, reader: Reader) -> tuple[str, ...]:
    found = session_at(execution_id, reader)
    return unfit_at(reader, found.ordinal, seq, assembly.plan, assembly.knows_function)


def served_by(assembly: Assembly, execution_id: str) -> str:
    """The entry point of an execution. Raises ExecutionNotFound, EntryPointNotFound."""
    found = summary_of(assembly, execution_id)
    if found is None:
        raise ExecutionNotFound(f"there is no execution {execution_id!a:.140} in the store")
    check_served(assembly, found.entry_point, execution_id)
    return found.entry_point


def check_served(assembly: Assembly, entry_point: str, execution_id: str) -> None:
    """Raises EntryPointNotFound when nothing serves the entry point of an execution."""
    if entry_point not in assembly.streams.refs:
        raise EntryPointNotFound(
            f"Entry point {entry_point!r} not found: execution {execution_id} cannot go on"
        )


def summary_of(assembly: Assembly, execution_id: str) -> Summary | None:
    """What the store shows of an execution, None when it has none of that id."""
    if not may_be_execution(execution_id):
        return None
    found = assembly.store.read(lambda reader: reader.execution(execution_id))
    return None if found is None else found.summary
