"""The executions of one stream that wait for a time to come."""

from collections.abc import Callable

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.stream.admission_desk import AdmissionDesk
from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.roster import Roster
from greenroom.actors.stream.steps import StepMachine
from greenroom.protocol.engine.ticks import Dispatch, Requeue
from greenroom.protocol.execution import Phase
from greenroom.protocol.stream_messages import TimerFired


class Sleepers:
    """Knows who waits, and what a timer that fires leads to. Only on the runtime's loop thread.

    `schedule(delay in seconds, message)` sends the message back to the stream.
    """

    def __init__(
        self,
        roster: Roster,
        desk: AdmissionDesk,
        steps: StepMachine,
        clock: Clock,
        fence: int,
        schedule: Callable[[float, TimerFired], object],
    ) -> None:
        self._roster = roster
        self._desk = desk
        self._steps = steps
        self._clock = clock
        self._fence = fence
        self._schedule = schedule
        self._asleep: set[str] = set()  # wait for a timer, and are in the store only

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._asleep

    def __len__(self) -> int:
        return len(self._asleep)

    def add(self, execution_id: str) -> None:
        """It waits, and is in the store only."""
        self._asleep.add(execution_id)

    def discard(self, execution_id: str) -> None:
        """It waits no more."""
        self._asleep.discard(execution_id)

    def start_timer(self, live: Live, token_id: int, due: float) -> None:
        """Tick when a backoff comes due."""
        assert live.state is not None
        message = TimerFired(
            incarnation=self._fence,
            execution_id=live.execution_id,
            token_id=token_id,
            attempt=live.state.tokens[token_id].attempt,
        )
        self._schedule(max(0.0, due - self._clock.now()), message)

    def fired(self, message: TimerFired) -> None:
        """A backoff came due: on, if there is a permit, else into the line."""
        live = self._roster.find(message.execution_id)
        if live is None or live.state is None:
            return
        token = live.state.tokens.get(message.token_id)
        if token is None or token.phase is not Phase.BACKOFF or token.attempt != message.attempt:
            return
        if live.permit or (not self._desk.line and self._desk.take(live)):
            self._steps.tick(live, Pending(Dispatch(message.token_id)))
        else:
            self._steps.tick(live, Pending(Requeue(message.token_id)))
