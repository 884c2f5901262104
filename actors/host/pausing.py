"""Pausing and resuming executions, from the caller's event loop."""

from collections.abc import Mapping
from typing import Any

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.triggering import encode_input
from greenroom.actors.host.waiting import may_be_execution, wish
from greenroom.protocol.budget import Budget, check_budget
from greenroom.protocol.commit import Summary
from greenroom.protocol.errors import EntryPointNotFound
from greenroom.protocol.people_errors import ExecutionNotFound, NotResumable
from greenroom.protocol.stream_messages import PauseExecution, ResumeExecution
from greenroom.protocol.values import encode_value


async def pause(assembly: Assembly, execution_id: str, reason: str) -> bool:
    """Whether the pause is committed. Raises StreamUnavailable, RuntimeStopped."""
    found = summary_of(assembly, execution_id)
    if found is None or found.entry_point not in assembly.streams.refs:
        return False
    encode_value(reason, "reason")
    message = PauseExecution(execution_id=execution_id, reason=reason)
    return await wish(assembly, found.entry_point, message)


async def resume(
    assembly: Assembly,
    execution_id: str,
    input_data: Mapping[str, Any] | None,
    budget: Budget | None,
) -> None:
    """Returns once it is committed.

    Raises ExecutionNotFound, EntryPointNotFound, NotResumable, InvalidValue, StreamUnavailable,
    RuntimeStopped.
    """
    memory = encode_input(input_data)
    check_budget(budget)
    found = summary_of(assembly, execution_id)
    if found is None:
        raise ExecutionNotFound(f"there is no execution {execution_id!a:.140} in the store")
    if found.entry_point not in assembly.streams.refs:
        raise EntryPointNotFound(
            f"Entry point {found.entry_point!r} not found: execution {execution_id} cannot go on"
        )
    message = ResumeExecution(execution_id=execution_id, memory=memory, budget=budget)
    if not await wish(assembly, found.entry_point, message):
        now = summary_of(assembly, execution_id)
        if now is None:  # it was deleted meanwhile
            raise ExecutionNotFound(f"there is no execution {execution_id} in the store any more")
        raise NotResumable(execution_id, now.status.value, now.error or "")


def summary_of(assembly: Assembly, execution_id: str) -> Summary | None:
    """What the store shows of an execution, None when it has none of that id."""
    if not may_be_execution(execution_id):
        return None
    found = assembly.store.read(lambda reader: reader.execution(execution_id))
    return None if found is None else found.summary
