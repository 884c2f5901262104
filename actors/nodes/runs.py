"""One run of one node: what it is asked with, and how its end is told."""

import asyncio
import logging
from typing import Any, Protocol

import msgspec

from greenroom.actors.kernel.future import Future
from greenroom.actors.nodes.asking import refuse_answered
from greenroom.actors.nodes.buffer import StepBuffer
from greenroom.actors.nodes.functions import (
    NodePlan,
    encode_outputs,
    error_text,
    error_types,
    may_be_retried,
)
from greenroom.actors.nodes.pool import PoolCall
from greenroom.protocol.effects import EffectRecord
from greenroom.protocol.isolation import IsolationLevel
from greenroom.protocol.stream_messages import NodeResult
from greenroom.protocol.turns import Holder

logger = logging.getLogger("greenroom.node")


class ControlRef(Protocol):
    """Where a stream's results go; an ActorRef."""

    def tell(self, message: Any, *, control: bool = ...) -> None:
        """Send without waiting."""
        ...

    def ask(self, message: Any, *, control: bool = ...) -> Future[Any]:
        """Send, and return the future of the answer."""
        ...


class StreamBinding:
    """One instance of a stream, as the runner knows it. Results carry its incarnation."""

    __slots__ = ("incarnation", "isolation", "ref", "results", "stream_id")

    def __init__(
        self, *, ref: ControlRef, stream_id: str, incarnation: int, isolation: IsolationLevel | str
    ) -> None:
        self.ref = ref
        self.stream_id = stream_id
        self.incarnation = incarnation
        self.isolation = IsolationLevel(isolation)
        self.results: list[NodeResult] = []  # not delivered yet; on the nodes' loop only


class NodeRun(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One run of one node. `memory` is the run's own shallow copy of execution memory, `effects`
    of what its visit has on record.
    """

    execution_id: str
    token_id: int
    node: str
    visit: int
    attempt: int
    memory: dict[str, msgspec.Raw]
    correlation_id: str
    holds_turns: bool = False
    hops: int = 0
    effects: dict[str, EffectRecord] | None = None  # of earlier runs of this visit
    asked: int = 0  # questions of the execution so far
    rewinds: int = 0  # how often the execution was taken back
    known_as: str | None = None  # the visit that it began as, before a migration

    @property
    def holder(self) -> Holder:
        """Whose the turns are that it may hold."""
        return self.execution_id, self.token_id


class Running:
    """A node run that has not ended. Changed only on the nodes' loop.

    `success` and `failure` make its result; they run where the function ended.
    """

    __slots__ = ("began", "binding", "buffer", "call", "over", "plan", "run", "task")

    def __init__(self, binding: StreamBinding, run: NodeRun, plan: NodePlan, began: float) -> None:
        self.binding = binding
        self.run = run
        self.plan = plan
        self.began = began  # monotonic seconds
        self.buffer: StepBuffer | None = None
        self.task: asyncio.Task[Any] | None = None
        self.call: PoolCall | None = None
        self.over = False  # ended or cancelled: nothing more is reported

    def success(self, value: object, now: float) -> NodeResult:
        """Return the result of a function that returned `value`, with all that it buffered.

        A returned error is a failure, as if it had been raised. Raises as `encode_outputs`,
        InvalidInput when it answered what it asked.
        """
        if isinstance(value, Exception):
            return self.failure(value, now)
        run, buffer = self.run, self.buffer
        outputs, route = encode_outputs(self.plan, value)
        if buffer:
            outputs = {**buffer.outputs(), **outputs}
            refuse_answered(buffer.questions, outputs)
        return NodeResult(
            execution_id=run.execution_id,
            token_id=run.token_id,
            visit=run.visit,
            attempt=run.attempt,
            latency_ms=int((now - self.began) * 1000),
            outputs=outputs,
            route=route,
            sleep_until=buffer.sleep_until if buffer else None,
            reads=buffer.reads() if buffer else (),
            writes=buffer.writes() if buffer else (),
            updates=buffer.updates() if buffer else (),
            events=tuple(buffer.events) if buffer else (),
            notes=buffer.notes.told() if buffer else (),
            questions=tuple(buffer.questions) if buffer else (),
        )

    def failure(self, error: BaseException, now: float) -> NodeResult:
        """Return the result of a run that failed; what it buffered is dropped."""
        return failure_of(self.run, error, int((now - self.began) * 1000))


def failure_of(run: NodeRun, error: BaseException, latency_ms: int = 0) -> NodeResult:
    """Return the result of a run that failed, or could not even start; its traceback is logged."""
    logger.warning(
        "node %s of %s failed, attempt %d", run.node, run.execution_id, run.attempt, exc_info=error
    )
    return NodeResult(
        execution_id=run.execution_id,
        token_id=run.token_id,
        visit=run.visit,
        attempt=run.attempt,
        latency_ms=latency_ms,
        error=error_text(error),
        error_types=error_types(error),
        retryable=may_be_retried(error),
    )
