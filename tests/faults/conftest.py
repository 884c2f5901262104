"""A zygote that runs agents in processes of their own, and what they left behind."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.goal import Goal, SuccessCriterion
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.isolation import IsolationLevel, StateScope
from greenroom.protocol.questions import QuestionEnding, question_id
from greenroom.storage.check import check, verify_pages
from greenroom.storage.lmdb_store import open_reader
from greenroom.storage.reader import Reader

CLOSING = ("node_succeeded", "node_errored")


class Zygote:
    """Forks one process per request."""

    def __init__(self, agent: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, request: dict[str, Any]) -> int:
        """Start a process and return its pid; `finish` waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["pid"])

    def finish(self) -> int:
        """The exit status of the process that was begun; a signal is negative."""
        return int(self._answer()["status"])

    def run(self, request: dict[str, Any]) -> int:
        self.begin(request)
        return self.finish()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


class Place:
    """One store with its ledger, and the processes that use it, one after the other."""

    def __init__(self, path: Path, zygote: Zygote) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.store, self.ledger = path / "store", path / "ledger"
        self._path, self._zygote = path, zygote
        self._runs = 0
        self.said_path = path / "said0"

    def request(self, **what: Any) -> dict[str, Any]:
        self._runs += 1
        self.said_path = self._path / f"said{self._runs}"
        return {
            "store": str(self.store),
            "ledger": str(self.ledger),
            "said": str(self.said_path),
            **what,
        }

    def run(self, **what: Any) -> int:
        return self._zygote.run(self.request(**what))

    def begin(self, **what: Any) -> int:
        return self._zygote.begin(self.request(**what))

    def finish(self) -> int:
        return self._zygote.finish()

    def said(self) -> list[dict[str, Any]]:
        """What the last process said."""
        return _lines(self.said_path)

    def heard(self, key: str) -> list[Any]:
        return [one[key] for one in self.said() if key in one]

    def results(self) -> dict[str, dict[str, Any]]:
        """How the executions ended, as the last process said."""
        return {one["execution"]: one for one in self.said() if "execution" in one}

    def entered(self) -> list[dict[str, Any]]:
        """The ledger: every node run of every process, in order."""
        return _lines(self.ledger)

    def problems(self) -> list[str]:
        """What is wrong with the store, which nobody has open."""
        if not self.store.exists():
            return []
        return [*verify_pages(self.store), *check(self.store)]

    def look(self) -> "Found":
        return Found(self.store)

    def endings(self) -> dict[str, QuestionEnding | None]:
        """How the questions in the store stand, by id; None for an open one."""

        def load(reader: Reader) -> dict[str, QuestionEnding | None]:
            found = {}
            for row in reader.executions(limit=100_000):
                name, number = row.summary.execution_id, 1
                while (one := reader.question(name, number)) is not None:
                    found[question_id(name, number)] = one.closing and one.closing.ending
                    number += 1
            return found

        reader = open_reader(self.store)
        try:
            return reader.read(load)
        finally:
            reader.close()


class Found:
    """What a store holds while no runtime has it open."""

    def __init__(self, path: Path) -> None:
        self.status: dict[str, Status] = {}
        self.closed: set[tuple[str, str, int]] = set()
        self.failed_runs: set[tuple[str, str, int, int]] = set()
        self.in_flight: dict[tuple[str, str, int], int] = {}
        self.decisions: dict[tuple[str, str, int], int] = {}  # by closed run
        self.crashes: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        reader = open_reader(path)
        try:
            reader.read(self._load)
        finally:
            reader.close()

    def _load(self, reader: Reader) -> None:
        for one in reader.executions(limit=100_000):
            name = one.summary.execution_id
            self.status[name] = one.summary.status
            for record in reader.journal(one.ordinal, limit=10_000):
                cause = record.cause
                assert cause is not None
                if cause.tick == "node_succeeded":
                    self.closed.add((name, str(cause.node), cause.visit))
                    noted = len(reader.notes_of_record(one.ordinal, record.seq))
                    self.decisions[name, str(cause.node), cause.visit] = noted
                elif cause.tick == "node_errored":
                    self.failed_runs.add((name, str(cause.node), cause.visit, cause.attempt))
            for token in reader.load_state(one.ordinal).tokens.values():
                self.crashes[name] = token.crashes
                self.failures[name] = token.failures
                if token.phase is Phase.RUNNING:
                    self.in_flight[name, token.node, token.visit] = token.attempt


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="session")
def zygotes() -> Iterator[Callable[[str], Zygote]]:
    """Gives the zygote of an agent by the name of its file, which imports what that needs once."""
    made: dict[str, Zygote] = {}

    def zygote(agent: str) -> Zygote:
        if agent not in made:
            made[agent] = Zygote(str(Path(__file__).with_name(agent)))
        return made[agent]

    yield zygote
    for one in made.values():
        one.close()


@pytest.fixture
def zygote(zygotes: Callable[[str], Zygote]) -> Zygote:
    return zygotes("agent.py")


@pytest.fixture
def new_waits_place(tmp_path: Path, zygotes: Callable[[str], Zygote]) -> Any:
    """Makes a place for the agent with everything that waits."""
    return lambda name: Place(tmp_path / str(name), zygotes("all_waits_agent.py"))


@pytest.fixture
def new_effects_place(tmp_path: Path, zygotes: Callable[[str], Zygote]) -> Any:
    """Makes a place for the agent with effects."""
    return lambda name: Place(tmp_path / str(name), zygotes("effects_agent.py"))


@pytest.fixture
def new_migrating_place(tmp_path: Path, zygotes: Callable[[str], Zygote]) -> Any:
    """Makes a place for the agent whose graph changes."""
    return lambda name: Place(tmp_path / str(name), zygotes("migrating_agent.py"))


@pytest.fixture
def new_back_place(tmp_path: Path, zygotes: Callable[[str], Zygote]) -> Any:
    """Makes a place for the agent that goes back to a checkpoint."""
    return lambda name: Place(tmp_path / str(name), zygotes("back_agent.py"))


@pytest.fixture
def new_fork_place(tmp_path: Path, zygotes: Callable[[str], Zygote]) -> Any:
    """Makes a place for the agent that is forked."""
    return lambda name: Place(tmp_path / str(name), zygotes("fork_agent.py"))


@pytest.fixture
def new_subgraph_place(tmp_path: Path, zygotes: Callable[[str], Zygote]) -> Any:
    """Makes a place for the agent whose graph holds another one."""
    return lambda name: Place(tmp_path / str(name), zygotes("subgraph_agent.py"))


@pytest.fixture
def new_branches_place(tmp_path: Path, zygotes: Callable[[str], Zygote]) -> Any:
    """Makes a place for the agent whose graph fans out."""
    return lambda name: Place(tmp_path / str(name), zygotes("branches_agent.py"))


@pytest.fixture
def new_place(tmp_path: Path, zygote: Zygote) -> Any:
    """Makes a place by its name."""
    return lambda name: Place(tmp_path / str(name), zygote)


@pytest.fixture
def place(new_place: Any) -> Place:
    made: Place = new_place("place")
    return made


GOAL = Goal(
    id="goal",
    name="Goal",
    description="every execution ends",
    success_criteria=[
        SuccessCriterion(id="ok", description="ok", metric="success_rate", target="90%")
    ],
)

LINE = GraphSpec(
    id="line",
    goal_id="goal",
    entry_node="first",
    terminal_nodes=["last"],
    nodes=[
        NodeSpec(id="first", input_keys=["number"], output_keys=["double"]),
        NodeSpec(id="middle", input_keys=["double"], output_keys=["more"]),
        NodeSpec(id="last", input_keys=["more"], output_keys=["answer"]),
    ],
    edges=[
        EdgeSpec(id="f-m", source="first", target="middle"),
        EdgeSpec(id="m-l", source="middle", target="last"),
    ],
)


class Line:
    """The callables of the graph `LINE`; `answer` is twice the number and one. Nodes named in
    `shut` wait until their gate is opened.
    """

    def __init__(self, *shut: str) -> None:
        self.shut = {name: asyncio.Event() for name in shut}
        self.entered = {name: asyncio.Event() for name in ("first", "middle", "last")}
        self.runs = dict.fromkeys(self.entered, 0)

    async def _enter(self, node: str) -> None:
        self.runs[node] += 1
        self.entered[node].set()
        if node in self.shut:
            await self.shut[node].wait()

    async def first(self, number: int) -> Any:
        await self._enter("first")
        return {"double": 2 * number}

    async def middle(self, double: int) -> Any:
        await self._enter("middle")
        return {"more": double + 1}

    async def last(self, more: int) -> Any:
        await self._enter("last")
        return {"answer": more}

    def open_all(self) -> None:
        for gate in self.shut.values():
            gate.set()


def line_entry(entry_id: str, **options: Any) -> EntryPointSpec:
    return EntryPointSpec(
        id=entry_id, entry_node="first", **{"max_concurrent": 64, "max_queued": 20_000, **options}
    )


@pytest.fixture
def line() -> type[Line]:
    return Line


@pytest.fixture
def line_runtime(tmp_path: Path) -> Any:
    """`line_runtime(functions, entry_id={options}, ..., config={...})` gives a runtime of `LINE`,
    not started.
    """

    def make(
        functions: Line,
        *,
        config: dict[str, Any] | None = None,
        graph: GraphSpec = LINE,
        store_factory: Any = None,
        **entries: dict[str, Any],
    ) -> AgentRuntime:
        extra = {} if store_factory is None else {"store_factory": store_factory}
        runtime = AgentRuntime(
            graph,
            GOAL,
            tmp_path / "line",
            functions={node.id: getattr(functions, node.id) for node in graph.nodes},
            config=AgentRuntimeConfig(**(config or {})),
            **extra,
        )
        for entry_id, options in (entries or {"ep": {}}).items():
            runtime.register_entry_point(line_entry(entry_id, **options))
        return runtime

    return make


async def add(ctx: NodeContext, by: int) -> Any:
    """Read, then write: only `synchronized` keeps every addition."""
    total = await ctx.read("total", 0, StateScope.GLOBAL)
    await asyncio.sleep(0)
    await ctx.write("total", total + by, StateScope.GLOBAL)
    return {"added": by}


@pytest.fixture
def counting_runtime(tmp_path: Path) -> AgentRuntime:
    """A runtime whose one node adds `by` to the global key `total`."""
    graph = GraphSpec(
        id="counting",
        goal_id="goal",
        entry_node="add",
        terminal_nodes=["add"],
        nodes=[NodeSpec(id="add", input_keys=["by"], output_keys=["added"])],
    )
    runtime = AgentRuntime(graph, GOAL, tmp_path / "counting", functions={"add": add})
    runtime.register_entry_point(
        EntryPointSpec(id="ep", entry_node="add", isolation_level=IsolationLevel.SYNCHRONIZED)
    )
    return runtime
