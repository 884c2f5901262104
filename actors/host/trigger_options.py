"""The options that every way of triggering takes, written down once."""

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack


class TriggerOptions(TypedDict, total=False):
    """What a caller may say about an execution beside its input.

    With `idempotency_key` a repeat within the entry point's window answers the first id. One
    `priority` is worth a minute of waiting in the queue. `execution_id` is the caller's own id for
    it; repeating a trigger with the same one answers that id. Of the executions of one entry point
    with one `concurrency_key` one runs at a time, in the order of acceptance: the next begins when
    the one before has ended. One that waits, is paused or held has not.
    """

    idempotency_key: str | None
    priority: int
    execution_id: str | None
    concurrency_key: str | None


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
