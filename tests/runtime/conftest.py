"""Small agents in real runtimes over real stores; every store is checked after its test."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host.create import create_agent_runtime
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.live import Live
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.commit import OutcomeKind
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Accepted, ExecutionState, Phase, Status, Token
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import ParallelExecutionConfig
from greenroom.protocol.patch import Cause, Patch
from greenroom.storage.check import check, verify_pages
from greenroom.storage.lmdb_store import open_reader, open_store
from greenroom.storage.reader import Reader

RUNNING = Phase.RUNNING


class Lab:
    """Makes runtimes over stores in one temporary folder, and remembers the stores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores: set[Path] = set()

    def runtime(
        self,
        functions: Mapping[str, Callable[..., Any]],
        nodes: Iterable[NodeSpec] = (),
        edges: Iterable[EdgeSpec] = (),
        entry_points: Iterable[EntryPointSpec] = (),
        *,
        store: str = "store",
        max_steps: int = 100,
        terminal: Iterable[str] = (),
        pauses: Iterable[str] = (),
        goal: Goal | None = None,
        checkpoint_config: CheckpointConfig | None = None,
        migrate: Callable[..., Any] | None = None,
        **settings: Any,
    ) -> AgentRuntime:
        """A runtime that is not started.

        Without `nodes` there is one for each function; without `entry_points` there is "main",
        which enters the first node.
        """
        declared = list(nodes) or [NodeSpec(id=name, max_retries=1) for name in functions]
        points = list(entry_points) or [EntryPointSpec(id="main", entry_node=declared[0].id)]
        graph = GraphSpec(
            id="graph",
            entry_node=declared[0].id,
            nodes=declared,
            edges=list(edges),
            terminal_nodes=list(terminal),
            pause_nodes=list(pauses),
            max_steps=max_steps,
        )
        path = self.folder / store
        self.stores.add(path)
        return create_agent_runtime(
            graph,
            Goal(id="goal") if goal is None else goal,
            path,
            points,
            config=AgentRuntimeConfig(**settings),
            checkpoint_config=checkpoint_config,
            migrate=migrate,
            functions=functions,
        )

    def look(
        self, execution_id: str, store: str = "store", seq: int | None = None
    ) -> ExecutionState:
        """An execution as a store holds it that no runtime has open, now or at one of its
        records.
        """

        def load(reader: Reader) -> ExecutionState:
            found = reader.execution(execution_id)
            assert found is not None
            return reader.load_state(found.ordinal, seq)

        opened = open_reader(self.folder / store)
        try:
            return opened.read(load)
        finally:
            opened.close()

    def plant(
        self,
        *nodes: str,
        isolation: str = "shared",
        store: str = "store",
        in_branches: bool = False,
    ) -> None:
        """Put an execution "planted" of "main" into a store, with all these nodes in flight: the
        start finds it and takes it up. The tokens in branches have negative ids.
        """
        tokens = {
            -number if in_branches else number: Token(
                node=node, visit=nodes[:number].count(node), attempt=1, phase=RUNNING
            )
            for number, node in enumerate(nodes, start=1)
        }
        accepted = Accepted(
            execution_id="planted",
            entry_point="main",
            entry_node=nodes[0],
            graph_id="graph",
            goal_id="goal",
            correlation_id="planted",
            accepted_at=1.0,
            isolation=isolation,
        )
        patch = Patch(
            accepted=accepted,
            status=Status.RUNNING,
            tokens=dict(tokens),
            steps=len(nodes),
            visits={node: nodes.count(node) for node in nodes},
            path=nodes,
            started_at=1.0,
        )
        opened = open_store(self.folder / store)
        maker = CommitMaker("main", opened.raise_fence("main"), b"digest", opened)
        transition = Transition(patch, Cause(tick="accept"), (), ())
        commit = maker.step(1, Live("planted"), transition, 1.0)
        (outcome,) = opened.commit([commit], 1.0)
        opened.close()
        assert outcome.kind is OutcomeKind.APPLIED, outcome

    def check_stores(self) -> None:
        """Every store agrees with itself."""
        for path in self.stores:
            if (path / "data.mdb").exists():
                assert check(path) == []
                assert verify_pages(path) == []


class Gate:
    """Async nodes that wait in here tell that they came, and go on when they are let go."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.entered: asyncio.Queue[Any] = asyncio.Queue()
        self._open = asyncio.Event()
        self._tokens = asyncio.Semaphore(0)

    async def wait(self, who: Any = None) -> None:
        """Called by the node."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.put_nowait(who)
        try:
            if not self._open.is_set():
                await self._tokens.acquire()
        finally:
            self.inside -= 1

    async def came(self, count: int = 1) -> list[Any]:
        """Wait until so many more are inside."""
        async with asyncio.timeout(20):
            return [await self.entered.get() for _ in range(count)]

    def let_go(self, count: int = 1) -> None:
        """Let some of those inside go on."""
        for _ in range(count):
            self._tokens.release()

    def open(self) -> None:
        """Let everybody through, also who comes later."""
        self._open.set()
        self.let_go(10_000)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Makes runtimes; their stores are checked in the end."""
    made = Lab(tmp_path)
    yield made
    made.check_stores()


@pytest.fixture
def new_gate() -> type[Gate]:
    """Makes gates; call it on the test's loop."""
    return Gate


@pytest.fixture
def until() -> Any:
    """`await until(runtime, execution, status)` waits until the execution has that status."""

    async def until(runtime: Any, execution: str, status: Status) -> None:
        """Wait for a status."""
        moved = asyncio.Event()
        heard = runtime.subscribe_to_events(
            list(EventType), lambda event: moved.set(), filter_execution=execution
        )
        async with asyncio.timeout(20):
            while runtime.get_session(execution).status is not status:
                await moved.wait()
                moved.clear()
        runtime.unsubscribe_from_events(heard)

    return until


@pytest.fixture
def until_at() -> Any:
    """`await until_at(runtime, execution, nodes)` waits until an execution stands at these nodes,
    in any order.
    """

    async def until_at(runtime: Any, execution: str, nodes: list[str]) -> None:
        """Wait for its tokens."""
        moved = asyncio.Event()
        heard = runtime.subscribe_to_events(
            list(EventType), lambda event: moved.set(), filter_execution=execution
        )
        async with asyncio.timeout(20):
            while sorted(runtime.get_session(execution).current_nodes) != sorted(nodes):
                await moved.wait()
                moved.clear()
        runtime.unsubscribe_from_events(heard)

    return until_at


@pytest.fixture
def fan_out(lab: Lab) -> Any:
    """`fan_out(functions, "a-b a-c", parallel={...}, specs=[...], entry={...}, ...)` gives a
    runtime of these nodes and edges, which are taken after a success. It enters the first node,
    whose fan-out has what `parallel` says; a node that is not in `specs` has one attempt.
    """

    def make(
        functions: Mapping[str, Callable[..., Any]],
        ways: str,
        *,
        parallel: Mapping[str, Any] | None = None,
        specs: Iterable[NodeSpec] = (),
        entry: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AgentRuntime:
        config = ParallelExecutionConfig(**(parallel or {}))
        first = next(iter(functions))
        own = {first: NodeSpec(id=first, max_retries=1, parallel=config)}
        own |= {spec.id: spec for spec in specs}
        nodes = [own.get(name, NodeSpec(id=name, max_retries=1)) for name in functions]
        edges = []
        for way in ways.split():
            source, target = way.split("-")
            edges.append(EdgeSpec(id=way, source=source, target=target, condition="on_success"))
        points = [EntryPointSpec(id="main", entry_node=first, **(entry or {}))]
        return lab.runtime(functions, nodes, edges, points, **more)

    return make
