"""Sends triggers to streams, past their gates."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from greenroom.actors.host.completion_board import CompletionBoard
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.stream.admission_gate import AdmissionGate
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import ActorError, StreamUnavailable
from greenroom.protocol.stream_messages import StreamMessage, Trigger, TriggerMany


class Submission:
    """One stream's way in. Any event loop."""

    def __init__(
        self,
        spec: EntryPointSpec,
        ref: ActorRef[StreamMessage],
        gate: AdmissionGate,
        board: CompletionBoard,
        known: Callable[[Trigger], CommitOutcome | None],
    ) -> None:
        self._entry_point = spec.id
        self._block_timeout_s = spec.block_timeout_s
        self._ref = ref
        self._gate = gate
        self._board = board
        self.known = known

    async def submit(self, trigger: Trigger, block_s_max: float | None = None) -> CommitOutcome:
        """Send a trigger and wait for its commit.

        `block_s_max` bounds the wait for a place, for callers who hold something meanwhile. Raises
        Overloaded, RateLimited, StreamUnavailable, StoreStalled, RuntimeStopped.
        """
        known = await self._enter(trigger, block_s_max)
        if known is not None:
            return known
        return await self._accepted(trigger)

    async def submit_when_there_is_room(self, trigger: Trigger) -> CommitOutcome:
        """`submit` for a caller that has a queue of its own: it waits where others are rejected."""
        if not self._gate.try_reserve():
            await self._gate.wait_for_place(trigger.execution_id, None)
        return await self._accepted(trigger)

    async def _accepted(self, trigger: Trigger) -> CommitOutcome:
        request, future = self._board.open_request(self._entry_point, trigger.execution_id)
        self._send(replace(trigger, request=request))
        try:
            return await future
        finally:
            self._board.drop_request(request)

    async def submit_many(self, triggers: tuple[Trigger, ...]) -> CommitOutcome:
        """Send triggers that are accepted together, and wait for their commit.

        There are places for all of them, or for none. Raises as `submit` does.
        """
        count, first = len(triggers), triggers[0].execution_id
        if not self._gate.try_reserve(count):
            await self._block(first, self._block_timeout_s, count)
        request, future = self._board.open_request(self._entry_point, first)
        self._send(TriggerMany(request=request, triggers=triggers), count)
        try:
            return await future
        finally:
            self._board.drop_request(request)

    async def submit_quietly(self, trigger: Trigger, waiter: "asyncio.Future[Any]") -> None:
        """Send a trigger whose caller waits for the execution's end; see the completion board."""
        known = await self._enter(trigger, None)
        if known is not None:
            if not waiter.done():
                waiter.set_result(known)
            return
        request = self._board.open_quiet_request(self._entry_point, trigger.execution_id, waiter)
        self._send(replace(trigger, request=request))

    async def _enter(self, trigger: Trigger, block_s_max: float | None) -> CommitOutcome | None:
        """Take a place. A repeat needs none, and costs nothing of the rate: its answer is returned,
        also when there is no room.
        """
        gate = self._gate
        if gate.rated:
            known = self.known(trigger)
            if known is not None:
                return known
        if gate.try_reserve():
            return None
        known = self.known(trigger)
        if known is not None:
            return known
        bounds = [one for one in (self._block_timeout_s, block_s_max) if one is not None]
        await self._block(trigger.execution_id, min(bounds, default=None), 1)
        return None

    async def _block(self, execution_id: str, timeout_s: float | None, places: int) -> None:
        if not self._gate.blocks:
            raise self._gate.refusal()
        await self._gate.wait_for_place(execution_id, timeout_s, places)

    def _send(self, message: Trigger | TriggerMany, places: int = 1) -> None:
        try:
            self._ref.tell(message)
        except BaseException as error:
            self._gate.withdraw(places)
            self._board.drop_request(message.request)
            if isinstance(error, ActorError):
                raise StreamUnavailable(f"entry point {self._entry_point!r} is down") from error
            raise
