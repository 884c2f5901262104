"""An agent that completes, goes back to a checkpoint once and completes again, and which dies on
command; see agent.py for how it is asked.

Every run of a node enters the ledger, with its idempotency key. Points to be killed at, besides
"before" and "after" the k-th commit: "inside" the k-th node run, "back" after the k-th way back.
"""

from typing import Any

from agent import Reaper, append, main
from small_agent import make_runtime, tell

from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

NODES = ("first", "second", "third")
GRAPH = GraphSpec(
    id="graph",
    goal_id="goal",
    entry_node="first",
    nodes=[NodeSpec(id=name, output_keys=[name]) for name in NODES],
    edges=[
        EdgeSpec(id="one", source="first", target="second"),
        EdgeSpec(id="two", source="second", target="third"),
    ],
)


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Trigger one execution, or find it, and take it back unless that was done already."""

    async def note(ctx: NodeContext) -> str:
        append(request["ledger"], node=ctx.node_id, key=ctx.idempotency_key)
        reaper.reach("inside")
        return ctx.idempotency_key

    functions = dict.fromkeys(NODES, note)
    runtime = make_runtime(GRAPH, request, reaper, functions, checkpoint_config=CheckpointConfig())
    said = request["said"]
    async with runtime:
        await runtime.trigger("ep", {"given": 1}, execution_id="e")
        await runtime.wait_for_completion("e", timeout=20)
        session = runtime.get_session("e")
        assert session is not None
        if not session.rewinds:
            ends = runtime.list_checkpoints("e", "node_complete")
            await runtime.resume("e", {"given": 2}, ends[-1].checkpoint_id)
            append(said, went_back=True)
            reaper.reach("back")
        result = await runtime.wait_for_completion("e", timeout=20)
        session = runtime.get_session("e")
        assert session is not None
        tell(
            request,
            result,
            rewinds=session.rewinds,
            names=[one.checkpoint_id for one in runtime.list_checkpoints("e")],
        )
    append(said, passed=reaper.passed)


if __name__ == "__main__":
    main(serve)
