"""Waiting for the end of an execution, on the caller's event loop."""

import asyncio
from typing import Any

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.triggering import execution_of
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.engine.result import ExecutionResult
from greenroom.protocol.errors import ActorStopped, RuntimeStopped, StreamUnavailable
from greenroom.protocol.messages import CancelExecution, Trigger


async def run_to_end(
    assembly: Assembly, entry_point_id: str, trigger: Trigger, timeout: float | None
) -> ExecutionResult | None:
    """Submit the trigger and wait for the end; None when `timeout` seconds pass first.

    Without a timeout the acceptance wakes nobody: only a refusal does, in place of the result.
    """
    board = assembly.board
    waiter = board.wait_for(trigger.execution_id)
    try:
        if timeout is None:
            assembly.streams.submissions[entry_point_id].submit_quietly(trigger, waiter)
            found: ExecutionResult | CommitOutcome | None = await waiter
        else:
            found = await assembly.submit(entry_point_id, trigger)
            if execution_of(found, trigger) == (trigger.execution_id, False):
                found = await within(waiter, timeout)
    finally:
        board.drop_waiter(trigger.execution_id, waiter)
    if isinstance(found, CommitOutcome):
        first, _ = execution_of(found, trigger)
        return await await_end(assembly, first, timeout)
    return found


async def await_end(
    assembly: Assembly, execution_id: str, timeout: float | None
) -> ExecutionResult | None:
    """The result once the execution has ended or is held; None when unknown, or not in time."""
    board = assembly.board
    waiter = board.wait_for(execution_id)
    try:
        if waiter.done():  # the runtime has stopped, and its store may be closed
            return await waiter
        result = board.look(execution_id)
        if result is not None or not assembly.knows(execution_id):
            return result
        found: ExecutionResult | None = await within(waiter, timeout)
        return found
    finally:
        board.drop_waiter(execution_id, waiter)


async def cancel(assembly: Assembly, entry_point_id: str, execution_id: str, reason: str) -> bool:
    """Whether the cancellation is committed. Raises StreamUnavailable, RuntimeStopped."""
    message = CancelExecution(execution_id=execution_id, reason=reason)
    try:
        return bool(await assembly.streams.refs[entry_point_id].ask(message))
    except ActorStopped as error:
        if assembly.board.closed:
            raise RuntimeStopped(execution_id) from error
        raise StreamUnavailable(f"entry point {entry_point_id!r} is down") from error


async def within(waiter: "asyncio.Future[Any]", timeout: float | None) -> Any:
    """The waiter's outcome; None when `timeout` seconds pass first."""
    if timeout is None:
        return await waiter
    done, _ = await asyncio.wait([waiter], timeout=timeout)
    return waiter.result() if done else None
