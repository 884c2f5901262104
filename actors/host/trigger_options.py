"""The options that every way of triggering takes, written down once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from greenroom.protocol.budget import Budget


class TriggerOptions(TypedDict, total=False):
    """What a caller may say about an execution beside its input.

    With `idempotency_key` a repeat within the entry point's window answers the first id. One
    `priority` is worth a minute of waiting in the queue. `execution_id` is the caller's own id for
    it; repeating a trigger with the same one answers that id. Of the executions of one entry point
    with one `concurrency_key` one runs at a time, in the order of acceptance: the next begins when
    the one before has ended. One that waits, is paused or held has not. `budget` is how much it may
    use; None takes the entry point's.

    `execution_timeout` is how many seconds it may run: time in which it is queued, waits or is
    paused does not count, and 0 ends it at once; None takes the entry point's `timeout_s`.
    `deadline`, with a time zone, is when it ends in any case. Both end it as `timed_out`.
    """

    idempotency_key: str | None
    priority: int
    execution_id: str | None
    concurrency_key: str | None
    execution_timeout: float | None
    deadline: datetime | None
    budget: Budget | None


class TriggerItem:
    """One of the triggers of `trigger_many`: its input, and the options of `trigger` for it."""

    __slots__ = ("correlation_id", "input_data", "options")

    def __init__(
        self,
        input_data: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        **options: Unpack[TriggerOptions],
    ) -> None:
        self.input_data = input_data
        self.correlation_id = correlation_id
        self.options = options
