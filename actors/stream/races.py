"""Lost races for shared keys, and the turns that make the next try win.

A closing step whose reads went stale stored nothing. The loser queues for the turns of the keys in
question and tries again while it holds them: the node runs again, or, when only `update` functions
touched the keys, just those functions and the commit.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.parts import StreamParts
from greenroom.actors.stream.steps import StepMachine
from greenroom.actors.system.turns import blocked_by_turn, stale_is_update_only
from greenroom.protocol.commit import StateKey
from greenroom.protocol.engine.ticks import Conflicted, NodeErrored, NodeSucceeded
from greenroom.protocol.engine.transition import RunNode
from greenroom.protocol.errors import StateConflict
from greenroom.protocol.messages import ReleaseTurns, TakeTurns
from greenroom.protocol.stream_messages import NodeResult, UpdatesReapplied


@dataclass(slots=True)
class _Loser:
    """Who waits for turns, and what comes after them."""

    granted: bool = False
    closing: Pending | None = None  # only its updates and its commit are made again
    command: RunNode | None = None  # the node runs again


class Races:
    """The lost races of one instance of one stream. Only on the runtime's loop thread."""

    def __init__(self, parts: StreamParts, steps: StepMachine, address: str, fence: int) -> None:
        self._parts = parts
        self._steps = steps
        self._address = address
        self._fence = fence
        self._losers: dict[str, _Loser] = {}
        self._closing: dict[str, Pending] = {}

    def blocked(self, live: Live, pending: Pending) -> bool:
        """True when the closing step touches a key whose turn another step holds: that is a lost
        race, and is seen before anything is written."""
        result = pending.result
        assert result is not None
        if not result.reads:
            return False
        keys = blocked_by_turn(self._parts.turns, live.execution_id, result.reads, result.writes)
        if not keys:
            return False
        self.lost(live, pending, keys)
        return True

    def lost(self, live: Live, pending: Pending, stale: tuple[StateKey, ...]) -> None:
        """Queue for the turns of the stale keys, and of those held already."""
        result, tick = pending.result, pending.tick
        assert result is not None, "only node runs read shared state"
        assert isinstance(tick, NodeSucceeded)
        keys = tuple(dict.fromkeys((*live.turns, *stale)))
        if live.turns:
            self._release(live)
        live.turns = keys
        self._parts.state_manager.tell(
            TakeTurns(
                stream=self._address,
                incarnation=self._fence,
                execution_id=live.execution_id,
                keys=keys,
            ),
            control=True,
        )
        if stale_is_update_only(stale, result):
            self._losers[live.execution_id] = _Loser(closing=pending)
            return
        self._losers[live.execution_id] = _Loser()
        names = tuple(f"{key.scope}:{key.key}" for key in stale)
        conflicted = Conflicted(tick.token_id, tick.visit, tick.attempt, names)
        self._steps.tick(live, Pending(conflicted))

    def must_wait(self, live: Live, command: RunNode) -> bool:
        """True when the node may only run once the turns have come; `granted` gives it back."""
        loser = self._losers.get(live.execution_id)
        if loser is None:
            return False
        if loser.granted:
            del self._losers[live.execution_id]
            return False
        loser.command = command
        return True

    def granted(self, live: Live, *, timed_out: bool) -> RunNode | None:
        """The turns have come: returns the node to run, if that is what waited."""
        loser = self._losers.get(live.execution_id)
        if loser is None:  # ended meanwhile
            self._release(live)
            return None
        loser.granted = True
        if timed_out:
            self._give_up(live, loser)
            return None
        if loser.closing is not None:
            self._reapply(live, loser.closing)
            del self._losers[live.execution_id]
            return None
        if loser.command is None:  # its commit is on the way
            return None
        del self._losers[live.execution_id]
        return loser.command

    def _give_up(self, live: Live, loser: _Loser) -> None:
        live.turns = ()
        if loser.closing is not None:
            tick = loser.closing.tick
            assert isinstance(tick, NodeSucceeded)
            self._fail(live, tick.token_id, tick.visit, tick.attempt)
        elif loser.command is not None:
            command = loser.command
            self._fail(live, command.token_id, command.visit, command.attempt)
        else:
            return  # without its turns the node may lose again; its runs are counted
        self._losers.pop(live.execution_id, None)

    def _fail(self, live: Live, token_id: int, visit: int, attempt: int) -> None:
        failure = NodeErrored(
            token_id,
            visit,
            attempt,
            "the turns of contended keys did not come in time",
            (StateConflict.__name__, StateConflict.code),
            0,
        )
        self._steps.tick(live, Pending(failure))

    def _reapply(self, live: Live, closing: Pending) -> None:
        assert closing.result is not None
        assert self._parts.binding is not None
        self._closing[live.execution_id] = closing
        self._parts.runner.reapply(self._parts.binding, closing.result)

    def reapplied(self, live: Live, message: UpdatesReapplied) -> None:
        """The updates were made again on the newest values: try the same commit again."""
        closing = self._closing.pop(live.execution_id, None)
        if closing is None or closing.result is None:
            return
        if message.error is not None:
            failure = NodeErrored(
                message.token_id,
                message.visit,
                message.attempt,
                message.error,
                message.error_types,
                closing.result.latency_ms,
            )
            self._steps.tick(live, Pending(failure))
            return
        result: NodeResult = replace(closing.result, reads=message.reads, writes=message.writes)
        self._steps.tick(live, Pending(closing.tick, result))

    def forget(self, live: Live) -> None:
        """The node run is over: give its turns back."""
        self._losers.pop(live.execution_id, None)
        self._closing.pop(live.execution_id, None)
        if live.turns:
            self._release(live)

    def _release(self, live: Live) -> None:
        live.turns = ()
        self._parts.state_manager.tell(ReleaseTurns(execution_id=live.execution_id), control=True)
