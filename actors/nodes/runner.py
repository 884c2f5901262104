"""Runs the nodes of streams where users' code runs."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.nodes.buffer import StepBuffer
from greenroom.actors.nodes.context import NodeContext, TurnGate
from greenroom.actors.nodes.functions import CONTEXT_PARAMETER, FunctionRegistry, NodePlan
from greenroom.actors.nodes.host import NO_THREAD, NodesHost
from greenroom.actors.nodes.results import ResultGatherer, reapply, tell
from greenroom.actors.nodes.runs import NodeRun, Running, StreamBinding, failure_of
from greenroom.protocol.commit import StateKey
from greenroom.protocol.errors import InvalidInput, NodeFailed, NodeNotFound
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.isolation import IsolationLevel
from greenroom.protocol.stream_messages import NodeResult
from greenroom.protocol.values import decode_value
from greenroom.storage.store import Store

__all__ = ["NodeRun", "NodeRunner", "StreamBinding"]

# A task cancelled by someone else: either its loop is being closed, then this never comes and the
# node stays unfinished for the next start, or the node cancelled itself, which is its failure.
_FOREIGN_CANCEL_S: Final = 1.0


class NodeRunner:
    """Runs nodes for every stream of one runtime.

    `submit`, `flush`, `cancel`, `cancel_binding` and `reapply` belong to the runtime's loop thread:
    they never block and raise nothing of a node's. Everything else happens on the nodes' loop and
    in its pool. Each run that is not cancelled ends in one NodeResult, told to the stream's control
    lane together with the others that ended in the same turn of the loop.
    """

    def __init__(
        self,
        host: NodesHost,
        functions: FunctionRegistry,
        nodes: Mapping[str, NodeSpec],
        store: Store,
        clock: Clock,
        *,
        turns: TurnGate | None = None,
        goal: Any = None,
    ) -> None:
        self._host = host
        self._functions = functions
        self._nodes = nodes
        self._store = store
        self._clock = clock
        self._turns = turns
        self._goal = goal
        self._plans: dict[str, NodePlan] = {}
        self._submitted: list[tuple[StreamBinding, NodeRun]] = []
        self._running: dict[tuple[str, int], Running] = {}
        self._results = ResultGatherer(host)

    @property
    def in_flight(self) -> int:
        """How many node runs have started and not ended; from any thread."""
        return len(self._running)

    # --- on the runtime's loop thread

    def submit(self, binding: StreamBinding, run: NodeRun) -> None:
        """Start the run with the next `flush`."""
        self._submitted.append((binding, run))

    def flush(self) -> None:
        """Hand over everything submitted, with one wake-up of the nodes' loop."""
        if self._submitted:
            batch, self._submitted = self._submitted, []
            self._host.call_soon(partial(self._start_all, batch))

    def cancel(self, execution_id: str, token_id: int) -> None:
        """Stop a node run; it reports nothing. A plain function goes on, unheeded."""
        self.flush()
        self._host.call_soon(partial(self._cancel, (execution_id, token_id)))

    def cancel_binding(self, binding: StreamBinding) -> None:
        """Stop every node run of a stream's instance."""
        self.flush()
        self._host.call_soon(partial(self._cancel_binding, binding))

    def reapply(self, binding: StreamBinding, result: NodeResult) -> None:
        """Make the updates of a closing step again on the newest values.

        The stream is told UpdatesReapplied with the reads and writes for the step's commit.
        """
        self.flush()
        self._host.call_soon(
            lambda: tell(binding, reapply(self._store, self._functions, binding, result))
        )

    # --- on the nodes' loop: starting

    def _start_all(self, batch: list[tuple[StreamBinding, NodeRun]]) -> None:
        for binding, run in batch:
            self._start(binding, run)

    def _start(self, binding: StreamBinding, run: NodeRun) -> None:
        key = (run.execution_id, run.token_id)
        if key in self._running:
            self._cancel(key)  # an earlier attempt: its end would be refused
        try:
            plan = self._plans.get(run.node) or self._plan(run.node)
        except InvalidInput as error:
            self._results.add(binding, failure_of(run, error))
            return
        one = Running(binding, run, plan, self._clock.monotonic())
        self._running[key] = one
        try:
            gate = self._gate(one)
            if gate is not None and self._must_wait(one, gate):
                one.task = self._host.spawn(self._run_after_wait(one, gate))
                return
            keywords = self._keywords(one)
        except Exception as error:  # noqa: BLE001  the border of the node: becomes its failure
            self._fail(one, error)
            return
        self._call(one, keywords)

    def _call(self, one: Running, keywords: dict[str, Any]) -> None:
        plan = one.plan
        if plan.is_async:
            one.task = self._host.spawn(self._run_async(one, keywords))
        elif plan.inline:
            self._run_inline(one, keywords)
        else:
            # Others may wait in the pool for the turns that this run holds.
            one.call = self._host.pool.submit(
                partial(self._run_in_pool, one, keywords), urgent=one.run.holds_turns
            )
            if one.call is None:
                self._fail(one, NodeFailed(NO_THREAD))

    def _plan(self, name: str) -> NodePlan:
        node = self._nodes.get(name)
        if node is None:
            raise NodeNotFound(f"node {name!r} is not in the graph")
        function = self._functions.get(node.function_name)
        plan = self._plans[name] = NodePlan(node, function)
        return plan

    def _gate(self, one: Running) -> TurnGate | None:
        synchronized = one.binding.isolation is IsolationLevel.SYNCHRONIZED
        return self._turns if synchronized and not one.run.holds_turns else None

    def _contended(self, one: Running, gate: TurnGate) -> list[StateKey]:
        memory, stream_id = one.run.memory, one.binding.stream_id
        keys = [
            shared
            for key, _ in one.plan.inputs
            if key not in memory
            for shared in (StateKey("stream", stream_id, key), StateKey("global", "", key))
        ]
        return [key for key in keys if gate.taken(key, one.run.holder)]

    def _must_wait(self, one: Running, gate: TurnGate) -> bool:
        return bool(self._contended(one, gate))

    async def _run_after_wait(self, one: Running, gate: TurnGate) -> None:
        try:
            for key in self._contended(one, gate):
                await gate.when_free(key, one.run.holder)
            keywords = self._keywords(one)
        except asyncio.CancelledError as error:
            self._cancelled(one, error)
            return
        except Exception as error:  # noqa: BLE001  the border of the node: becomes its failure
            self._fail(one, error)
            return
        if one.over:
            return
        if one.plan.is_async:
            await self._run_async(one, keywords)
        else:
            self._call(one, keywords)

    def _keywords(self, one: Running) -> dict[str, Any]:
        """Decode the node's inputs. Raises InvalidInput when one that must be there is not."""
        plan, run = one.plan, one.run
        keywords: dict[str, Any] = {}
        memory = run.memory
        shared: dict[str, msgspec.Raw] | None = None
        for key, required in plan.inputs:
            raw = memory.get(key)
            if raw is None:
                if shared is None:
                    lacking = [name for name, _ in plan.inputs if name not in memory]
                    shared = self._buffer(one).inputs(lacking)
                raw = shared.get(key)
                if raw is None:
                    if required:
                        raise InvalidInput(
                            f"input {key!r} of node {plan.node.id!r} is not in memory: give it in "
                            "the trigger's input, write it in an earlier node, or give the "
                            "parameter a default"
                        )
                    continue
            keywords[key] = decode_value(raw)
        if plan.takes_context:
            keywords[CONTEXT_PARAMETER] = self._context(one)
        return keywords

    def _buffer(self, one: Running) -> StepBuffer:
        if one.buffer is None:
            binding = one.binding
            one.buffer = StepBuffer(
                self._store,
                self._functions,
                binding.isolation,
                binding.stream_id,
                one.plan.node,
                one.run.memory,
            )
        return one.buffer

    def _context(self, one: Running) -> NodeContext:
        return NodeContext(
            run=one.run,
            binding=one.binding,
            goal=self._goal,
            buffer=self._buffer(one),
            gate=self._gate(one),
            host=self._host,
            functions=self._functions,
            clock=self._clock,
        )

    # --- running

    async def _run_async(self, one: Running, keywords: dict[str, Any]) -> None:
        try:
            value = await one.plan.call(**keywords)
            self._end(one, one.success(value, self._clock.monotonic()))
        except asyncio.CancelledError as error:
            self._cancelled(one, error)
        except GeneratorExit:
            raise  # the loop is closed: the node stays unfinished and runs again at the next start
        except BaseException as error:  # noqa: BLE001  the border of the node: becomes its failure
            self._fail(one, error)

    def _run_inline(self, one: Running, keywords: dict[str, Any]) -> None:
        try:
            value = one.plan.call(**keywords)
            if hasattr(value, "__await__"):
                one.task = self._host.spawn(self._run_awaitable(one, value))
                return
            result = one.success(value, self._clock.monotonic())
        except BaseException as error:  # noqa: BLE001  the border of the node: becomes its failure
            result = one.failure(error, self._clock.monotonic())
        self._end(one, result)

    def _run_in_pool(self, one: Running, keywords: dict[str, Any]) -> None:
        try:
            value = one.plan.call(**keywords)
            if hasattr(value, "__await__"):
                self._host.call_soon(partial(self._spawn_awaitable, one, value))
                return
            result = one.success(value, self._clock.monotonic())
        except BaseException as error:  # noqa: BLE001  the border of the node: becomes its failure
            result = one.failure(error, self._clock.monotonic())
        self._host.call_soon(partial(self._end, one, result))

    def _spawn_awaitable(self, one: Running, awaitable: Any) -> None:
        if not one.over:
            one.task = self._host.spawn(self._run_awaitable(one, awaitable))

    async def _run_awaitable(self, one: Running, awaitable: Any) -> None:
        try:
            self._end(one, one.success(await awaitable, self._clock.monotonic()))
        except asyncio.CancelledError as error:
            self._cancelled(one, error)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  the border of the node: becomes its failure
            self._fail(one, error)

    # --- ending

    def _fail(self, one: Running, error: BaseException) -> None:
        self._end(one, one.failure(error, self._clock.monotonic()))

    def _end(self, one: Running, result: NodeResult) -> None:
        if one.over:
            return
        self._close(one)
        self._results.add(one.binding, result)

    def _close(self, one: Running) -> None:
        one.over = True
        key = (one.run.execution_id, one.run.token_id)
        if self._running.get(key) is one:
            del self._running[key]

    def _cancelled(self, one: Running, error: BaseException) -> None:
        if one.over:
            return
        task = one.task or asyncio.current_task()
        if task is not None and task.cancelling():
            self._host.loop.call_later(_FOREIGN_CANCEL_S, self._fail, one, error)
        else:
            self._fail(one, error)

    def _cancel(self, key: tuple[str, int]) -> None:
        one = self._running.get(key)
        if one is None:
            return
        self._close(one)
        if one.task is not None:
            one.task.cancel()
        if one.call is not None:
            self._host.abandon(one.call)

    def _cancel_binding(self, binding: StreamBinding) -> None:
        for key in [key for key, one in self._running.items() if one.binding is binding]:
            self._cancel(key)
        binding.results.clear()
