"""Watches the store writer: a disk that does not answer must not leave callers hanging."""

import logging
from collections.abc import Iterable
from typing import Final

from greenroom.actors.host.completion_board import CompletionBoard
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.stream.admission_gate import AdmissionGate
from greenroom.actors.system.store_writer import WriterSlot
from greenroom.protocol.errors import StoreStalled

logger = logging.getLogger("greenroom.writer")

STALLED_S = 10.0
LOOK_S: Final = 1.0


class StallWatch:
    """Looks at the writer each second. Runs on the runtime's loop.

    A writer that is in one commit for over STALLED_S seconds is stalled: whoever waits for an
    acceptance gets StoreStalled, and so does every new trigger until the writer answers. It is
    never replaced: its commit would still be applied.
    """

    def __init__(
        self,
        system: ActorSystem,
        slot: WriterSlot,
        board: CompletionBoard,
        gates: Iterable[AdmissionGate],
    ) -> None:
        self._system = system
        self._slot = slot
        self._board = board
        self._gates = tuple(gates)
        self._stalled = False

    def start(self) -> None:
        """Begin; ends with the system's dispatcher."""
        self._system.call_later(min(LOOK_S, STALLED_S / 4), self._look)

    def _look(self) -> None:
        silent_s = self._slot.silent_s(self._system.clock.monotonic())
        if silent_s > STALLED_S:
            if not self._stalled:
                logger.error("the store writer has been silent for %.1f s", silent_s)
            self._set(stalled=True)
            self._board.refuse(_stalled)
        elif self._stalled:
            logger.warning("the store writer answers again")
            self._set(stalled=False)
        self.start()

    def _set(self, *, stalled: bool) -> None:
        self._stalled = stalled
        for gate in self._gates:
            gate.stalled = stalled


def _stalled(execution_id: str) -> StoreStalled:
    return StoreStalled(
        f"the store does not answer: whether execution {execution_id!r} was accepted is not known, "
        "and repeating it with that id is safe"
    )
