"""An agent with an execution that has several nodes in flight, all of which end together; it dies
on command, see agent.py for how it is asked.

Every call to the outside enters the ledger, with its key. Points to be killed at, besides "before"
and "after" the k-th commit: "inside" and "called" around the k-th call.
"""

import asyncio
from pathlib import Path
from typing import Any

from agent import Reaper, append, main
from small_agent import Outside, make_runtime, tell

from greenroom.actors.nodes.context import NodeContext
from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.live import Live
from greenroom.protocol.commit import OutcomeKind
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.execution import Accepted, Phase, Status, Token
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.patch import Cause, Patch
from greenroom.storage.lmdb_store import open_store

TOGETHER, VISITS = 4, 16
GRAPH = GraphSpec(
    id="graph",
    goal_id="goal",
    entry_node="work",
    max_steps=99,
    nodes=[NodeSpec(id="work", max_retries=1, max_node_visits=0)],
    edges=[
        EdgeSpec(
            id="again",
            source="work",
            target="work",
            condition="conditional",
            condition_expr=f"visit < {VISITS}",
        )
    ],
)


def plant(path: Path) -> None:
    """Have the execution "e" run its node several times over, in a store that is closed."""
    accepted = Accepted(
        execution_id="e",
        entry_point="ep",
        entry_node="work",
        graph_id="graph",
        goal_id="goal",
        correlation_id="e",
        accepted_at=1.0,
    )
    numbers = range(1, TOGETHER + 1)
    tokens = {one: Token(node="work", visit=one, attempt=1, phase=Phase.RUNNING) for one in numbers}
    patch = Patch(
        accepted=accepted,
        status=Status.RUNNING,
        tokens=dict(tokens),
        steps=TOGETHER,
        visits={"work": TOGETHER},
        path=("work",) * TOGETHER,
        started_at=1.0,
    )
    store = open_store(path)
    maker = CommitMaker("ep", store.raise_fence("ep"), b"digest", store)
    commit = maker.step(1, Live("e"), Transition(patch, Cause(tick="accept"), (), ()), 1.0)
    (outcome,) = store.commit([commit], 1.0)
    store.mark_clean()
    store.close()
    assert outcome.kind is OutcomeKind.APPLIED, outcome


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Let the execution go on to its end."""
    outside = Outside(request, reaper)
    inside: list[asyncio.Event] = []

    async def work(ctx: NodeContext) -> dict[str, int]:
        await ctx.effect("call", outside.call_async, "it", policy="idempotent")
        # Those in flight end in one turn of the loop, whoever comes last.
        inside.append(asyncio.Event())
        if len(inside) < TOGETHER:
            await inside[-1].wait()
        else:
            for one in inside:
                one.set()
            inside.clear()
        return {"visit": ctx.visit}

    if not (Path(request["store"]) / "data.mdb").exists():
        plant(Path(request["store"]))
    async with make_runtime(GRAPH, request, reaper, {"work": work}) as runtime:
        result = await runtime.wait_for_completion("e", timeout=20)
        tell(request, result, groups=runtime._assembly.store.stats().groups)
    append(request["said"], passed=reaper.passed)


if __name__ == "__main__":
    main(serve)
