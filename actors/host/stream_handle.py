"""What a host holds of a stream: its numbers, its actor, and the executions it serves."""

from typing import TYPE_CHECKING, Any

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.stream.parts import StreamParts
from greenroom.protocol.engine.result import ExecutionResult
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.stream_messages import StreamMessage

if TYPE_CHECKING:
    from greenroom.actors.host.runtime import AgentRuntime


class StreamHandle:
    """One entry point's stream, for hosts. Any thread; every getter answers from a snapshot."""

    def __init__(
        self, runtime: "AgentRuntime", parts: StreamParts, ref: ActorRef[StreamMessage]
    ) -> None:
        self._runtime = runtime
        self._parts = parts
        self._ref = ref

    @property
    def stream_id(self) -> str:
        """The stream's id, which is its entry point's."""
        return self._parts.entry_point.id

    @property
    def entry_point(self) -> EntryPointSpec:
        """The entry point that it serves."""
        return self._parts.entry_point

    @property
    def ref(self) -> ActorRef[StreamMessage]:
        """The actor; `ref.kill()` crashes the running instance, and its supervisor restarts it."""
        return self._ref

    @property
    def is_running(self) -> bool:
        """False when the stream is down for good, or the runtime has stopped."""
        return self._ref.is_alive()

    def get_active_count(self) -> int:
        """How many executions hold a permit to run."""
        return self._parts.stats.running

    async def wait_for_completion(
        self, execution_id: str, timeout: float | None = None
    ) -> ExecutionResult | None:
        """The result once the execution has ended; None when it is unknown, or not in time."""
        return await self._runtime.wait_for_completion(execution_id, timeout)

    def get_stats(self) -> dict[str, Any]:
        """The stream's numbers after its latest slice of messages."""
        stats, entry, actor = self._parts.stats, self._parts.entry_point, self._ref.stats()
        return {
            "stream_id": entry.id,
            "entry_point": entry.id,
            "running": self.is_running,
            "active_executions": stats.running,
            "queued_executions": stats.queued,
            "total_executions": stats.running + stats.queued,
            "accepted_executions": stats.accepted_total,
            "completed_executions": sum(stats.finished.values()),
            "status_counts": dict(stats.finished),
            "max_concurrent": entry.max_concurrent,
            "available_slots": max(0, entry.max_concurrent - stats.running),
            "max_queued": entry.max_queued,
            "refused": self._parts.gate.refused,
            "rate_limited": self._parts.gate.rate_limited,
            "blocked_callers": self._parts.gate.blocked,
            "dropped": stats.dropped,
            "incarnation": stats.incarnation,
            "restarts": max(0, stats.incarnation - 1),
            "mailbox": {"depth": actor.depth, "high_water": actor.high_water},
        }
