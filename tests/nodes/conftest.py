"""A runner with its nodes' host over a store in memory, and the mailbox that its results go to."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from greenroom.actors.kernel.clock import SystemClock
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.testkit import Condition
from greenroom.actors.nodes.functions import FunctionRegistry
from greenroom.actors.nodes.host import NodesHost
from greenroom.actors.nodes.runner import NodeRun, NodeRunner, StreamBinding
from greenroom.protocol.commit import Commit, StateKey, StateWrite
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.isolation import IsolationLevel
from greenroom.protocol.stream_messages import (
    NodeResult,
    NodeResults,
    RecordEffect,
    UpdatesReapplied,
)
from greenroom.protocol.values import encode_value
from greenroom.storage.memory_store import MemoryStore


class Inbox:
    """Stands where a stream's ref stands: keeps what is told on the control lane."""

    def __init__(self) -> None:
        self.told = Condition()
        self.asked: list[RecordEffect] = []
        self.answer: Any = True
        self.pending: list[Future[Any]] = []
        self.on_ask: Callable[[], None] = lambda: None

    def tell(self, message: Any, *, control: bool = False) -> None:
        assert control
        self.told.add(message)

    def ask(self, message: RecordEffect, *, control: bool = False) -> Future[Any]:
        """Answers at once, as after the commit; with `answer` None not at all."""
        assert control
        self.asked.append(message)
        future: Future[Any] = Future()
        self.pending.append(future)
        self.on_ask()
        if self.answer is None:
            return future
        if isinstance(self.answer, BaseException):
            future.settle_exception(self.answer)
        else:
            future.settle(self.answer)
        return future

    def results(self, count: int) -> list[NodeResult]:
        """Wait for that many results, over all messages."""

        def there(messages: list[Any]) -> bool:
            return sum(len(m.results) for m in messages if isinstance(m, NodeResults)) >= count

        messages = self.told.wait_for(there)
        return [one for m in messages if isinstance(m, NodeResults) for one in m.results]

    def reapplied(self) -> UpdatesReapplied:
        """Wait for updates made again."""
        (message,) = self.told.wait(1)
        assert isinstance(message, UpdatesReapplied)
        return message


class Rig:
    """One runner whose nodes and functions a test adds one by one."""

    def __init__(self, host: NodesHost) -> None:
        self.host = host
        self.store = MemoryStore()
        self.functions = FunctionRegistry()
        self.nodes: dict[str, NodeSpec] = {}
        self.inbox = Inbox()
        self.runner = self.make_runner()
        self._commits = 0

    def make_runner(self, turns: Any = None, goal: Any = None) -> NodeRunner:
        self.runner = NodeRunner(
            self.host,
            self.functions,
            self.nodes,
            self.store,
            SystemClock(),
            turns=turns,
            goal=goal,
        )
        return self.runner

    def node(self, function: Callable[..., Any], name: str = "n", **fields: Any) -> None:
        """Add a node that runs `function`, registered under the node's id."""
        self.nodes[name] = NodeSpec(id=name, **fields)
        self.functions.register(name, function)

    def binding(self, isolation: str = "shared", stream_id: str = "ep") -> StreamBinding:
        return StreamBinding(
            ref=self.inbox,
            stream_id=stream_id,
            incarnation=7,
            isolation=IsolationLevel(isolation),
        )

    def node_run(self, node: str = "n", memory: Any = None, **fields: Any) -> NodeRun:
        encoded = {k: msgspec.Raw(encode_value(v)) for k, v in (memory or {}).items()}
        given: dict[str, Any] = {
            "execution_id": "e1",
            "token_id": 0,
            "visit": 1,
            "attempt": 1,
            "correlation_id": "c1",
            **fields,
        }
        return NodeRun(node=node, memory=encoded, **given)

    def run(
        self, node: str = "n", memory: Any = None, isolation: str = "shared", **fields: Any
    ) -> NodeResult:
        """Run one node and wait for its result."""
        before = len(self.inbox.results(0))
        self.runner.submit(self.binding(isolation), self.node_run(node, memory, **fields))
        self.runner.flush()
        return self.inbox.results(before + 1)[before]

    def put(self, scope: str, owner: str, **values: Any) -> int:
        """Commit shared state; returns its version."""
        self._commits += 1
        writes = tuple(
            StateWrite(
                StateKey(scope, owner, key),
                None if value is None else msgspec.Raw(encode_value(value)),
            )
            for key, value in values.items()
        )
        commit = Commit(commit_id=self._commits, stream="", incarnation=0, writes=writes)
        (outcome,) = self.store.commit([commit], 1_700_000_000.0)
        return outcome.state_version


@pytest.fixture
def host() -> Iterator[NodesHost]:
    """A nodes' host with a loop of its own."""
    made = NodesHost()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def rig(host: NodesHost) -> Rig:
    """A runner on that host."""
    return Rig(host)


@pytest.fixture
def make_rig() -> Callable[[NodesHost], Rig]:
    """Makes a runner on a host of the test's own."""
    return Rig
