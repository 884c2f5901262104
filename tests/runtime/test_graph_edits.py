"""Edits of a graph, made while sessions stand in it in every way: each does what the page on
versions says, none runs a node again that had ended, and none ends before its end.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.migration import Migration, OutdatedSession
from greenroom.protocol.version_errors import GraphChanged

pytestmark = pytest.mark.asyncio

WAYS: Final = ("paused", "asking", "sleeping", "backoff", "queued", "in flight")
STANDS = {
    "paused": Status.PAUSED,
    "asking": Status.WAITING,
    "sleeping": Status.WAITING,
    "backoff": Status.WAITING,
    "queued": Status.QUEUED,
}
DONE = {"paused", "asking", "sleeping"}  # their nodes have ended, and must never run again
REST_S = 1.5


def node(name: str, *, pause: bool = False, **more: Any) -> NodeSpec:
    fields: dict[str, Any] = {
        "id": name,
        "input_keys": ["told"],
        "output_keys": ["said", "answer"],
        "nullable_output_keys": ["answer"],
        "max_retries": 2,
        "backoff_initial_s": REST_S,
    }
    return NodeSpec(**(fields | more))


def edge(source: str, target: str) -> EdgeSpec:
    return EdgeSpec(id=f"{source}-{target}", source=source, target=target, condition="on_success")


class Graph:
    """`gate` pauses, `work` does what it is told; both lead to `next`, and that to `end`."""

    def __init__(self) -> None:
        self.nodes = {name: node(name) for name in ("gate", "work", "next", "end")}
        self.edges = [edge("gate", "next"), edge("work", "next"), edge("next", "end")]
        self.terminal, self.pauses = ["end"], ["gate"]
        self.enters = {"gate": "gate", "work": "work", "next": "next"}  # all can be reached

    def rename(self, old: str, new: str) -> None:
        self.nodes[new] = replace(self.nodes.pop(old), id=new, name=new)
        self.edges = [
            edge(new if one.source == old else one.source, new if one.target == old else one.target)
            for one in self.edges
        ]
        self.pauses = [new if one == old else one for one in self.pauses]
        self.enters = {name: new if one == old else one for name, one in self.enters.items()}

    def drop(self, name: str) -> None:
        del self.nodes[name]
        self.edges = [one for one in self.edges if name not in (one.source, one.target)]
        self.pauses = [one for one in self.pauses if one != name]
        self.enters = {key: "next" if one == name else one for key, one in self.enters.items()}

    def change(self, name: str, **changes: Any) -> None:
        self.nodes[name] = replace(self.nodes[name], **changes)

    def lead(self, source: str, target: str) -> None:
        self.edges = [one for one in self.edges if one.source != source]
        self.edges.append(edge(source, target))

    def add(self, name: str, target: str) -> None:
        self.nodes[name] = node(name)
        self.lead(name, target)


Edit = Callable[[Graph, str], None]
NONE: Mapping[str, str] = {}


def insert(graph: Graph, at: str) -> None:
    if "between" not in graph.nodes:
        graph.add("between", "next")
    graph.lead(at, "between")


def elsewhere(graph: Graph, at: str) -> None:
    if "other" not in graph.nodes:
        graph.add("other", "end")
    graph.lead(at, "other")


def next_pauses(graph: Graph, at: str) -> None:
    graph.pauses = ["next"]


def next_is_renamed(graph: Graph, at: str) -> None:
    if "next" in graph.nodes:
        graph.rename("next", "later")


def is_terminal(graph: Graph, at: str) -> None:
    graph.terminal.append(at)


def leads_nowhere(graph: Graph, at: str) -> None:
    graph.edges = [one for one in graph.edges if one.source != at]


SAME = {"work": "work", "gate": "gate"}
# Edit, what a migration maps for it, and the path behind the node at which the session stood.
EDITS: dict[str, tuple[Edit, Mapping[str, str], list[str]]] = {
    "it has another name": (
        lambda graph, at: graph.rename(at, f"{at}2"),
        {"work": "work2", "gate": "gate2"},
        ["next", "end"],
    ),
    "it is gone": (Graph.drop, {"work": "next", "gate": "next"}, ["end"]),
    "another `node_type`": (
        lambda graph, at: graph.change(
            at, node_type="router", function="work", routes={"default": "next"}
        ),
        SAME,
        ["next", "end"],
    ),
    "other `input_keys`": (
        lambda graph, at: graph.change(at, input_keys=["told", "tone"]),
        SAME,
        ["next", "end"],
    ),
    "other `output_keys`": (
        lambda graph, at: graph.change(at, output_keys=["said", "answer", "why"],
                                       nullable_output_keys=["answer", "why"]),
        SAME,
        ["next", "end"],
    ),
    "the edge that leaves it is gone": (leads_nowhere, SAME, []),
    "it is terminal now": (is_terminal, SAME, []),
    "its edge leads elsewhere": (elsewhere, NONE, ["other", "end"]),
    "a new node lies between it and the next": (insert, NONE, ["between", "next", "end"]),
    "another function": (
        lambda graph, at: graph.change(at, function="another"),
        NONE,
        ["next", "end"],
    ),
    "it pauses no more, and the next node does": (next_pauses, NONE, ["next", "end"]),
    "other attempts and times": (
        lambda graph, at: graph.change(at, max_retries=5, timeout_s=60.0, max_node_visits=3),
        NONE,
        ["next", "end"],
    ),
    "the next node has another name": (next_is_renamed, NONE, ["later", "end"]),
}  # fmt: skip


class Desk:
    """The functions of every version of the graph, and the ledger of what they were run for."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str, int]] = []  # session, key of the visit, attempt
        self.stay = asyncio.Event()
        self.began = asyncio.Event()
        self.sessions: dict[str, str] = {}

    async def work(self, ctx: Any, told: str, **rest: Any) -> str:
        self.runs.append((ctx.execution_id, ctx.idempotency_key, ctx.attempt))
        first = ctx.attempt == 1 and ctx.node_id == "work"
        if told == "asking" and first:
            ctx.ask("What?", to="answer")
        elif told == "sleeping" and first:
            ctx.sleep(REST_S)
        elif told == "backoff" and first:
            raise ValueError("told to")
        elif told == "in flight" and first:
            self.began.set()
            await self.stay.wait()
        return told

    def runtime(self, lab: Any, graph: Graph, store: str = "store", **more: Any) -> Any:
        async def with_tone(ctx: Any, told: str, tone: str = "") -> Any:
            said = await self.work(ctx, told)
            router = graph.nodes[ctx.node_id].node_type == "router"
            return {"route": "default", "said": said} if router else said

        functions = dict.fromkeys((*graph.nodes, "work", "another"), with_tone)
        points = [
            EntryPointSpec(id="gate", entry_node=graph.enters["gate"]),
            EntryPointSpec(id="many", entry_node=graph.enters["work"]),
            EntryPointSpec(id="next", entry_node=graph.enters["next"]),
            EntryPointSpec(id="one", entry_node=graph.enters["work"], max_concurrent=1),
        ]
        return lab.runtime(
            functions, graph.nodes.values(), graph.edges, points, store=store,
            terminal=graph.terminal, pauses=graph.pauses, shutdown_timeout_s=0.0, **more,
        )  # fmt: skip

    async def fill(self, runtime: Any, until: Any) -> None:
        """Bring a session to stand in each way."""
        for way in ("paused", "asking", "sleeping", "backoff", "in flight", "queued"):
            entry = {"paused": "gate", "in flight": "one", "queued": "one"}.get(way, "many")
            self.sessions[way] = await runtime.trigger(entry, {"told": way})
            if way == "in flight":
                await self.began.wait()
            else:
                await until(runtime, self.sessions[way], STANDS[way])

    async def finish(self, runtime: Any, way: str, *, pauses_again: bool = False) -> list[str]:
        """Let the session go on to its end; returns its path."""
        name = self.sessions[way]
        if way == "paused":
            await runtime.resume(name)
        elif way == "asking":
            await runtime.answer(f"{name}:q1", "this")
        result = await runtime.wait_for_completion(name, timeout=20)
        if pauses_again:
            assert result.status is Status.PAUSED
            await runtime.resume(name)
            result = await runtime.wait_for_completion(name, timeout=20)
        assert result.status is Status.COMPLETED, (way, result.error)
        path: list[str] = result.path
        return path

    def check_runs(self, way: str) -> None:
        """Nothing that had ended ran again, and no attempt was made twice."""
        name = self.sessions[way]
        runs = Counter((key, attempt) for session, key, attempt in self.runs if session == name)
        assert set(runs.values()) == {1}, (way, runs)
        at = f"{name}/{'gate' if way == 'paused' else 'work'}/1"
        times = sum(1 for key, _ in runs if key == at)
        assert times == (1 if way in DONE or way == "queued" else 2), (way, runs)


@pytest.fixture(scope="session")
def documented(repository: Path) -> dict[str, dict[str, str]]:
    """What the page says: by edit and by how a session stands."""
    page = (repository / "docs" / "versions.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    assert tuple(rows[0][1:]) == WAYS
    return {row[0]: dict(zip(WAYS, row[1:], strict=True)) for row in rows[2:]}


async def test_every_edit_that_is_documented_is_tried(documented: Any) -> None:
    assert set(documented) == set(EDITS)
    assert len(EDITS) >= 12


@pytest.mark.parametrize("edit", EDITS)
async def test_every_edit_does_what_is_documented(
    lab: Any, until: Any, documented: Any, edit: str
) -> None:
    """Every way of standing at once, in one store, over restarts."""
    change, nodes, rest = EDITS[edit]
    desk, edited = Desk(), Graph()
    async with desk.runtime(lab, Graph()) as runtime:
        await desk.fill(runtime, until)
    before = list(desk.runs)
    for at in ("gate", "work"):
        change(edited, at)
    expected = documented[edit]
    async with desk.runtime(lab, edited) as runtime:
        held = {way for way in WAYS if desk.sessions[way] in runtime.recovery.held}
        assert held == {way for way in WAYS if expected[way] == "held"}
        if expected["paused"] == "refused":
            with pytest.raises(GraphChanged):
                await runtime.resume(desk.sessions["paused"])
            assert desk.runs == before
        else:
            again = edited.pauses == ["next"]
            for way in WAYS:
                path = await desk.finish(runtime, way, pauses_again=again)
                assert path == ["gate" if way == "paused" else "work", *rest]
                desk.check_runs(way)
            return
    for way in WAYS:
        status = lab.look(desk.sessions[way]).status
        assert status is (Status.PAUSED if way == "paused" else Status.HELD)
    shutil.copytree(lab.folder / "store", lab.folder / "copy")
    async with desk.runtime(lab, Graph()) as runtime:
        assert (runtime.recovery.held, runtime.recovery.released) == ({}, len(WAYS) - 1)
        for way in WAYS:
            path = await desk.finish(runtime, way)
            assert path == ["gate" if way == "paused" else "work", "next", "end"]
            desk.check_runs(way)
    desk.runs[:] = before
    migrate = partial(_mapped, nodes)
    async with desk.runtime(lab, edited, "copy", migrate=migrate) as runtime:
        found = runtime.recovery
        assert (found.held, found.released, found.migrated) == ({}, len(WAYS) - 1, len(WAYS) - 1)
        for way in WAYS:
            path = await desk.finish(runtime, way)
            if way == "queued":
                assert path == [nodes["work"], *rest]
            else:
                assert path == ["gate" if way == "paused" else "work", *rest]
            if way != "queued":
                desk.check_runs(way)


def _mapped(nodes: Mapping[str, str], session: OutdatedSession) -> Migration:
    return Migration(nodes=nodes, memory={"tone": "plain"})
