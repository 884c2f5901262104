"""Lost races for shared keys, and the turns that make the next try win.

A closing step whose reads went stale stored nothing. The loser queues for the turns of the keys in
question and tries again while it holds them: the node runs again, or, when only `update` functions
touched the keys, just those functions and the commit.

Turns belong to one run of one node: branches of one execution race each other as executions do.
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
from greenroom.protocol.stream_messages import NodeResult, TurnsGranted, UpdatesReapplied


@dataclass(slots=True)
class _Contender:
    """A node run that asked for turns, and what comes after them. Without `keys` it has none any
    more, because they did not come in time.
    """

    keys: tuple[StateKey, ...]
    lost: bool = True  # what comes after the turns has not begun
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
        self._contenders: dict[str, dict[int, _Contender]] = {}  # by execution, then token

    def _find(self, live: Live, token_id: int) -> _Contender | None:
        own = self._contenders.get(live.execution_id)
        return None if own is None else own.get(token_id)

    def contends(self, live: Live) -> bool:
        """True when a node run of the execution lost a race, and is not over."""
        return live.execution_id in self._contenders

    def holds_turns(self, live: Live, token_id: int) -> bool:
        """True when the token's node run has turns, and so never waits for those of others."""
        found = self._find(live, token_id)
        return found is not None and bool(found.keys)

    def blocked(self, live: Live, pending: Pending) -> bool:
        """True when the closing step touches a key whose turn another step holds: that is a lost
        race, and is seen before anything is written."""
        result = pending.result
        assert result is not None
        if not result.reads:
            return False
        holder = live.execution_id, result.token_id
        keys = blocked_by_turn(self._parts.turns, holder, result.reads, result.writes)
        if not keys:
            return False
        self.lost(live, pending, keys)
        return True

    def lost(self, live: Live, pending: Pending, stale: tuple[StateKey, ...]) -> None:
        """Queue for the turns of the stale keys, and of those held already."""
        result, tick = pending.result, pending.tick
        assert result is not None, "only node runs read shared state"
        assert isinstance(tick, NodeSucceeded)
        before = self._find(live, tick.token_id)
        held = () if before is None else before.keys
        if held:
            self._release(live, tick.token_id)
        keys = tuple(dict.fromkeys((*held, *stale)))
        self._parts.state_manager.tell(
            TakeTurns(
                stream=self._address,
                incarnation=self._fence,
                execution_id=live.execution_id,
                token_id=tick.token_id,
                keys=keys,
            ),
            control=True,
        )
        contender = _Contender(keys)
        self._contenders.setdefault(live.execution_id, {})[tick.token_id] = contender
        if stale_is_update_only(stale, result):
            contender.closing = pending
            return
        names = tuple(f"{key.scope}:{key.key}" for key in stale)
        conflicted = Conflicted(tick.token_id, tick.visit, tick.attempt, names)
        self._steps.tick(live, Pending(conflicted))

    def must_wait(self, live: Live, command: RunNode) -> bool:
        """True when the node may only run once the turns have come; `granted` gives it back."""
        contender = self._find(live, command.token_id)
        if contender is None or not contender.lost:
            return False
        if contender.granted:
            contender.lost = False
            return False
        contender.command = command
        return True

    def granted(self, live: Live, message: TurnsGranted) -> RunNode | None:
        """The turns have come: returns the node to run, if that is what waited."""
        contender = self._find(live, message.token_id)
        if contender is None:  # ended meanwhile
            self._release(live, message.token_id)
            return None
        if not contender.lost:
            return None
        contender.granted = True
        if message.timed_out:
            self._give_up(live, contender)
            return None
        if contender.closing is not None:
            contender.lost = False
            assert contender.closing.result is not None
            assert self._parts.binding is not None
            self._parts.runner.reapply(self._parts.binding, contender.closing.result)
            return None
        if contender.command is None:  # its commit is on the way
            return None
        contender.lost = False
        return contender.command

    def _give_up(self, live: Live, contender: _Contender) -> None:
        contender.keys = ()
        if contender.closing is not None:
            tick = contender.closing.tick
            assert isinstance(tick, NodeSucceeded)
            contender.closing = None
            self._fail(live, tick.token_id, tick.visit, tick.attempt)
        elif contender.command is not None:
            command = contender.command
            self._fail(live, command.token_id, command.visit, command.attempt)
        else:
            return  # without its turns the node may lose again; its runs are counted
        contender.lost = False

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

    def reapplied(self, live: Live, message: UpdatesReapplied) -> None:
        """The updates were made again on the newest values: try the same commit again."""
        contender = self._find(live, message.token_id)
        closing = None if contender is None else contender.closing
        if contender is None or closing is None or closing.result is None or contender.lost:
            return
        contender.closing = None
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

    def forget(self, live: Live, token_id: int) -> None:
        """The node run is over: give its turns back."""
        own = self._contenders.get(live.execution_id)
        gone = None if own is None else own.pop(token_id, None)
        if gone is None:
            return
        if not own:
            del self._contenders[live.execution_id]
        if gone.keys:
            self._release(live, token_id)

    def forget_all(self, live: Live) -> None:
        """No node of the execution runs any more."""
        for token_id in list(self._contenders.get(live.execution_id, ())):
            self.forget(live, token_id)

    def _release(self, live: Live, token_id: int) -> None:
        self._parts.state_manager.tell(
            ReleaseTurns(execution_id=live.execution_id, token_id=token_id), control=True
        )
