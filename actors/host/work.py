"""The part of the facade by which work comes in and results go out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.batching import Item, accept_all, build_triggers
from greenroom.actors.host.registrations import Registrations
from greenroom.actors.host.trigger_options import TriggerOptions
from greenroom.actors.host.triggering import build_trigger, execution_of
from greenroom.actors.host.waiting import await_end, cancel, ended_result, run_to_end
from greenroom.actors.kernel.clock import Clock
from greenroom.protocol.engine.result import ExecutionResult
from greenroom.protocol.errors import UnsupportedSetting
from greenroom.protocol.stream_messages import Trigger


class WorkCalls(ABC):
    """What AgentRuntime offers to whoever has work for it."""

    _assembly: Assembly | None
    _clock: Clock
    _registrations: Registrations

    @abstractmethod
    def _running(self) -> Assembly:
        """The parts of a started runtime. Raises RuntimeNotRunning."""

    async def trigger(
        self,
        entry_point_id: str,
        input_data: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        session_state: None = None,
        **options: Unpack[TriggerOptions],
    ) -> str:
        """Accept an execution and return its id after the commit.

        The values of `input_data` become the execution's memory; the options are those of
        TriggerOptions. It waits for capacity only at an entry point with `overflow="block"`.
        Repeating a call whose outcome is unknown is safe with its `execution_id` or key. Any event
        loop. Raises RuntimeNotRunning, EntryPointNotFound, InvalidValue, Overloaded, RateLimited,
        StreamUnavailable, StoreUnavailable, IdempotencyConflict, RuntimeStopped.
        """
        assembly = self._running()
        trigger = self._build(entry_point_id, input_data, correlation_id, session_state, options)
        outcome = await assembly.submit(entry_point_id, trigger)
        return execution_of(outcome, trigger)[0]

    async def trigger_and_wait(
        self,
        entry_point_id: str,
        input_data: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        session_state: None = None,
        *,
        correlation_id: str | None = None,
        **options: Unpack[TriggerOptions],
    ) -> ExecutionResult | None:
        """`trigger`, then the result, also of a pause; None when `timeout` seconds pass first.

        They are counted from acceptance, and the execution goes on in that case. None means no
        limit, 0 does not wait. Raises as `trigger` does, and RuntimeStopped when the runtime stops
        meanwhile.
        """
        assembly = self._running()
        trigger = self._build(entry_point_id, input_data, correlation_id, session_state, options)
        return await run_to_end(assembly, entry_point_id, trigger, timeout)

    async def trigger_many(self, entry_point_id: str, items: Sequence[Item]) -> list[str]:
        """Accept many executions in one commit, all or none; their ids after it, in that order.

        An item is an input, or a TriggerItem with the options of `trigger`. A repeat of an
        idempotency key is answered the first id, also within the batch, and keeps nobody back; one
        in conflict refuses all. Whether there is room is decided for all of them at once. Raises
        InvalidItem with the index of the first bad item, BatchTooLarge, and as `trigger` does.
        """
        streams = self._running().streams
        spec = self._registrations.entry_point(entry_point_id)
        triggers = build_triggers(spec, items, self._clock.now())
        return await accept_all(streams.submissions[entry_point_id], triggers)

    async def wait_for_completion(
        self, execution_id: str, timeout: float | None = None
    ) -> ExecutionResult | None:
        """The result once the execution has ended, is held or paused.

        A question that is open is no end: `pending_questions`, or the event
        "client_input_requested", tells of it. None when it is unknown, or not in time. Raises
        RuntimeNotRunning, RuntimeStopped.
        """
        return await await_end(self._running(), execution_id, timeout)

    async def cancel_execution(
        self, entry_point_id: str, execution_id: str, reason: str = "cancelled by the host"
    ) -> bool:
        """Cancel in any state; True after the commit. False when unknown, or when it has ended.

        Raises RuntimeNotRunning, StreamUnavailable, RuntimeStopped.
        """
        return await cancel(self._running(), entry_point_id, execution_id, reason)

    def get_execution_result(
        self, entry_point_id: str, execution_id: str
    ) -> ExecutionResult | None:
        """The result of an execution that ended, is held or paused, of any process.

        None when it is unknown, unfinished, pruned or of another entry point, and while the
        runtime is stopped. Any thread.
        """
        assembly = self._assembly
        return None if assembly is None else ended_result(assembly, entry_point_id, execution_id)

    def _build(
        self,
        entry_point_id: str,
        input_data: Mapping[str, Any] | None,
        correlation_id: str | None,
        session_state: object,
        options: TriggerOptions,
    ) -> Trigger:
        spec = self._registrations.entry_point(entry_point_id)
        if session_state is not None:
            raise UnsupportedSetting("session_state")
        if options.get("idempotency_key") is None and options.get("execution_id") is None:
            self._running().streams.parts[entry_point_id].gate.check()  # a repeat needs no room
        now = self._clock.now()
        return build_trigger(spec, input_data, now, correlation_id=correlation_id, **options)
