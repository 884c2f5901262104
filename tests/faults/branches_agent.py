"""An agent whose graph fans out into five branches, which dies on command; see agent.py for how it
is asked. `policy` in the request is what the failure of a branch means.

The branches: `left` fans out once more, `ask` asks a person, `each` is a map of four elements, two
at a time, `bad` has a retry and then fails until it is mended, and `slow` takes its time; where the
failure stops the others, it never ends by itself. An execution that failed is mended and resumed.

Every run of a node enters the ledger with its idempotency key. Points to be killed at, besides
"before" and "after" the k-th commit: "resumed" after the resume, "answered" after the answer.
"""

import asyncio
from typing import Any

from agent import Reaper, append, main
from small_agent import make_runtime, tell

from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, ParallelExecutionConfig

SLOW_S = 0.02


def graph(policy: str) -> GraphSpec:
    """All ways meet at `meet`; every branch writes `last`."""
    parallel = ParallelExecutionConfig(on_branch_failure=policy)
    ways = "begin-left begin-ask begin-list begin-bad begin-slow left-one left-two one-both "
    ways += "two-both both-meet ask-heard heard-meet each-twice twice-all all-meet bad-worse "
    ways += "worse-meet slow-meet"
    edges = []
    for way in ways.split():
        source, target = way.split("-")
        edges.append(EdgeSpec(id=way, source=source, target=target, condition="on_success"))
    over = MapSpec(
        over="items", item="n", collect="doubled", into="doubles", until="all", concurrency=2
    )
    edges.append(EdgeSpec(id="map", source="list", target="each", map=over))
    return GraphSpec(
        id="graph",
        goal_id="goal",
        entry_node="begin",
        terminal_nodes=["meet"],
        nodes=[
            NodeSpec(id="begin", parallel=parallel),
            NodeSpec(id="left", output_keys=["left"]),
            NodeSpec(id="one", input_keys=["left"], output_keys=["one"]),
            NodeSpec(id="two", input_keys=["left"], output_keys=["two"]),
            NodeSpec(id="both", input_keys=["one", "two"], output_keys=["both", "last"]),
            NodeSpec(id="ask", output_keys=["approved", "question"]),
            NodeSpec(id="heard", input_keys=["approved"], output_keys=["heard", "last"]),
            NodeSpec(id="list", output_keys=["items"]),
            NodeSpec(id="each", input_keys=["n"], output_keys=["plain"]),
            NodeSpec(id="twice", input_keys=["plain"], output_keys=["doubled"]),
            NodeSpec(id="all", input_keys=["doubles"], output_keys=["sum", "last"]),
            NodeSpec(id="bad", output_keys=["tried"], max_retries=2, backoff_initial_s=0.01),
            NodeSpec(
                id="worse", input_keys=["mended", "tried"], output_keys=["mended_by", "last"],
                max_retries=1,
            ),
            NodeSpec(id="slow", input_keys=["mended"], output_keys=["slow", "last"]),
            NodeSpec(id="meet", input_keys=["last", "left"], output_keys=["reply"]),
        ],
        edges=edges,
    )  # fmt: skip


class Functions:
    """The nodes' callables; each enters the ledger first."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._ledger, self._policy = request["ledger"], request["policy"]

    def by_name(self) -> dict[str, Any]:
        return {node.id: getattr(self, node.id) for node in graph(self._policy).nodes}

    def _enter(self, ctx: NodeContext) -> None:
        append(
            self._ledger,
            node=ctx.node_id,
            visit=ctx.visit,
            attempt=ctx.attempt,
            key=ctx.idempotency_key,
        )

    async def begin(self, ctx: NodeContext) -> Any:
        self._enter(ctx)

    async def left(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        return {"left": 1}

    async def one(self, ctx: NodeContext, left: int) -> Any:
        self._enter(ctx)
        return {"one": left + 1}

    def two(self, ctx: NodeContext, left: int) -> Any:
        self._enter(ctx)
        return {"two": left + 2}

    async def both(self, ctx: NodeContext, one: int, two: int) -> Any:
        self._enter(ctx)
        return {"both": [one, two], "last": "left"}

    async def ask(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        question = ctx.ask("Shall it go on?", to="approved", schema={"type": "string"})
        return {"question": question}

    async def heard(self, ctx: NodeContext, approved: str) -> Any:
        self._enter(ctx)
        return {"heard": approved, "last": "ask"}

    async def list(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        return {"items": [1, 2, 3, 4]}

    async def each(self, ctx: NodeContext, n: int) -> Any:
        self._enter(ctx)
        return {"plain": n}

    def twice(self, ctx: NodeContext, plain: int) -> Any:
        self._enter(ctx)
        return {"doubled": 2 * plain}

    async def all(self, ctx: NodeContext, doubles: Any) -> Any:
        self._enter(ctx)
        return {"sum": sum(doubles), "last": "each"}

    async def bad(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        if ctx.attempt == 1:
            raise ConnectionError("try again")
        return {"tried": True}

    async def worse(self, ctx: NodeContext, mended: bool, tried: bool) -> Any:
        self._enter(ctx)
        if not mended:
            raise RuntimeError("it is broken")
        return {"mended_by": "hand", "last": "bad"}

    async def slow(self, ctx: NodeContext, mended: bool) -> Any:
        self._enter(ctx)
        if self._policy == "fail_all" and not mended:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                append(self._ledger, stopped=ctx.node_id)
                raise
        await asyncio.sleep(SLOW_S)
        return {"slow": True, "last": "slow"}

    async def meet(self, ctx: NodeContext, last: str, left: int) -> Any:
        self._enter(ctx)
        return {"reply": f"{last} {left}"}


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Trigger one execution, or find it, answer what it asks, mend it when it has failed, and tell
    how it ended.
    """
    runtime = make_runtime(graph(request["policy"]), request, reaper, Functions(request).by_name())
    said = request["said"]

    async def answer(question: str) -> None:
        told = await runtime.answer(question, "yes")
        append(said, answered=question, outcome=told.value)
        reaper.reach("answered")

    async def on_question(event: Any) -> None:
        await answer(event.data["question_id"])

    runtime.subscribe_to_events([EventType.CLIENT_INPUT_REQUESTED], on_question)
    async with runtime:
        for one in runtime.pending_questions():
            await answer(one.id)
        given = {"mended": False}
        await runtime.trigger("ep", given, execution_id="e")
        result = await runtime.wait_for_completion("e", timeout=20)
        if result is not None and result.status is Status.FAILED:
            append(said, failure=result.error, left=result.output)
            await runtime.resume("e", {"mended": True})
            append(said, resumed=True)
            reaper.reach("resumed")
            result = await runtime.wait_for_completion("e", timeout=20)
        tell(request, result, error=None if result is None else result.error)
    append(said, passed=reaper.passed)


if __name__ == "__main__":
    main(serve)
