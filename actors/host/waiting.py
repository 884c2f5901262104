"""Waiting for the end of an execution, on the caller's event loop."""

import asyncio
from typing import Any

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.triggering import execution_of
from greenroom.actors.stream.wishes import Wish
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.engine.result import ExecutionResult, result_of
from greenroom.protocol.errors import (
    ActorStopped,
    InvalidId,
    InvalidInput,
    InvalidValue,
    RuntimeStopped,
    StreamUnavailable,
)
from greenroom.protocol.ids import validate_id
from greenroom.protocol.stream_messages import CancelExecution, Trigger
from greenroom.protocol.values import encode_value


async def run_to_end(
    assembly: Assembly, entry_point_id: str, trigger: Trigger, timeout: float | None
) -> ExecutionResult | None:
    """Submit the trigger and wait for the end; None when `timeout` seconds pass first.

    Without a timeout the acceptance wakes nobody: only a refusal does, in place of the result.
    """
    check_timeout(timeout)
    board = assembly.board
    waiter = board.wait_for(trigger.execution_id)
    try:
        if timeout is None:
            await assembly.streams.submissions[entry_point_id].submit_quietly(trigger, waiter)
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
    """The result once the execution ended, is held or paused; None when unknown or not in time."""
    check_timeout(timeout)
    if not may_be_execution(execution_id):
        return None
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
    if entry_point_id not in assembly.streams.refs or not may_be_execution(execution_id):
        return False
    check_reason(reason)
    message = CancelExecution(execution_id=execution_id, reason=reason)
    return await wish(assembly, entry_point_id, message)


def check_reason(reason: object) -> None:
    """Raises InvalidValue for what is no text that can be stored."""
    if not isinstance(reason, str):
        raise InvalidValue("reason", "must be a str")
    encode_value(reason, "reason")


async def wish(assembly: Assembly, entry_point_id: str, message: Wish) -> bool:
    """Whether what is wished is committed. Raises StreamUnavailable, RuntimeStopped."""
    try:
        return bool(await assembly.streams.refs[entry_point_id].ask(message))
    except ActorStopped as error:
        if assembly.board.closed:
            raise RuntimeStopped(message.execution_id) from error
        raise StreamUnavailable(f"entry point {entry_point_id!r} is down") from error


def ended_result(
    assembly: Assembly, entry_point_id: str, execution_id: str
) -> ExecutionResult | None:
    """The result of an execution of that entry point that has ended or is held. Any thread."""
    if not may_be_execution(execution_id):
        return None
    state = assembly.ended_state(execution_id)
    if state is None or state.accepted.entry_point != entry_point_id:
        return None
    return result_of(state)


def may_be_execution(execution_id: object) -> bool:
    """False for a text that no execution can have as its id. Raises InvalidId for what is none."""
    try:
        validate_id("execution", execution_id)
    except InvalidId:
        if not isinstance(execution_id, str):
            raise
        return False
    return True


def check_timeout(timeout: object) -> None:
    """Before anything is accepted. Raises InvalidInput unless it is None, or seconds from 0 on."""
    if timeout is None:
        return
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not timeout >= 0:  # type: ignore[operator]  # NaN is not >= 0
        raise InvalidInput(f"timeout is {timeout!a:.40}: give None, or seconds from 0 on")


async def within(waiter: "asyncio.Future[Any]", timeout: float | None) -> Any:
    """The waiter's outcome; None when `timeout` seconds pass first."""
    if timeout is None:
        return await waiter
    done, _ = await asyncio.wait([waiter], timeout=timeout)
    return waiter.result() if done else None
