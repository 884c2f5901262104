"""Who of one stream may run: its permits, its line, and suspects one at a time."""

from collections.abc import Callable
from typing import Final, Protocol

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.stream.key_line import KeyLine
from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.permits import PermitPool
from greenroom.actors.stream.waiting_line import Place, WaitingLine
from greenroom.protocol.engine.ticks import Cancel, Dispatch
from greenroom.protocol.entry_point import EntryPointSpec, Overflow
from greenroom.protocol.execution import ExecutionState, Phase
from greenroom.protocol.stream_messages import StreamMessage, Trigger

SUSPECT_CRASHES: Final = 2


class DeskOwner(Protocol):
    """What the desk asks of the stream."""

    def find(self, execution_id: str) -> Live | None:
        """The execution, from memory or from the store."""
        ...

    def let_go(self, live: Live) -> None:
        """Keep it in the store only."""
        ...

    def step(self, live: Live, pending: Pending) -> None:
        """Advance it by one tick."""
        ...


class AdmissionDesk:
    """Gives permits to the executions of one stream. Only on the runtime's loop thread."""

    def __init__(
        self,
        entry_point: EntryPointSpec,
        permits: PermitPool,
        stream: ActorRef[StreamMessage],
        owner: DeskOwner,
        owner_of_key: Callable[[str], int],
    ) -> None:
        self._limit = entry_point.max_concurrent
        self._priority = entry_point.priority
        self._max_queued = entry_point.max_queued
        self._drops = entry_point.overflow is Overflow.DROP_OLDEST
        self._permits = permits
        self._stream = stream
        self._owner = owner
        self._closed = False
        self.line = WaitingLine()
        self._keys = KeyLine(self.line, owner_of_key)
        self.running = 0
        self.dropped = 0

    def may_begin(self, trigger: Trigger) -> bool:
        """Nobody is before the new execution. Its concurrency key, if it is free, is its own from
        now on, also if there is no permit: `leave` gives it back.
        """
        key = trigger.concurrency_key
        return (not key or self._keys.arrive(key, trigger.execution_id)) and not self.crowded

    @property
    def crowded(self) -> bool:
        """Somebody in the line could use a permit."""
        return self.line.first() is not None

    def join(self, place: Place) -> None:
        """Let the execution wait for its concurrency key, if it has one, and for a permit."""
        if place.concurrency_key:
            self._keys.join(place)
        else:
            self.line.join(place)

    def leave(self, execution_id: str, concurrency_key: str) -> None:
        """It waits for nothing here any more, nor does it run."""
        place = self.line.leave(execution_id)
        if concurrency_key:
            self._keys.leave(concurrency_key, place, execution_id)

    def take(self, live: Live, priority: int | None = None) -> bool:
        """Give the execution a permit, if there is one; `priority` is its own, if known.

        One that has a permit keeps it: what came due of it may be on its way to the store when its
        turn in the line comes.
        """
        if live.permit:
            return True
        if (
            self._closed
            or self.running >= self._limit
            or not self._permits.take(
                self._stream, self._priority if priority is None else priority
            )
        ):
            return False
        self.running += 1
        live.permit = True
        return True

    def take_unless_others_wait(self, live: Live) -> bool:
        """Give an execution that is woken a permit, unless it has to queue behind others for it,
        for its concurrency key, or to run alone.
        """
        if live.permit:
            return True
        return (
            not self.crowded
            and not _is_suspect(live)
            and self._has_its_key(live)
            and self.take(live)
        )

    def _has_its_key(self, live: Live) -> bool:
        """False for one that was taken back, after its end, to where it waits: others may have its
        key by now.
        """
        key = "" if live.state is None else live.state.accepted.concurrency_key
        return not key or self._keys.has(key, live.ordinal)

    def give_back(self, live: Live) -> None:
        """Take its permit back, if it has one."""
        if live.permit:
            live.permit = False
            self.running -= 1
            self._permits.give_back(self._stream)

    def admit(self) -> None:
        """Start who waits, as long as there are permits."""
        while not self._closed:
            place = self.line.first()
            if place is None or self.running >= self._limit:
                return
            live = self._owner.find(place.execution_id)
            dispatch = None if live is None or live.state is None else dispatch_of(live.state)
            if live is None or live.state is None or dispatch is None:
                # It ended, or goes on, without the line.
                self.leave(place.execution_id, place.concurrency_key)
                continue
            if not self._may_start(live, live.state.accepted.priority):
                self._owner.let_go(live)
                return
            self.line.leave(place.execution_id)
            self._owner.step(live, Pending(dispatch))

    def start_the_rest(self, live: Live, state: ExecutionState) -> None:
        """An execution that runs has a permit for all its branches: none waits for another. One
        that woke in a short backoff, when there was no permit, does until then.
        """
        if live.permit and live.started_at != state.seq:
            dispatch = dispatch_of(state)
            if dispatch is not None:
                live.started_at = state.seq  # once: what that changes nothing of stays as it is
                self._owner.step(live, Pending(dispatch))

    def made_progress(self, live: Live, token_id: int) -> None:
        """A node run ended: a suspect runs alone no more, unless another of its runs is one."""
        if self._permits.is_suspect(live.execution_id) and (
            live.state is None or not suspects_in_flight(live.state, but=token_id)
        ):
            self._permits.clear_suspect(live.execution_id)

    def _may_start(self, live: Live, priority: int) -> bool:
        """Whoever was in flight at two deaths of the process runs alone."""
        if _is_suspect(live) and not self._permits.take_suspect(self._stream, live.execution_id):
            return False
        return self.take(live, priority)

    def make_room(self) -> None:
        """Drop who was accepted first and never started, while more wait than may; else nothing."""
        while self._drops and self.line.counted > self._max_queued and not self._closed:
            place = self.line.oldest()
            if place is None:
                return
            self.leave(place.execution_id, place.concurrency_key)
            live = self._owner.find(place.execution_id)
            if live is None or live.state is None or live.in_flight is not None:
                continue  # it ends, or somebody pauses it, at this moment
            self.dropped += 1
            reason = f"dropped for a newer one, because {self._max_queued} were waiting"
            self._owner.step(live, Pending(Cancel(reason)))

    def close(self) -> None:
        """Start nobody any more: the stream drains."""
        self._closed = True


def dispatch_of(state: ExecutionState) -> Dispatch | None:
    """The tick that starts what waits for a permit, None when nothing does."""
    ready = any(token.phase is Phase.READY for token in state.tokens.values())
    return Dispatch() if ready else None


def suspects_in_flight(state: ExecutionState, *, but: int) -> bool:
    """Say whether a node runs, other than that of token `but`, that ran at two deaths of the
    process.
    """
    return any(
        token.crashes >= SUSPECT_CRASHES and token.phase is Phase.RUNNING and token_id != but
        for token_id, token in state.tokens.items()
    )


def _is_suspect(live: Live) -> bool:
    tokens = () if live.state is None else live.state.tokens.values()
    return any(token.crashes >= SUSPECT_CRASHES and token.ended is None for token in tokens)
