"""Graphs within a graph: steps of the same execution, with memory of their own."""

from typing import Any

import pytest

from greenroom import (
    EdgeSpec,
    EntryPointSpec,
    FunctionNotFound,
    InvalidGraph,
    NodeNotFound,
    NodeSpec,
)
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import GraphSpec


def way(source: str, target: str, condition: str = "on_success") -> EdgeSpec:
    return EdgeSpec(id=f"{source}-{target}", source=source, target=target, condition=condition)


def node(id: str, reads: str = "", writes: str = "", **fields: Any) -> NodeSpec:
    keys = {"input_keys": reads.split(), "output_keys": writes.split()}
    return NodeSpec(**{"id": id, "max_retries": 1} | keys | fields)


def within(id: str, graph: GraphSpec, reads: str = "", writes: str = "", **fields: Any) -> NodeSpec:
    return NodeSpec(
        id=id,
        node_type="subgraph",
        graph=graph,
        input_keys=reads.split(),
        output_keys=writes.split(),
        **fields,
    )


def checking(**changes: Any) -> GraphSpec:
    """Two checks side by side, then a verdict."""
    fields: dict[str, Any] = {
        "id": "checking",
        "entry_node": "read",
        "nodes": [
            node("read", "text", "words"),
            node("spelling", "words", "spelled"),
            node("tone", "words", "toned"),
            node("verdict", "spelled toned", "good"),
        ],
        "edges": [
            *(way("read", "spelling"), way("read", "tone")),
            *(way("spelling", "verdict"), way("tone", "verdict")),
        ],
    }
    return GraphSpec(**fields | changes)


class Functions:
    """What the nodes call; each notes that it ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def all(self) -> dict[str, Any]:
        names = ("write", "read", "spelling", "tone", "verdict", "send", "mend")
        return {name: getattr(self, name) for name in names}

    async def write(self) -> dict[str, Any]:
        self.ran.append("write")
        return {"text": "a fine text", "secret": 7}

    async def read(self, text: str) -> dict[str, Any]:
        self.ran.append("read")
        return {"words": text.split()}

    async def spelling(self, words: list[str]) -> dict[str, Any]:
        self.ran.append("spelling")
        return {"spelled": len(words)}

    async def tone(self, words: list[str]) -> dict[str, Any]:
        self.ran.append("tone")
        if "bad" in words:
            raise ValueError("no tone")
        return {"toned": "fine" in words}

    async def verdict(self, spelled: int, toned: bool) -> dict[str, Any]:
        self.ran.append("verdict")
        return {"good": spelled == 3 and toned}

    async def send(self, good: bool) -> dict[str, Any]:
        self.ran.append("send")
        return {"sent": good}

    async def mend(self) -> dict[str, Any]:
        self.ran.append("mend")
        return {"sent": None}


@pytest.mark.asyncio
async def test_a_graph_in_a_node_runs_from_its_entry_to_its_end(lab: Any) -> None:
    """Its nodes are found by their own ids, and told by the ids that they have for the whole."""
    functions = Functions()
    nodes = [node("write"), within("check", checking(), "text", "good"), node("send", "good")]
    runtime = lab.runtime(functions.all(), nodes, [way("write", "check"), way("check", "send")])
    async with runtime:
        result = await runtime.trigger_and_wait("main", {}, timeout=20)
    assert result.status is Status.COMPLETED, result.error
    assert result.output == {"text": "a fine text", "secret": 7, "good": True, "sent": True}
    assert sorted(result.path[3:5]) == ["check.spelling", "check.tone"]
    assert [result.path[at] for at in (0, 1, 2, 5, 6)] == [
        *("write", "check", "check.read", "check.verdict", "send"),
    ]


@pytest.mark.asyncio
async def test_graphs_are_nested_to_any_depth(lab: Any) -> None:
    functions = Functions()
    inner = GraphSpec(
        id="inner",
        entry_node="again",
        nodes=[within("again", checking(), "text", "good"), node("send", "good", "sent")],
        edges=[way("again", "send")],
    )
    nodes = [node("write"), within("outer", inner, "text", "sent")]
    runtime = lab.runtime(functions.all(), nodes, [way("write", "outer")])
    async with runtime:
        result = await runtime.trigger_and_wait("main", {}, timeout=20)
    assert result.status is Status.COMPLETED, result.error
    assert result.output == {"text": "a fine text", "secret": 7, "sent": True}
    assert "outer.again.verdict" in result.path
    assert result.path[-1] == "outer.send"


@pytest.mark.asyncio
async def test_the_same_graph_in_two_nodes_runs_in_each(lab: Any) -> None:
    functions = Functions()
    shared = checking()
    nodes = [
        node("write"),
        within("one", shared, "text", "good"),
        within("two", shared, "text", "good"),
    ]
    runtime = lab.runtime(functions.all(), nodes, [way("write", "one"), way("one", "two")])
    async with runtime:
        result = await runtime.trigger_and_wait("main", {}, timeout=20)
    assert result.status is Status.COMPLETED, result.error
    assert (result.path.count("one.verdict"), result.path.count("two.verdict")) == (1, 1)


@pytest.mark.asyncio
async def test_a_failure_inside_is_one_of_the_node_and_may_have_its_way(lab: Any) -> None:
    functions = Functions()
    nodes = [within("check", checking(), "text", "good"), node("send", "good"), node("mend")]
    edges = [way("check", "send"), way("check", "mend", "on_failure")]
    async with lab.runtime(functions.all(), nodes, edges) as runtime:
        result = await runtime.trigger_and_wait("main", {"text": "a bad text"}, timeout=20)
    assert result.status is Status.COMPLETED, result.error
    assert result.path[-1] == "mend"
    assert "verdict" not in functions.ran


@pytest.mark.asyncio
async def test_a_pause_inside_stands_still_over_a_restart_and_goes_on_inside(lab: Any) -> None:
    functions = Functions()
    pausing = checking(
        pause_nodes=["read"], entry_points={"read_resume": "spelling"}, terminal_nodes=["spelling"]
    )
    nodes = [node("write"), within("check", pausing, "text", "spelled")]

    def made() -> Any:
        return lab.runtime(functions.all(), nodes, [way("write", "check")])

    async with made() as runtime:
        result = await runtime.trigger_and_wait("main", {}, timeout=20)
        assert (result.status, result.paused_at) == (Status.PAUSED, "check.read")
    async with made() as runtime:
        await runtime.resume(result.execution_id)
        result = await runtime.wait_for_completion(result.execution_id, timeout=20)
    assert result.status is Status.COMPLETED, result.error
    assert functions.ran == ["write", "read", "spelling"]
    assert result.output == {"text": "a fine text", "secret": 7, "spelled": 3}


@pytest.mark.asyncio
async def test_nobody_begins_in_the_middle_of_a_graph_in_a_node(lab: Any) -> None:
    nodes = [within("check", checking(), "text", "good")]
    with pytest.raises(NodeNotFound, match=r"check\.read"):
        lab.runtime(Functions().all(), nodes, [], [EntryPointSpec(id="e", entry_node="check.read")])


@pytest.mark.asyncio
async def test_functions_of_inner_nodes_are_asked_for_before_the_start(lab: Any) -> None:
    functions = Functions().all()
    del functions["verdict"]
    runtime = lab.runtime(functions, [within("check", checking(), "text", "good")])
    with pytest.raises(FunctionNotFound, match="verdict"):
        await runtime.start()


@pytest.mark.asyncio
async def test_a_function_that_does_not_fit_its_inner_node_is_refused(lab: Any) -> None:
    async def tone(other: str) -> None: ...

    nodes = [within("check", checking(), "text", "good")]
    runtime = lab.runtime({**Functions().all(), "tone": tone}, nodes)
    with pytest.raises(InvalidGraph, match=r"check\.tone"):
        await runtime.start()
