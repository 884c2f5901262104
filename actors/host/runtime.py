"""The facade: one agent, embedded in a host process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.checkpoints import CheckpointCalls
from greenroom.actors.host.lifecycle import Lifecycle
from greenroom.actors.host.people import PeopleCalls
from greenroom.actors.host.records import RecordCalls
from greenroom.actors.host.recovery_report import RecoveryReport
from greenroom.actors.host.registrations import Registrations, check_kind
from greenroom.actors.host.sessions import SessionCalls
from greenroom.actors.host.store_factory import StoreFactory, open_durable_store
from greenroom.actors.host.stream_handle import StreamHandle
from greenroom.actors.host.streams import StreamFailedHandler
from greenroom.actors.host.work import WorkCalls
from greenroom.actors.kernel.clock import SystemClock
from greenroom.actors.nodes.migrator import Migrate
from greenroom.actors.system.event_bus_handle import EventBusHandle, Types
from greenroom.actors.system.outcome_aggregator_handle import OutcomeAggregatorHandle
from greenroom.actors.system.state_manager_handle import StateManagerHandle
from greenroom.actors.system.subscriptions import Handler
from greenroom.actors.triggers.webhook_server import WebhookServer
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.engine.unsupported import refuse_unsupported
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import (
    RuntimeIsRunning,
    RuntimeNotRunning,
    UnsupportedSetting,
)
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import GraphSpec


class AgentRuntime(WorkCalls, PeopleCalls, RecordCalls, SessionCalls, CheckpointCalls):
    """Runs one agent: a graph of nodes with a goal, served through its entry points.

    The constructor validates everything and touches no disk; `start()` opens and locks the store
    at `storage_path` (a folder), resumes unfinished executions and begins to serve. Use it as
    `async with runtime:`. Async nodes run on the loop that `start()` was awaited on, plain ones in
    a pool of daemon threads. Methods are for that loop unless they say otherwise.

    `store_factory` opens the store; tests pass one in memory, or one with failpoints.

    Raises InvalidGraph (with all problems), InvalidConfig, InvalidId, UnsupportedSetting.
    """

    def __init__(
        self,
        graph: GraphSpec,
        goal: Goal,
        storage_path: str | Path,
        llm: None = None,
        tools: None = None,
        tool_executor: None = None,
        config: AgentRuntimeConfig | None = None,
        runtime_log_store: None = None,
        checkpoint_config: CheckpointConfig | None = None,
        *,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        migrate: Migrate | None = None,
        store_factory: StoreFactory = open_durable_store,
    ) -> None:
        later = {
            "llm": llm,
            "tools": tools,
            "tool_executor": tool_executor,
            "runtime_log_store": runtime_log_store,
        }
        for name, value in later.items():
            if value is not None:
                raise UnsupportedSetting(name)
        self._config = AgentRuntimeConfig() if config is None else config
        check_kind("config", self._config, AgentRuntimeConfig)
        check_kind("goal", goal, Goal)
        check_kind("functions", {} if functions is None else functions, Mapping)
        self._registrations = Registrations(graph, goal, functions or {})
        refuse_unsupported(graph, (), checkpoint_config, goal)
        self._checkpoints = checkpoint_config
        self._goal = goal
        self._path = Path(storage_path)
        self._store_factory = store_factory
        self._clock = SystemClock()
        self._bus = EventBusHandle(self._config.max_history, self._clock)
        self._state = StateManagerHandle()
        self._aggregator = OutcomeAggregatorHandle(goal)
        self._assembly: Assembly | None = None
        self._lifecycle = Lifecycle()
        self._report = RecoveryReport()
        self._on_stream_failed: list[StreamFailedHandler] = []
        self.intro_message = ""
        if migrate is not None:
            self._registrations.add_migration(migrate)
        for spec in graph.async_entry_points:
            self._registrations.add_entry_point(spec)

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<AgentRuntime {self.graph.id!r} at {str(self._path)!r}, {state}>"

    # --- before the start

    def register_entry_point(self, spec: EntryPointSpec) -> None:
        """Add a way in.

        Raises RuntimeIsRunning, EntryPointExists, NodeNotFound, UnsupportedSetting.
        """
        self._refuse_running("register entry points")
        self._registrations.add_entry_point(spec)

    def unregister_entry_point(self, entry_point_id: str) -> bool:
        """Remove a way in; False when it is unknown. Raises RuntimeIsRunning.

        Its unfinished executions are held at the next start.
        """
        self._refuse_running("unregister entry points")
        return self._registrations.entry_points.pop(entry_point_id, None) is not None

    def register_function(self, name: str, function: Callable[..., Any]) -> None:
        """Bind the name that function nodes (and `update`) use to a callable, sync or async.

        Raises RuntimeIsRunning, InvalidId, InvalidInput.
        """
        self._refuse_running("register functions")
        self._registrations.functions.register(name, function)

    def register_migration(self, function: Migrate) -> None:
        """Have sessions that do not fit the graph made to fit by a function, sync or async, which
        gets an OutdatedSession and returns a Migration, or None to leave it held.

        It is asked at the start about what is unfinished, and on `resume` about what stands still;
        it runs where nodes run. Raises RuntimeIsRunning, InvalidInput.
        """
        self._refuse_running("register a migration")
        self._registrations.add_migration(function)

    def on_stream_failed(self, handler: StreamFailedHandler) -> None:
        """Call `handler(entry_point_id, error)` on the nodes' loop when a stream is given up."""
        self._on_stream_failed.append(handler)

    def _refuse_running(self, what: str) -> None:
        if self._assembly is not None or self._lifecycle.changing:
            raise RuntimeIsRunning(f"Cannot {what} while runtime is running")

    # --- life

    async def start(self) -> None:
        """Open the store, resume what is unfinished, serve. Does nothing when running.

        Concurrent calls start once. A start that fails half-way leaves nothing behind. Raises
        FunctionNotFound, InvalidGraph, InvalidConfig, StoreInUse, StoreTooNew, StoreCorrupt,
        PortInUse.
        """
        await self._lifecycle.change(self._start)

    async def stop(self) -> None:
        """Let nodes in flight finish (`shutdown_timeout_s`), make all durable, release the store.

        Unfinished executions keep their status and resume at the next start. Safe at any time.
        """
        await self._lifecycle.change(self._stop)

    async def _start(self) -> None:
        if self._assembly is not None:
            return
        self._registrations.check_complete()
        assembly = Assembly(
            path=self._path,
            goal=self._goal,
            config=self._config,
            registrations=self._registrations,
            bus=self._bus,
            state=self._state,
            aggregator=self._aggregator,
            on_stream_failed=self._on_stream_failed,
            store_factory=self._store_factory,
            checkpoints=self._checkpoints,
        )
        await assembly.open()
        self._report = assembly.report
        self._assembly = assembly

    async def _stop(self) -> None:
        assembly = self._assembly
        if assembly is None:
            return
        self._assembly = None
        await assembly.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- work

    async def restart_stream(self, entry_point_id: str) -> bool:
        """Bring a stream back that was given up; True once it serves, False when it is not down.

        Raises RuntimeNotRunning, EntryPointNotFound, StreamUnavailable when it fails again.
        """
        streams = self._running().streams
        self._registrations.entry_point(entry_point_id)
        return await streams.restart(entry_point_id)

    # --- what there is

    def get_entry_points(self) -> list[EntryPointSpec]:
        """The registered entry points, in order of registration. Any thread."""
        return list(self._registrations.entry_points.values())

    def get_stream(self, entry_point_id: str) -> StreamHandle | None:
        """A handle of the entry point's stream; None when unknown, or not running. Any thread."""
        streams = None if self._assembly is None else self._assembly.streams
        if streams is None or entry_point_id not in streams.refs:
            return None
        return StreamHandle(self, streams.parts[entry_point_id], streams.refs[entry_point_id])

    async def get_goal_progress(self) -> dict[str, Any]:
        """How far the goal is reached, from everything that the store has seen."""
        return await self._aggregator.evaluate_goal_progress()

    def subscribe_to_events(
        self,
        event_types: Types,
        handler: Handler,
        filter_stream: str | None = None,
        filter_node: str | None = None,
        filter_execution: str | None = None,
    ) -> str:
        """Call `handler(event)` where nodes run, in order; returns "sub_N". Also before start."""
        return self._bus.subscribe(
            event_types, handler, filter_stream, filter_node, filter_execution
        )

    def unsubscribe_from_events(self, subscription_id: str) -> bool:
        """End a subscription; False when it is unknown."""
        return self._bus.unsubscribe(subscription_id)

    def get_stats(self) -> dict[str, Any]:
        """Numbers of everything. Any thread; answers from snapshots."""
        assembly = self._assembly
        handles = [self.get_stream(spec.id) for spec in self.get_entry_points()]
        return {
            "running": self.is_running,
            "entry_points": len(handles),
            "streams": {one.stream_id: one.get_stats() for one in handles if one is not None},
            "goal_id": self._goal.id,
            "outcome_aggregator": self._aggregator.get_stats(),
            "event_bus": self._bus.get_stats(),
            "state_manager": self._state.get_stats(),
            "store": None if assembly is None else assembly.store.dropped._asdict(),
        }

    @property
    def is_running(self) -> bool:
        """True between a start and a stop."""
        return self._assembly is not None

    @property
    def recovery(self) -> RecoveryReport:
        """What the latest start found unfinished in the store."""
        return self._report

    @property
    def goal(self) -> Goal:
        """The agent's goal."""
        return self._goal

    @property
    def graph(self) -> GraphSpec:
        """The agent's graph, as it was given."""
        return self._registrations.graph

    @property
    def event_bus(self) -> EventBusHandle:
        """The event bus: subscribe, publish, wait, look back."""
        return self._bus

    @property
    def state_manager(self) -> StateManagerHandle:
        """Shared state, for hosts."""
        return self._state

    @property
    def outcome_aggregator(self) -> OutcomeAggregatorHandle:
        """Goal progress and its numbers."""
        return self._aggregator

    @property
    def webhook_server(self) -> WebhookServer | None:
        """The webhook server; None unless the runtime runs with routes."""
        return None if self._assembly is None else self._assembly.webhooks

    def _running(self) -> Assembly:
        if self._assembly is None:
            raise RuntimeNotRunning(
                "AgentRuntime is not running: await runtime.start(), or use `async with runtime:`"
            )
        return self._assembly
