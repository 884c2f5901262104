"""Sends triggers to streams, past their gates."""

import asyncio
from typing import Any

from msgspec.structs import replace

from greenroom.actors.host.completion_board import CompletionBoard
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.stream.admission import AdmissionGate
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.errors import ActorError, StreamUnavailable
from greenroom.protocol.messages import StreamMessage, Trigger


class Submission:
    """One stream's way in. Any event loop."""

    def __init__(
        self,
        entry_point: str,
        ref: ActorRef[StreamMessage],
        gate: AdmissionGate,
        board: CompletionBoard,
    ) -> None:
        self._entry_point = entry_point
        self._ref = ref
        self._gate = gate
        self._board = board

    async def submit(self, trigger: Trigger) -> CommitOutcome:
        """Send a trigger and wait for its commit.

        Raises Overloaded, StreamUnavailable, StoreStalled, RuntimeStopped.
        """
        self._gate.reserve()
        request, future = self._board.open_request(self._entry_point, trigger.execution_id)
        self._send(replace(trigger, request=request))
        try:
            return await future
        finally:
            self._board.drop_request(request)

    def submit_quietly(self, trigger: Trigger, waiter: "asyncio.Future[Any]") -> None:
        """Send a trigger whose caller waits for the execution's end; see the completion board."""
        self._gate.reserve()
        request = self._board.open_quiet_request(self._entry_point, trigger.execution_id, waiter)
        self._send(replace(trigger, request=request))

    def _send(self, trigger: Trigger) -> None:
        try:
            self._ref.tell(trigger)
        except ActorError as error:
            self._gate.release()
            self._board.drop_request(trigger.request)
            raise StreamUnavailable(f"entry point {self._entry_point!r} is down") from error
