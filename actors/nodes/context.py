"""What a node's function may use besides its inputs: the `NodeContext`."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.kernel.future import Future
from greenroom.actors.nodes.buffer import StepBuffer
from greenroom.actors.nodes.effect_calls import EffectCalls
from greenroom.actors.nodes.effects import EffectPerformer
from greenroom.actors.nodes.functions import FunctionRegistry
from greenroom.actors.nodes.host import NodesHost
from greenroom.actors.nodes.question_calls import QuestionCalls
from greenroom.actors.nodes.runs import NodeRun, StreamBinding
from greenroom.actors.nodes.sleeping import wake_after, wake_at
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import StateKey
from greenroom.protocol.decisions import (
    DecisionType,
    OptionLike,
    Severity,
    encode_decision,
    encode_problem,
)
from greenroom.protocol.errors import InvalidInput, InvalidValue, StateAccessError
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.isolation import StateScope
from greenroom.protocol.limits import EVENT_DATA_BYTES_MAX
from greenroom.protocol.turns import Holder
from greenroom.protocol.values import encode_value

logger = logging.getLogger("greenroom.node")


class TurnGate(Protocol):
    """Says whose turn a contended key is, and waits for the end of it; from any thread."""

    def taken(self, key: StateKey, holder: Holder) -> bool:
        """Say whether anybody but `holder` holds the turn of the key, or of its scope."""
        ...

    def when_free(self, key: StateKey, holder: Holder) -> Future[bool]:
        """Return a future: True once nobody else holds or awaits the key's turn, False if that
        took too long."""
        ...


class NodeContext(EffectCalls, QuestionCalls):
    """One run of one node: who it is, the state it may use, and the events it publishes.

    Writes, updates and events are buffered and become visible all together when the node's step
    closes; a failed, cancelled or repeated attempt leaves nothing behind. Reads see the node's own
    writes over what is committed. A missing key reads as `default`.

    The async methods are for async functions. Plain functions use those ending in `_sync`, which
    obey the same rules; on the nodes' event loop (an `inline` node) they raise StateAccessError
    where they would have to wait. Not to be used after the function has returned.
    """

    __slots__ = (
        "_binding",
        "_buffer",
        "_clock",
        "_effects",
        "_functions",
        "_gate",
        "_hops",
        "_host",
        "_run",
        "attempt",
        "correlation_id",
        "execution_id",
        "goal",
        "known_as",
        "logger",
        "node_id",
        "rewinds",
        "stream_id",
        "visit",
    )

    def __init__(
        self,
        *,
        run: NodeRun,
        binding: StreamBinding,
        goal: Any,
        buffer: StepBuffer,
        gate: TurnGate | None,
        host: NodesHost,
        functions: FunctionRegistry,
        clock: Clock,
    ) -> None:
        self.execution_id = run.execution_id
        self.node_id = run.node
        self.stream_id = binding.stream_id
        self.correlation_id = run.correlation_id
        self.visit = run.visit
        self.attempt = run.attempt
        self.rewinds = run.rewinds
        self.known_as = run.known_as
        self.goal = goal
        self.logger = logger
        self._hops = run.hops
        self._run = run
        self._binding = binding
        self._effects: EffectPerformer | None = None
        self._buffer = buffer
        self._gate = gate
        self._host = host
        self._functions = functions
        self._clock = clock

    @property
    def entry_point(self) -> str:
        """The entry point that the execution came in by; its stream has the same id."""
        return self.stream_id

    def __repr__(self) -> str:
        return f"NodeContext({self.execution_id!r}, {self.node_id!r}, attempt={self.attempt})"

    # --- for async functions

    async def read(self, key: str, default: Any = None, scope: StateScope | None = None) -> Any:
        """Return a copy of a value; without a scope from execution memory, stream, then global.

        Raises KeyNotAllowed for execution memory that the node does not declare, IsolationError
        for a wider scope under `isolated`.
        """
        await self._wait(self._buffer.shared_keys(key, _scope(scope)))
        return self._buffer.read(key, default, _scope(scope))

    async def read_all(self, scope: StateScope | None = None) -> dict[str, Any]:
        """Return a copy of everything in a scope; without one of all, the narrower winning."""
        scopes = self._buffer.scopes(_scope(scope))
        if not scopes:
            return self._buffer.read_all(_scope(scope))
        await self._wait(scopes)
        return await self._host.in_pool(lambda: self._buffer.read_all(_scope(scope)))

    async def write(self, key: str, value: Any, scope: StateScope = StateScope.EXECUTION) -> None:
        """Set a key when the step closes. In execution scope it becomes an output of the node.

        Raises InvalidValue with the path of what cannot be stored, and as `read`.
        """
        self._buffer.write({key: value}, _given(scope))

    async def write_batch(
        self, values: dict[str, Any], scope: StateScope = StateScope.EXECUTION
    ) -> None:
        """Set several keys; if one of them cannot be set, none is."""
        self._buffer.write(values, _given(scope))

    async def delete(self, key: str, scope: StateScope = StateScope.EXECUTION) -> None:
        """Remove a key when the step closes; in execution memory its value becomes None."""
        self._buffer.delete(key, _given(scope))

    async def update(
        self,
        key: str,
        function: str | Callable[..., Any],
        *arguments: Any,
        scope: StateScope = StateScope.EXECUTION,
    ) -> None:
        """Replace a value by `function(value, *arguments)`, where None stands for no value.

        The function is a registered plain one, given by name or itself, and pure: when another
        step changes the key first it is called again on the newer value, and not the whole node.
        Never loses an update, whatever the isolation level. Returns nothing, because the value is
        only certain once the step has closed.
        """
        given = _given(scope)
        name = self._functions.name_of(function)
        await self._wait(self._buffer.shared_keys(key, given))
        self._buffer.update(key, name, arguments, given)

    async def compare_and_set(
        self,
        key: str,
        expected: Any,
        value: Any,
        scope: StateScope = StateScope.EXECUTION,
    ) -> bool:
        """Set `value` if the present one equals `expected` (None: no value); say whether it did.

        After True the step closes only if the key is as it was seen; else the node runs again.
        """
        given = _given(scope)
        await self._wait(self._buffer.shared_keys(key, given))
        return self._buffer.compare_and_set(key, expected, value, given)

    # --- for plain functions

    def read_sync(self, key: str, default: Any = None, scope: StateScope | None = None) -> Any:
        """As `read`."""
        self._wait_sync(self._buffer.shared_keys(key, _scope(scope)))
        return self._buffer.read(key, default, _scope(scope))

    def read_all_sync(self, scope: StateScope | None = None) -> dict[str, Any]:
        """As `read_all`. On the nodes' event loop only where no shared state has to be scanned."""
        scopes = self._buffer.scopes(_scope(scope))
        if scopes and asyncio._get_running_loop() is not None:
            raise StateAccessError(
                "read_all_sync would block the event loop: use `await ctx.read_all()` in an async "
                "function, or a plain node that is not inline"
            )
        self._wait_sync(scopes)
        return self._buffer.read_all(_scope(scope))

    def write_sync(self, key: str, value: Any, scope: StateScope = StateScope.EXECUTION) -> None:
        """As `write`."""
        self._buffer.write({key: value}, _given(scope))

    def write_batch_sync(
        self, values: dict[str, Any], scope: StateScope = StateScope.EXECUTION
    ) -> None:
        """As `write_batch`."""
        self._buffer.write(values, _given(scope))

    def delete_sync(self, key: str, scope: StateScope = StateScope.EXECUTION) -> None:
        """As `delete`."""
        self._buffer.delete(key, _given(scope))

    def update_sync(
        self,
        key: str,
        function: str | Callable[..., Any],
        *arguments: Any,
        scope: StateScope = StateScope.EXECUTION,
    ) -> None:
        """As `update`."""
        given = _given(scope)
        name = self._functions.name_of(function)
        self._wait_sync(self._buffer.shared_keys(key, given))
        self._buffer.update(key, name, arguments, given)

    def compare_and_set_sync(
        self,
        key: str,
        expected: Any,
        value: Any,
        scope: StateScope = StateScope.EXECUTION,
    ) -> bool:
        """As `compare_and_set`."""
        given = _given(scope)
        self._wait_sync(self._buffer.shared_keys(key, given))
        return self._buffer.compare_and_set(key, expected, value, given)

    # --- for both

    def decide(
        self,
        intent: str,
        options: Iterable[OptionLike] = (),
        chosen: OptionLike | None = None,
        reasoning: str = "",
        *,
        decision_type: DecisionType | str = DecisionType.CUSTOM,
        active_constraints: Iterable[str] = (),
        input_context: Mapping[str, Any] | None = None,
    ) -> str:
        """Note a decision and return its id, which rises within the execution.

        Options are Option, or their ids, or dicts; `chosen` is one of them when there are any.
        Stored when the step closes, dropped when the run fails. Any thread of the node. Raises
        InvalidInput, InvalidValue, ValueTooLarge (64 KiB) and TooManyNotes (100 for each run).
        """
        note_id, number = self._note_id("dec")
        at = self._clock.now()
        raw = encode_decision(
            note_id,
            at,
            intent,
            options,
            chosen,
            reasoning,
            decision_type,
            active_constraints,
            input_context,
        )
        self._buffer.notes.add(number, raw)
        return note_id

    def report_problem(
        self,
        severity: Severity | str,
        description: str,
        *,
        root_cause: str = "",
        decision_id: str = "",
        suggested_fix: str = "",
    ) -> str:
        """Note a problem ("critical", "warning" or "minor") and return its id. Otherwise as
        `decide`.
        """
        note_id, number = self._note_id("prob")
        at = self._clock.now()
        raw = encode_problem(
            note_id, at, severity, description, root_cause, decision_id, suggested_fix
        )
        self._buffer.notes.add(number, raw)
        return note_id

    def _note_id(self, kind: str) -> tuple[str, int]:
        number = self._buffer.notes.number()
        return f"{kind}_{self._run.token_id:07d}.{self.attempt:03d}.{number:03d}", number

    def publish(self, event_type: EventType | str, data: dict[str, Any] | None = None) -> None:
        """Append an event to the log when the step closes; `event_type` is usually "custom".

        Raises InvalidInput for an unknown type, InvalidValue for data that is not a dict of
        storable values, ValueTooLarge over 4 KiB of them: publish a key of state instead.
        """
        try:
            kind = EventType(event_type)
        except ValueError:
            raise InvalidInput(
                f"there is no event type {event_type!a:.80}: use 'custom' and name it in the data"
            ) from None
        raw: msgspec.Raw | None = None
        if data is not None and not isinstance(data, dict):
            raise InvalidValue("$", f"the data of an event is a dict, not a {type(data).__name__}")
        if data:
            raw = msgspec.Raw(encode_value(data, "$", EVENT_DATA_BYTES_MAX))
        body = EventBody(
            type=kind.value,
            at=self._clock.now(),
            stream=self.stream_id,
            execution=self.execution_id,
            node=self.node_id,
            correlation=self.correlation_id,
            data=raw,
            hops=self._hops,
        )
        self._buffer.events.append(msgspec.Raw(encode(body)))

    def sleep(self, seconds: float) -> None:
        """Let the execution go on only so many seconds after this call; see `sleep_until`."""
        self._buffer.sleep_until = wake_after(self._clock.now(), seconds)

    def sleep_until(self, when: datetime) -> None:
        """Let the execution go on only at that time, once this function has returned.

        Not awaited: it ends the step, and nothing waits here. What the function returns is stored,
        its node never runs again, and until the time has come the execution is `waiting` in the
        store alone, also over restarts; a time that passed meanwhile counts at once. Then the
        node's edges are followed. The last call counts. Raises InvalidInput for a time without a
        time zone, and for one further than a hundred years away.
        """
        self._buffer.sleep_until = wake_at(self._clock.now(), when)

    def _performer(self) -> EffectPerformer:
        if self._effects is None:
            self._effects = EffectPerformer(self._run, self._binding, self._host)
        return self._effects

    async def _wait(self, keys: tuple[StateKey, ...]) -> None:
        """Under `synchronized`, unless this step holds turns: let those who hold them finish."""
        gate = self._gate
        if gate is not None:
            for key in keys:
                if gate.taken(key, self._run.holder):
                    await gate.when_free(key, self._run.holder)

    def _wait_sync(self, keys: tuple[StateKey, ...]) -> None:
        gate = self._gate
        if gate is not None:
            for key in keys:
                if gate.taken(key, self._run.holder):
                    if asyncio._get_running_loop() is not None:
                        raise StateAccessError(
                            f"key {key.key!r} is contended and waiting for it would block the "
                            "event loop: make the function async, or plain without inline=True"
                        )
                    gate.when_free(key, self._run.holder).get()


def _scope(scope: StateScope | str | None) -> StateScope | None:
    return None if scope is None else _given(scope)


def _given(scope: StateScope | str) -> StateScope:
    try:
        return StateScope(scope)
    except ValueError:
        choices = ", ".join(StateScope)
        raise InvalidInput(f"scope is {scope!a:.40}: use one of {choices}") from None
