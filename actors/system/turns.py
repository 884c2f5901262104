"""The turns as other threads see them: a snapshot to look at, and a wait for a key to come free."""

from collections.abc import Iterable

from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef
from greenroom.protocol.commit import StateKey, StateRead, StateWrite
from greenroom.protocol.limits import TURN_TIMEOUT_S
from greenroom.protocol.messages import AwaitTurnFree, TurnMessage
from greenroom.protocol.turns import (
    NOTHING_HELD,
    HeldTurns,
    Holder,
    Turns,
    blocked,
    stale_is_update_only,
)

__all__ = ["TurnView", "blocked_by_turn", "stale_is_update_only"]

_ANSWER_MARGIN_S = 5.0  # the state manager answers by itself after TURN_TIMEOUT_S


class TurnView:
    """The turns of one runtime; one object for all its life. Every method works from any thread.

    Only the state manager changes it. `turns` belongs to the address of the state manager, so that
    an instance that replaces a crashed one knows who holds what.
    """

    __slots__ = ("_held", "_manager", "turns")

    def __init__(self) -> None:
        self.turns = Turns()
        self._held = NOTHING_HELD
        self._manager: ActorRef[TurnMessage] | None = None

    def attach(self, manager: ActorRef[TurnMessage] | None) -> None:
        """Ask this state manager from now on; None forgets it, and every turn."""
        self._manager = manager
        if manager is None:
            self.turns = Turns()
            self._held = NOTHING_HELD

    def publish(self, held: HeldTurns) -> None:
        """Show another snapshot; by the state manager."""
        self._held = held

    @property
    def held(self) -> HeldTurns:
        """The present snapshot."""
        return self._held

    def taken(self, key: StateKey, holder: Holder) -> bool:
        """Say whether anybody but `holder` holds a turn that overlaps with `key`."""
        return self._held.taken(key, holder)

    def when_free(self, key: StateKey, holder: Holder) -> Future[bool]:
        """Return a future: True once nobody else holds or waits for the turn, False after 30 s.

        Cancelling it, or the task that awaits it, leaves the queue.
        """
        manager = self._manager
        if manager is None:
            future: Future[bool] = Future()
            future.settle(True)
            return future
        return manager.ask(
            AwaitTurnFree(key=key, execution_id=holder[0], token_id=holder[1]),
            timeout=TURN_TIMEOUT_S + _ANSWER_MARGIN_S,
            control=True,
        )


def blocked_by_turn(
    view: TurnView,
    holder: Holder,
    reads: Iterable[StateRead],
    writes: Iterable[StateWrite],
) -> tuple[StateKey, ...]:
    """Return the keys of a closing step whose turns others hold: a lost race."""
    return blocked(view.held, holder, reads, writes)
