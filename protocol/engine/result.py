"""What a caller learns of an execution."""

from typing import Any

import msgspec

from greenroom.protocol.execution import ExecutionState, Phase, Status
from greenroom.protocol.values import decode_value


class ExecutionResult(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as it stands; `status` says whether it has ended, and how.

    `success` is true for `completed` only. `output` is the whole memory. `execution_quality` is
    "clean" (succeeded without a failed attempt), "degraded" (succeeded with some) or "failed" (not
    succeeded). `steps_executed` counts visits of nodes, not retries; `retry_details` holds the
    failed attempts of each node, `total_retries` the further attempts that they led to. `paused_at`
    is the node at which a paused execution waits. `total_tokens` counts tokens of language models.
    `session_state` is empty: what resuming needs is in the store, under `execution_id`.
    """

    execution_id: str
    status: Status
    success: bool
    output: dict[str, Any] = {}
    error: str | None = None
    steps_executed: int = 0
    total_tokens: int = 0
    total_latency_ms: int = 0
    path: list[str] = []
    paused_at: str | None = None
    session_state: dict[str, Any] = {}
    total_retries: int = 0
    nodes_with_failures: list[str] = []
    retry_details: dict[str, int] = {}
    had_partial_failures: bool = False
    execution_quality: str = "failed"
    node_visit_counts: dict[str, int] = {}

    @property
    def is_clean_success(self) -> bool:
        """Whether it succeeded without a failed attempt."""
        return self.success and self.execution_quality == "clean"

    @property
    def is_degraded_success(self) -> bool:
        """Whether it succeeded after failed attempts."""
        return self.success and self.execution_quality == "degraded"


def result_of(state: ExecutionState) -> ExecutionResult:
    """Return the result of an execution as its state stands, with values of its own: the state may
    go on changing.
    """
    success = state.status is Status.COMPLETED
    quality = "failed"
    if success:
        quality = "degraded" if state.retry_details else "clean"
    paused_at = None
    if state.status is Status.PAUSED:
        paused_at = _paused_at(state)
    return ExecutionResult(
        execution_id=state.accepted.execution_id,
        status=state.status,
        success=success,
        output={key: decode_value(raw) for key, raw in state.memory.items()},
        error=state.error,
        steps_executed=state.steps,
        total_latency_ms=state.latency_ms,
        path=list(state.path),
        paused_at=paused_at,
        total_retries=state.retries,
        nodes_with_failures=list(state.retry_details),
        retry_details=dict(state.retry_details),
        had_partial_failures=bool(state.retry_details),
        execution_quality=quality,
        node_visit_counts=dict(state.visits),
    )


def _paused_at(state: ExecutionState) -> str | None:
    """The first node at which a paused execution stands, those first that only a resume lets go on:
    others of its branches may wait for people, or for a time, too.
    """
    asked = {one.token for one in state.questions.values()}
    tokens = [
        (token_id, token)
        for token_id, token in state.tokens.items()
        if token.phase is not Phase.FAILED
    ]
    passed = (
        token.node
        for token_id, token in tokens
        if token.ended is not None and token.due is None and token_id not in asked
    )
    return next(passed, None) or next((token.node for _, token in tokens), None)
