"""An agent whose execution is forked and then deleted, and which dies on command; see agent.py for
how it is asked.

"e" completes and is forked where its first node had ended: "f" goes on and stays in its node until
"e" is gone, "g" and its own fork "h" are behind it for a concurrency key, and have not begun by
then. Every run of a node enters the ledger, with its idempotency key. Points to be killed at,
besides "before" and "after" the k-th commit: "inside" the k-th node run, "forked" after the k-th
fork, and "deleted".
"""

import asyncio
from typing import Any

from agent import Reaper, append, main
from small_agent import make_runtime

from greenroom.actors.host.runtime import AgentRuntime
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
FORKS = (("e", "f"), ("e", "g"), ("g", "h"))


async def fork(runtime: AgentRuntime, parent: str, name: str) -> None:
    """Fork "e" where its first node had ended, and "g" where it stands."""
    ends = runtime.list_checkpoints(parent, "node_complete")
    where = ends[-1].checkpoint_id if ends else None
    given = {"given": name}
    await runtime.fork(parent, where, memory=given, execution_id=name, concurrency_key="key")


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Trigger, fork and delete, or find what was done of it."""
    gone = asyncio.Event()

    async def note(ctx: NodeContext) -> str:
        append(request["ledger"], node=ctx.node_id, key=ctx.idempotency_key)
        reaper.reach("inside")
        if ctx.execution_id != "e":
            await gone.wait()
        return ctx.idempotency_key

    runtime = make_runtime(
        GRAPH, request, reaper, dict.fromkeys(NODES, note), checkpoint_config=CheckpointConfig()
    )
    said = request["said"]
    async with runtime:
        if runtime.get_session("h") is None:
            await runtime.trigger("ep", {"given": "e"}, execution_id="e")
            await runtime.wait_for_completion("e", timeout=20)
        for parent, name in FORKS:
            if runtime.get_session(name) is None:
                await fork(runtime, parent, name)
            append(said, forked=name)
            reaper.reach("forked")
        await runtime.delete_session("e")
        append(said, deleted=True)
        reaper.reach("deleted")
        gone.set()
        for name in "fgh":
            result = await runtime.wait_for_completion(name, timeout=20)
            session = runtime.get_session(name)
            assert result is not None
            assert session is not None
            assert session.forked_from is not None
            append(
                said,
                execution=name,
                status=result.status.value,
                output=result.output,
                path=result.path,
                forked_from=session.forked_from.session_id,
            )
        append(said, e=runtime.get_session("e") is not None)
    append(said, passed=reaper.passed)


if __name__ == "__main__":
    main(serve)
