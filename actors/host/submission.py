"""Sends triggers to streams, past their gates."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from greenroom.actors.host.completion_board import CompletionBoard
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.stream.admission import AdmissionGate
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.errors import ActorError, Overloaded, StreamUnavailable
from greenroom.protocol.stream_messages import StreamMessage, Trigger


class Submission:
    """One stream's way in. Any event loop."""

    def __init__(
        self,
        entry_point: str,
        ref: ActorRef[StreamMessage],
        gate: AdmissionGate,
        board: CompletionBoard,
        known: Callable[[Trigger], CommitOutcome | None],
    ) -> None:
        self._entry_point = entry_point
        self._ref = ref
        self._gate = gate
        self._board = board
        self._known = known

    async def submit(self, trigger: Trigger) -> CommitOutcome:
        """Send a trigger and wait for its commit.

        Raises Overloaded, StreamUnavailable, StoreStalled, RuntimeStopped.
        """
        known = self._reserve(trigger)
        if known is not None:
            return known
        request, future = self._board.open_request(self._entry_point, trigger.execution_id)
        self._send(replace(trigger, request=request))
        try:
            return await future
        finally:
            self._board.drop_request(request)

    def submit_quietly(self, trigger: Trigger, waiter: "asyncio.Future[Any]") -> None:
        """Send a trigger whose caller waits for the execution's end; see the completion board."""
        known = self._reserve(trigger)
        if known is not None:
            waiter.set_result(known)
            return
        request = self._board.open_quiet_request(self._entry_point, trigger.execution_id, waiter)
        self._send(replace(trigger, request=request))

    def _reserve(self, trigger: Trigger) -> CommitOutcome | None:
        """Take a place. A repeat needs none: it is answered also when there is no room."""
        try:
            self._gate.reserve()
        except Overloaded:
            known = self._known(trigger)
            if known is None:
                raise
            return known
        return None

    def _send(self, trigger: Trigger) -> None:
        try:
            self._ref.tell(trigger)
        except BaseException as error:
            self._gate.release()
            self._board.drop_request(trigger.request)
            if isinstance(error, ActorError):
                raise StreamUnavailable(f"entry point {self._entry_point!r} is down") from error
            raise
