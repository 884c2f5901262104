"""From a caller's arguments to a Trigger message, and from its outcome to a result or an error."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any, Final

from msgspec import Raw
from uuid_utils import uuid4

from greenroom.protocol.budget import Budget, check_budget
from greenroom.protocol.commit import CommitOutcome, OutcomeKind
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import (
    CommitRefused,
    GreenroomError,
    IdempotencyConflict,
    InvalidValue,
    PoisonMessage,
    StoreCorrupt,
    StoreUnavailable,
    ValueTooLarge,
)
from greenroom.protocol.ids import new_execution_id, validate_id
from greenroom.protocol.limits import INPUT_BYTES_MAX, PRIORITY_MAX, TIMEOUT_S_MAX
from greenroom.protocol.people_errors import ExecutionNotFound
from greenroom.protocol.settings import check_integer, check_number
from greenroom.protocol.stream_messages import Trigger
from greenroom.protocol.timers import utc_seconds
from greenroom.protocol.values import encode_value, payload_digest

KEY_CHARS_MAX: Final = 256
_SUFFIXES: Final = 2**32  # eight hex digits


def encode_input(input_data: Mapping[str, Any] | None) -> dict[str, Raw]:
    """The input as an execution's first memory, each value encoded once.

    Raises InvalidValue with the path of what cannot be stored, ValueTooLarge when all of it is
    over the limit.
    """
    if input_data is None:
        return {}
    if not isinstance(input_data, Mapping):
        raise InvalidValue("$", f"input_data is a {type(input_data).__name__}: pass a dict")
    memory: dict[str, Raw] = {}
    size = 0
    for key, value in input_data.items():
        if not isinstance(key, str) or not key:
            raise InvalidValue(f"$[{key!a:.60}]", "keys of the input must be non-empty str")
        path = f"$.{key}" if key.isidentifier() else f"$[{key!a:.60}]"
        raw = encode_value(value, path)
        size += len(raw) + len(encode_value(key, path))
        memory[key] = Raw(raw)
    if size > INPUT_BYTES_MAX:
        raise ValueTooLarge("$", size, INPUT_BYTES_MAX)
    return memory


def digest_of(memory: Mapping[str, Raw]) -> bytes:
    """Equal inputs have equal digests, whatever the order of their keys."""
    parts = []
    for key in sorted(memory):
        name, raw = key.encode(), bytes(memory[key])
        parts += [len(name).to_bytes(4, "big"), name, len(raw).to_bytes(4, "big"), raw]
    return payload_digest(b"".join(parts))


@cache
def _suffixes(process: int) -> Iterator[int]:
    """Counts on from a random number; a forked process begins anew, its parent goes on."""
    return count(uuid4().int % _SUFFIXES)


def fresh_execution_id(now: float) -> str:
    """A new external id: the second it is made in, and a number that comes once in a process.

    Ids that follow each other are neighbours in the store, so a group of them changes few pages.
    """
    suffix = next(_suffixes(os.getpid())) % _SUFFIXES
    return new_execution_id(datetime.fromtimestamp(now, UTC), f"{suffix:08x}")


def build_trigger(
    spec: EntryPointSpec,
    input_data: Mapping[str, Any] | None,
    now: float,
    *,
    correlation_id: str | None = None,
    idempotency_key: str | None = None,
    priority: int = 0,
    execution_id: str | None = None,
    concurrency_key: str | None = None,
    execution_timeout: float | None = None,
    deadline: datetime | None = None,
    budget: Budget | None = None,
) -> Trigger:
    """The checked message; its `request` is given when it is sent.

    Raises InvalidId, InvalidValue, InvalidConfig, InvalidInput.
    """
    memory = encode_input(input_data)
    if execution_id is None:
        execution_id = fresh_execution_id(now)
    else:
        validate_id("execution", execution_id)
    if correlation_id is not None:
        validate_id("correlation", correlation_id)
    check_integer("priority", priority, -PRIORITY_MAX, PRIORITY_MAX)
    if execution_timeout is not None:
        check_number("execution_timeout", execution_timeout, 0, TIMEOUT_S_MAX)
    check_budget(budget)
    keyed = idempotency_key is not None
    if keyed:
        _check_key("idempotency_key", idempotency_key)
    if concurrency_key is not None:
        _check_key("concurrency_key", concurrency_key)
    return Trigger(
        request=0,
        execution_id=execution_id,
        memory=memory,
        correlation_id=correlation_id,
        idempotency_namespace=f"trigger:{spec.id}" if keyed else "",
        idempotency_key=idempotency_key,
        idempotency_window_s=spec.idempotency_window_s,
        digest=digest_of(memory) if keyed else b"",
        priority=priority,
        concurrency_key=concurrency_key or "",
        timeout_s=execution_timeout,
        deadline=None if deadline is None else utc_seconds("deadline", deadline),
        budget=budget,
    )


def _check_key(name: str, value: object) -> None:
    if not (isinstance(value, str) and 0 < len(value) <= KEY_CHARS_MAX):
        raise InvalidValue(name, f"must be a str of 1 to {KEY_CHARS_MAX} characters")
    encode_value(value, name)  # refuses what has no bytes


def execution_of(outcome: CommitOutcome, trigger: Trigger) -> tuple[str, bool]:
    """(execution id, is a repeat) of an accepted trigger; raises what a refused one means."""
    match outcome.kind:
        case OutcomeKind.APPLIED:
            return trigger.execution_id, False
        case OutcomeKind.DUPLICATE:
            return outcome.duplicate_of or trigger.execution_id, True
        case OutcomeKind.UNAVAILABLE:
            raise StoreUnavailable(
                f"the store cannot write now ({outcome.text}); nothing was accepted: try again"
            )
        case _:
            raise _refusal(outcome, trigger.idempotency_key)


def _refusal(outcome: CommitOutcome, key: str | None) -> GreenroomError:
    if outcome.code == IdempotencyConflict.code:
        return IdempotencyConflict(key or "", outcome.duplicate_of)
    if outcome.code == ExecutionNotFound.code:
        return ExecutionNotFound(outcome.text)
    if outcome.code == StoreCorrupt.code:
        return StoreCorrupt(outcome.text)
    if outcome.code == PoisonMessage.code:
        return PoisonMessage(outcome.text)
    if outcome.code in (InvalidValue.code, ValueTooLarge.code):
        return InvalidValue("$", outcome.text)
    return CommitRefused(f"{outcome.code}: {outcome.text}")
