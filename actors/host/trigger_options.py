"""The options that every way of triggering takes, written down once."""

from typing import TypedDict


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
