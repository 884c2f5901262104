"""What comes due in one stream: executions that run, and all the others in the store."""

import logging
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.kernel.dispatcher import TimerHandle
from greenroom.actors.stream.admission_desk import AdmissionDesk
from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.roster import Roster
from greenroom.actors.stream.steps import StepMachine
from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.ticks import Due
from greenroom.protocol.execution import ExecutionState, Status
from greenroom.protocol.limits import DUE_PAGE, TIMER_LOOK_S_MAX
from greenroom.protocol.stream_messages import TimerFired
from greenroom.protocol.timers import TimerMove, microseconds
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.stream")

_STALE_MAX: Final = 64  # times of executions that run no more, before they are cleared away


class Timers:
    """Ticks executions when something of them is due. Only on the runtime's loop thread.

    One timer of the loop waits for the first of all: of those that run, whose times are in memory
    as they are, and of those in the store, however many there are. What is due in the store is
    brought to memory in pages: the next one when the steps of the last are durable.
    `schedule(delay in seconds, message)` sends the message back to the stream.
    """

    def __init__(
        self,
        entry_point: str,
        store: Store,
        roster: Roster,
        desk: AdmissionDesk,
        steps: StepMachine,
        clock: Clock,
        schedule: Callable[[float, TimerFired], TimerHandle],
        runs_all: Callable[[ExecutionState], bool],
    ) -> None:
        self._entry_point = entry_point
        self._store = store
        self._roster = roster
        self._desk = desk
        self._steps = steps
        self._clock = clock
        self._schedule = schedule
        self._runs_all = runs_all
        self._running: list[tuple[float, str]] = []  # heap: due, execution id; some are stale
        self._next: tuple[float, TimerHandle] | None = None
        self._under_way: set[str] = set()  # came due, and their steps are not durable yet
        self._skipped: set[int] = set()  # ordinals of those that cannot be taken up
        self._looking = False
        self._closed = False

    def look(self) -> None:
        """Tick what is due, and wait for what comes next."""
        if self._looking:
            return
        self._looking = True
        self._next = None
        now_us = microseconds(self._clock.now())
        self._look_at_running(now_us)
        if not self._under_way and not self._closed:  # else the last of them looks again
            self._look_in_store(now_us)
        self._looking = False

    def close(self) -> None:
        """Bring nobody to memory any more: the stream drains. A node that runs may still time out;
        one that was dispatched for the next start to run has used up no time.
        """
        self._closed = True

    def committed(self, live: Live, move: TimerMove | None) -> None:
        """A step of the execution is durable."""
        self._skipped.discard(live.ordinal)
        self.watch(live)
        if move is not None and move.after is not None:
            self._wait_until(move.after)

    def watch(self, live: Live) -> None:
        """While it runs, remember what is due next of it."""
        state = live.state
        due = due_at(state) if state is not None and state.status is Status.RUNNING else None
        if due == live.due:
            return
        live.due = due
        if due is not None:
            heappush(self._running, (due, live.execution_id))
            self._wait_until(due)
        if len(self._running) > 2 * len(self._roster) + _STALE_MAX:
            self._running = [one for one in self._running if self._counts(*one)]
            heapify(self._running)

    def settled(self, execution_id: str) -> None:
        """Nothing of the execution is in flight."""
        if execution_id in self._under_way:
            self._under_way.discard(execution_id)
            if not self._under_way:
                self.look()

    def _counts(self, due: float, execution_id: str) -> bool:
        live = self._roster.get(execution_id)
        return live is not None and live.due == due

    def _wait_until(self, due: float) -> None:
        """Look again at that time, or earlier."""
        if self._next is not None:
            if self._next[0] <= due:
                return
            self._next[1].cancel()
        delay = min(max(0.0, due - self._clock.now()), TIMER_LOOK_S_MAX)
        self._next = (due, self._schedule(delay, TimerFired()))

    def _look_at_running(self, now_us: int) -> None:
        running = self._running
        while running:
            due, execution_id = running[0]
            if not self._counts(due, execution_id):
                heappop(running)
            elif microseconds(due) > now_us:
                self._wait_until(due)
                return
            else:
                heappop(running)
                live = self._roster.get(execution_id)
                assert live is not None, "it counts"
                live.due = None
                if not self._closed or (live.state is not None and self._runs_all(live.state)):
                    self._tick(live)

    def _look_in_store(self, now_us: int) -> None:
        for due_us, ordinal, execution_id in self._store.read(self._first):
            if ordinal in self._skipped:
                continue
            if due_us > now_us:
                self._wait_until(due_us / 1_000_000)
                return
            if len(self._under_way) == DUE_PAGE:
                return
            self._come_due(ordinal, execution_id)

    def _first(self, reader: Reader) -> list[tuple[int, int, str]]:
        found = []
        for timer in reader.timers(self._entry_point, DUE_PAGE + 1 + len(self._skipped)):
            stored = reader.execution_at(timer.ordinal)
            execution_id = "" if stored is None else stored.summary.execution_id
            found.append((timer.due_us, timer.ordinal, execution_id))
        return found

    def _come_due(self, ordinal: int, execution_id: str) -> None:
        live = self._roster.find(execution_id)
        if live is not None:
            self._under_way.add(execution_id)
            self._tick(live)
        if execution_id not in self._under_way:
            # Whoever stays first in the index would be looked at for ever.
            logger.error("%s is due and cannot be taken up", execution_id or ordinal)
            self._skipped.add(ordinal)

    def _tick(self, live: Live) -> None:
        permit = self._desk.take_unless_others_wait(live)
        self._steps.tick(live, Pending(Due(permit=permit)))
