"""Forking and looking back while branches run side by side: each is carried over as it stood."""

from typing import Any

import pytest

from greenroom import EdgeSpec, NodeContext, NodeSpec, Status
from greenroom.protocol.parallel import MapSpec

NODES = [
    NodeSpec(id="split", input_keys=["topic"], output_keys=["parts"], max_retries=1),
    NodeSpec(id="left", output_keys=["l"], max_retries=1),
    NodeSpec(id="right", output_keys=["r"], max_retries=1),
    NodeSpec(id="each", input_keys=["part"], output_keys=["done"], max_retries=1),
    NodeSpec(id="join", output_keys=["end"], max_retries=1),
]
SIDES = [
    EdgeSpec(id="s-l", source="split", target="left"),
    EdgeSpec(id="s-r", source="split", target="right"),
    EdgeSpec(id="l-j", source="left", target="join"),
    EdgeSpec(id="r-j", source="right", target="join"),
]
MAPPED = [
    EdgeSpec(
        id="s-e",
        source="split",
        target="each",
        map=MapSpec(over="parts", item="part", collect="done", into="all"),
    ),
    EdgeSpec(id="e-j", source="each", target="join"),
]


class Sides:
    """Nodes that note where they ran, and of which execution."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []

    def _note(self, ctx: NodeContext) -> str:
        self.ran.append((ctx.execution_id, ctx.node_id))
        return f"{ctx.node_id} of {ctx.execution_id}"

    async def split(self, topic: str, ctx: NodeContext) -> list[int]:
        self._note(ctx)
        return [1, 2, 3]

    async def left(self, ctx: NodeContext) -> str:
        return self._note(ctx)

    async def right(self, ctx: NodeContext) -> str:
        return await ctx.effect("post", lambda idempotency_key: self._note(ctx))

    async def each(self, part: int, ctx: NodeContext) -> str:
        return f"{part} by {self._note(ctx)}"

    async def join(self, ctx: NodeContext) -> str:
        return self._note(ctx)

    def runtime(self, lab: Any, edges: Any) -> Any:
        used = {edge.source for edge in edges} | {edge.target for edge in edges}
        nodes = [node for node in NODES if node.id in used]
        functions = {node.id: getattr(self, node.id) for node in nodes}
        return lab.runtime(functions, nodes, edges, terminal=["join"])


@pytest.mark.asyncio
@pytest.mark.parametrize("edges", [SIDES, MAPPED], ids=["sides", "map"])
async def test_a_fork_carries_each_branch_over_as_it_stood(lab: Any, edges: Any) -> None:
    """What was closed at the position is not done again, and all else is, once."""
    sides = Sides()
    async with sides.runtime(lab, edges) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="p")
        before = runtime.get_session("p")
        whole = [node for _, node in sides.ran]
        entries = runtime.get_session_history("p").entries
        closed: list[str] = []
        for entry in entries[:-1]:
            if entry.cause == "node_succeeded":
                closed.append(str(entry.node))
            sides.ran.clear()
            fork = await runtime.fork("p", seq=entry.seq, memory={"k": entry.seq})
            result = await runtime.wait_for_completion(fork, timeout=20)
            assert (result.status, result.error) == (Status.COMPLETED, None)
            assert {name for name, _ in sides.ran} == {fork}
            assert sorted([*closed, *(node for _, node in sides.ran)]) == sorted(whole)
            assert set(result.output) == {*before.memory, "k"}
            assert sorted(result.path) == sorted(before.path)
            assert result.output["k"] == entry.seq
        assert runtime.get_session("p") == before


@pytest.mark.asyncio
async def test_a_history_says_which_branch_did_what_and_where_all_of_them_stood(lab: Any) -> None:
    sides = Sides()
    async with sides.runtime(lab, SIDES) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="p")
        entries = runtime.get_session_history("p").entries
        of_node = {one.node: one for one in entries if one.cause == "node_succeeded"}
        assert of_node["split"].position == ["left", "right"]
        first, second = sorted((of_node["left"], of_node["right"]), key=lambda one: one.seq)
        assert len({0, first.branch, second.branch}) == 3
        assert first.changed == [str(first.node)[0]]
        assert (first.position, second.position) == ([second.node], ["join"])
        assert second.changed == ["l", "r"], "the join merges what each of them wrote"
        assert (of_node["join"].branch, of_node["join"].position) == (0, [])
        for one in entries:
            assert runtime.get_session("p", seq=one.seq).current_nodes == one.position
