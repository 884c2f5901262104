"""What hosts hold of the outcome aggregator: the goal's progress, and the report of violations."""

from typing import Any, Final

import msgspec

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.event_bus_handle import EventBusHandle
from greenroom.protocol.errors import ActorError, RuntimeNotRunning, StorageError
from greenroom.protocol.events import EventType
from greenroom.protocol.goal import Goal
from greenroom.protocol.goal_criteria import check_criteria
from greenroom.protocol.goal_progress import describe, metrics
from greenroom.protocol.messages import CatchUp, ConsumerMessage
from greenroom.protocol.outcomes import OutcomeFold

_decode_fold: Final = msgspec.msgpack.Decoder(OutcomeFold).decode


class OutcomeAggregatorHandle:
    """The goal's progress as everybody but the runtime sees it. Any thread.

    Raises UnsupportedSetting and InvalidConfig at construction for a goal whose criteria could
    never be measured.
    """

    def __init__(self, goal: Goal) -> None:
        check_criteria(goal)
        self._goal = goal
        self._snapshot: bytes | None = None  # immutable, replaced after each commit
        self._ref: ActorRef[ConsumerMessage] | None = None
        self._bus: EventBusHandle | None = None

    # --- for the runtime

    def attach(self, ref: ActorRef[ConsumerMessage], bus: EventBusHandle) -> None:
        """The aggregator has its address."""
        self._ref, self._bus = ref, bus

    def detach(self) -> None:
        """The runtime stops; the last numbers stay."""
        self._ref = self._bus = None

    def publish(self, snapshot: bytes) -> None:
        """The encoded fold as it is stored now. For the aggregator alone."""
        self._snapshot = snapshot

    # --- for everybody

    async def evaluate_goal_progress(self) -> dict[str, Any]:
        """Return the goal's progress with everything committed before the call:

        overall_progress (0 to 1), criteria_status {id: {description, met, progress, evidence}},
        constraint_violations [{constraint_id, description, details, stream_id, timestamp}],
        metrics and recommendation ("continue", "complete", "adjust").

        In a runtime that is not running, or while its store cannot write, the last numbers stored.
        """
        try:
            await self.caught_up()
        except (ActorError, StorageError):
            return self.latest_progress()  # older numbers are better than none
        return self.latest_progress()

    def latest_progress(self) -> dict[str, Any]:
        """Return the same without waiting: at most about a second old."""
        return describe(self._goal, self._fold())

    async def caught_up(self) -> None:
        """Return once everything committed before the call is part of the numbers.

        Returns at once in a runtime that is not running. Raises StoreUnavailable.
        """
        if self._ref is not None:
            await self._ref.ask(CatchUp(), control=True)

    def get_stats(self) -> dict[str, Any]:
        """Return counters, at most about a second old."""
        fold = self._fold()
        counted = metrics(fold)
        return {
            "total_decisions": counted["total_decisions"],
            "successful_outcomes": counted["successful_outcomes"],
            "failed_outcomes": counted["failed_outcomes"],
            "constraint_violations": fold.violations_total,
            "criteria_tracked": len(self._goal.success_criteria),
            "streams_seen": len(fold.streams),
        }

    async def record_constraint_violation(
        self,
        constraint_id: str,
        description: str = "",
        details: str = "",
        stream_id: str | None = None,
        execution_id: str | None = None,
    ) -> int:
        """Commit a `constraint_violation` event and return its seq.

        One of a hard constraint keeps the goal from being achieved. Raises what publishing raises.
        """
        if self._bus is None:
            raise RuntimeNotRunning("violations are recorded in a started runtime")
        return await self._bus.publish(
            EventType.CONSTRAINT_VIOLATION,
            stream_id=stream_id,
            execution_id=execution_id,
            data={
                "constraint_id": constraint_id,
                "description": description,
                "details": details,
            },
        )

    def _fold(self) -> OutcomeFold:
        return OutcomeFold() if self._snapshot is None else _decode_fold(self._snapshot)
