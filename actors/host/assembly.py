"""One running runtime: everything that is built at start, in order, and taken down in reverse.

A start that fails half-way takes down what it had built; nothing is left open or locked.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from greenroom.actors.host.completion_board import CompletionBoard
from greenroom.actors.host.event_consumers import event_driven, forget_others
from greenroom.actors.host.orphans import hold_orphans
from greenroom.actors.host.recovery_report import RecoveryReport
from greenroom.actors.host.registrations import Registrations
from greenroom.actors.host.retention import store_options, tidy_s
from greenroom.actors.host.stall_watch import StallWatch
from greenroom.actors.host.store_factory import StoreFactory
from greenroom.actors.host.streams import StreamFailedHandler, Streams
from greenroom.actors.host.webhook_sink import RuntimeWebhookSink
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.watchdog import Watchdog
from greenroom.actors.nodes.host import NodesHost
from greenroom.actors.nodes.migrator import Migrator
from greenroom.actors.nodes.runner import NodeRunner
from greenroom.actors.stream.admission_gate import AdmissionGate
from greenroom.actors.stream.parts import StreamParts
from greenroom.actors.stream.permits import PermitPool
from greenroom.actors.stream.versions import Versions
from greenroom.actors.system.criteria_calls import CriteriaCalls
from greenroom.actors.system.event_bus import EventBus
from greenroom.actors.system.event_bus_handle import EventBusHandle
from greenroom.actors.system.event_interest import EventInterest
from greenroom.actors.system.fences import note_plan
from greenroom.actors.system.outcome_aggregator import OutcomeAggregator
from greenroom.actors.system.outcome_aggregator_handle import OutcomeAggregatorHandle
from greenroom.actors.system.state_manager import StateManager
from greenroom.actors.system.state_manager_handle import StateManagerHandle
from greenroom.actors.system.store_writer import StoreWriter, WriterSlot
from greenroom.actors.triggers.event_driven import EventDrivenTrigger
from greenroom.actors.triggers.webhook_server import WebhookServer
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.commit import CommitOutcome
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.engine.versions import describe
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import (
    EntryPointNotFound,
    RuntimeStopped,
    SupervisionFailed,
)
from greenroom.protocol.execution import SETTLED, ExecutionState
from greenroom.protocol.goal import Goal
from greenroom.protocol.messages import WriterMessage
from greenroom.protocol.stream_messages import Trigger
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.host")

START_S: Final = 15.0
"""The longest wait for the first start of one of the system's own actors."""

RESTARTS_MAX: Final = 10
RESTART_WINDOW_S: Final = 10.0
"""Nobody can work without the system's actors, so they are given up later than a stream is."""

STOP_MARGIN_S: Final = 5.0


class Assembly:
    """The parts of a started runtime. Built and taken down on the host's loop."""

    system: ActorSystem
    store: Store
    writer: ActorRef[WriterMessage]
    streams: Streams

    def __init__(
        self,
        *,
        path: Path,
        goal: Goal,
        config: AgentRuntimeConfig,
        registrations: Registrations,
        bus: EventBusHandle,
        state: StateManagerHandle,
        aggregator: OutcomeAggregatorHandle,
        on_stream_failed: Sequence[StreamFailedHandler],
        store_factory: StoreFactory,
        checkpoints: CheckpointConfig | None = None,
    ) -> None:
        self._path = path
        self._goal = goal
        self._config = config
        self.plan = registrations.plan
        self._graph = registrations.graph
        self._functions = registrations.functions
        self._migration = registrations.migration
        self._entry_points = dict(registrations.entry_points)
        self._bus = bus
        self._state = state
        self._aggregator = aggregator
        self._on_stream_failed = on_stream_failed
        self._store_factory = store_factory
        self._checkpoints = checkpoints
        self._stack = AsyncExitStack()
        self._orphans: dict[str, str] = {}
        self.interest = EventInterest()
        self._writer_slot = WriterSlot()
        self.board = CompletionBoard(self.ended_state)
        self.webhooks: WebhookServer | None = None
        self.report = RecoveryReport()

    async def open(self) -> None:
        """Build everything. Raises whatever kept it from starting, with nothing left behind."""
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open(self) -> None:
        self.nodes = NodesHost(uvloop=self._config.uvloop)
        self.nodes.start()
        self._stack.callback(self.nodes.stop)
        watchdog = Watchdog(self.nodes)
        watchdog.start()
        self._stack.callback(watchdog.stop)
        options = store_options(self._config)
        self.store = await self.nodes.in_pool(partial(self._store_factory, self._path, options))
        self._stack.callback(self.store.close)
        root = SupervisorSpec(
            "root", on_intensity="give_up", restarts_max=RESTARTS_MAX, window_s=RESTART_WINDOW_S
        )
        self.system = ActorSystem(uvloop=self._config.uvloop, root=root)
        self.system.start()
        self._stack.push_async_callback(self._stop_system)
        await self._start_system_actors()
        await note_plan(self.writer, describe(self.plan, self._graph.version))
        now = self.system.clock.now()
        self._orphans = await hold_orphans(
            self.store, self.writer, self._entry_points, self.plan, now
        )
        webhooks = self._open_webhooks()
        await self._start_streams()
        await self._start_consumers()
        await self._start_webhooks(webhooks)

    async def _start_system_actors(self) -> None:
        self.writer = await self._spawn(
            "store_writer",
            StoreWriter,
            self.store,
            self.interest,
            self._writer_slot,
            tidy_s(self._config),
        )
        self._bus.open(self.store, self.nodes)
        self._stack.callback(self._bus.close)
        bus = await self._spawn(
            "event_bus", EventBus, self._bus.subscriptions, self.store, self.interest, self.nodes
        )
        self._bus.attach(bus, self.writer)
        self.state_manager = await self._spawn(
            "state_manager", StateManager, self.writer, self._state.turns
        )
        self._state.attach(self.store, self.writer, self.state_manager, self._entry_points)
        self._stack.callback(self._state.detach)

    async def _spawn(self, name: str, kind: Callable[..., Any], *arguments: Any) -> ActorRef[Any]:
        ref = self.system.spawn(ChildSpec(name, partial(kind, *arguments)))
        try:
            async with asyncio.timeout(START_S):
                await ref.ready()
        except TimeoutError:
            raise SupervisionFailed(
                f"{name} did not start within {START_S:g} s: the log of 'greenroom' says why"
            ) from None
        return ref

    async def _start_streams(self) -> None:
        permits = PermitPool(self._config.max_concurrent_executions)
        runner = NodeRunner(
            self.nodes,
            self._functions,
            {node.id: node.spec for node in self.plan.nodes.values()},
            self.store,
            self.system.clock,
            turns=self._state.turns,
            goal=self._goal,
        )
        versions = Versions(
            self.store, self.plan, self._graph.version, self.knows_function, self._migrator()
        )
        self.streams = Streams(self.system, self.nodes, self.board, self._on_stream_failed)
        self._stack.push_async_callback(self._stop_streams)

        def make(spec: EntryPointSpec, gate: AdmissionGate) -> StreamParts:
            return StreamParts(
                entry_point=spec,
                plan=self.plan,
                goal_id=self._goal.id,
                store=self.store,
                writer=self.writer,
                state_manager=self.state_manager,
                turns=self._state.turns,
                runner=runner,
                board=self.board,
                permits=permits,
                gate=gate,
                versions=versions,
                process_death=not self.store.closed_cleanly,
                checkpoints=self._checkpoints,
            )

        await self.streams.start(self._entry_points, make)
        found = self.streams.recovered()
        held = dict(self._orphans)
        for one in found:
            held.update(one.held)
        self.report = RecoveryReport(
            recovered=sum(one.recovered for one in found),
            queued=sum(one.queued for one in found),
            waiting=sum(one.waiting for one in found),
            paused=sum(one.paused for one in found),
            released=sum(one.released for one in found),
            compatible=sum(one.compatible for one in found),
            migrated=sum(one.migrated for one in found),
            held=held,
        )
        gates = [parts.gate for parts in self.streams.parts.values()]
        StallWatch(self.system, self._writer_slot, self.board, gates).start()

    async def _start_consumers(self) -> None:
        """What reads the log: the aggregator, and the entry points that events drive."""
        aggregator = await self._spawn(
            "outcome_aggregator",
            OutcomeAggregator,
            self._goal,
            self.store,
            self.writer,
            self._aggregator,
            CriteriaCalls(self.nodes, self._functions, self._goal, self.store),
        )
        self._aggregator.attach(aggregator, self._bus)
        self._stack.callback(self._aggregator.detach)
        driven = event_driven(self._entry_points.values())
        await forget_others(self.store, self.writer, driven)
        for spec in driven:
            await self._spawn(
                f"events-{spec.id}",
                EventDrivenTrigger,
                spec,
                self.store,
                self.writer,
                self.interest,
                self.streams.submissions[spec.id].submit_when_there_is_room,
            )

    def _open_webhooks(self) -> WebhookServer | None:
        """Take the port before anything runs, so that a taken one starts nothing."""
        if not self._config.routes:
            return None
        for route in self._config.routes:
            if route.entry_point is not None and route.entry_point not in self._entry_points:
                raise EntryPointNotFound(
                    f"webhook route {route.source_id!r} names entry point "
                    f"{route.entry_point!r}, which is not registered"
                )
        sink = RuntimeWebhookSink(self.submit, self.writer, self.system.clock)
        server = WebhookServer(self._config, sink)
        server.open()
        self._stack.callback(server.close)
        return server

    async def _start_webhooks(self, server: WebhookServer | None) -> None:
        if server is None:
            return
        child = server.child_spec()
        self._stack.push_async_callback(self._stop_webhooks, child.id)
        await self.system.spawn(child).ready()
        self.webhooks = server

    async def _stop_webhooks(self, child_id: str) -> None:
        await self.system.root.terminate_child(child_id)

    # --- work

    async def submit(
        self, entry_point: str, trigger: Trigger, block_s_max: float | None = None
    ) -> CommitOutcome:
        """Send a trigger to its stream and wait for its commit; see Submission."""
        return await self.streams.submissions[entry_point].submit(trigger, block_s_max)

    def _migrator(self) -> Migrator | None:
        return None if self._migration is None else Migrator(self.nodes, self._migration)

    def knows_function(self, name: str) -> bool:
        """True when a function is registered under that name."""
        return name in self._functions

    def knows(self, execution_id: str) -> bool:
        """True when the store has an execution of that id."""
        return self.store.read(lambda reader: reader.execution(execution_id)) is not None

    def ended_state(self, execution_id: str) -> ExecutionState | None:
        """The state of an execution that ended, is held or paused, None for any other."""

        def load(reader: Reader) -> ExecutionState | None:
            found = reader.execution(execution_id)
            if found is None:
                return None
            if found.summary.status not in SETTLED:
                return None
            return reader.load_state(found.ordinal)

        return self.store.read(load)

    # --- down

    async def close(self) -> None:
        """Let nodes in flight finish within the deadline, make everything durable, take it down."""
        self.streams.release_blocked()
        await self.streams.drain(self._config.shutdown_timeout_s)
        self.board.close(RuntimeStopped)
        await self._stack.aclose()

    async def _stop_streams(self) -> None:
        await self.streams.stop()

    async def _stop_system(self) -> None:
        """The writer is stopped last, and commits first what is in its mailbox."""
        await self.system.stop_async(self._config.shutdown_timeout_s + STOP_MARGIN_S)
