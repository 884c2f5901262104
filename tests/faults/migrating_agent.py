"""An agent whose graph changes between two processes, and that makes its sessions fit; it dies on
command. See agent.py for how it is asked; `version` is "old" or "new".

Points to be killed at, besides "before" and "after" the k-th commit: "asked", inside the k-th call
of the migration, and "inside" and "called", around the k-th payment.
"""

import asyncio
from typing import Any

from agent import Reaper, append, main
from small_agent import Outside, make_runtime

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.migration import Migration, OutdatedSession
from greenroom.protocol.questions import question_id

TOLD = ("ask", "sleep", "pay", "pause")


def graph_of(name: str) -> GraphSpec:
    first = NodeSpec(
        id=name,
        input_keys=["told"],
        output_keys=["said", "answer"],
        nullable_output_keys=["answer"],
    )
    return GraphSpec(
        id="graph",
        goal_id="goal",
        entry_node=name,
        nodes=[first, NodeSpec(id="last", input_keys=["told"], output_keys=["done"])],
        edges=[EdgeSpec(id="way", source=name, target="last")],
    )


class Functions:
    """The nodes' callables; whoever pays in the old version never hears of it."""

    def __init__(self, request: dict[str, Any], reaper: Reaper) -> None:
        self._ledger, self._new = request["ledger"], request["version"] == "new"
        self._outside = Outside(request, reaper)
        self.began = asyncio.Event()

    async def first(self, ctx: NodeContext, told: str) -> str:
        append(self._ledger, run=ctx.idempotency_key, attempt=ctx.attempt)
        if told in ("ask", "pause"):
            ctx.ask("What?", to="answer")
        elif told == "sleep":
            ctx.sleep(3_600)
        else:
            await ctx.effect("pay", self._pay, policy="idempotent")
        return told

    async def _pay(self, idempotency_key: str) -> str:
        self._outside.call("pay", idempotency_key)
        if not self._new:
            self.began.set()
            await asyncio.Event().wait()
        return idempotency_key

    async def last(self, ctx: NodeContext, told: str) -> str:
        append(self._ledger, run=ctx.idempotency_key, attempt=ctx.attempt)
        return told


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Fill the store with the old version; with the new one let every session go on."""

    def migrate(session: OutdatedSession) -> Migration:
        reaper.reach("asked")
        moved = session.memory.get("moved", 0) + 1
        return Migration(nodes={"first": "begin"}, memory={"moved": moved})

    new, said = request["version"] == "new", request["said"]
    name = "begin" if new else "first"
    functions = Functions(request, reaper)
    runtime = make_runtime(
        graph_of(name),
        request,
        reaper,
        {name: functions.first, "last": functions.last},
        config=AgentRuntimeConfig(shutdown_timeout_s=0.0),
        migrate=migrate if new else None,
    )
    async with runtime:
        if not new:
            await fill(runtime, functions)
            return
        append(said, held=runtime.recovery.held, migrated=runtime.recovery.migrated)
        paused = runtime.get_session("pause")
        assert paused is not None
        if paused.status is Status.PAUSED:
            await runtime.resume("pause")
        for one in ("ask", "pause"):
            await runtime.answer(question_id(one, 1), "this")
        for one in ("ask", "pause", "pay"):
            result = await runtime.wait_for_completion(one, timeout=20)
            assert result is not None
            what = {"status": result.status.value, "output": result.output, "path": result.path}
            append(said, execution=one, **what)
        asleep = runtime.get_session("sleep")
        assert asleep is not None
        append(said, asleep=asleep.status.value, moved=asleep.memory.get("moved"))
    append(said, passed=reaper.passed)


async def fill(runtime: AgentRuntime, functions: Functions) -> None:
    asked: asyncio.Queue[None] = asyncio.Queue()
    runtime.subscribe_to_events([EventType.EXECUTION_WAITING], lambda event: asked.put_nowait(None))
    for told in TOLD:
        await runtime.trigger("ep", {"told": told}, execution_id=told)
    await functions.began.wait()
    for _ in range(3):
        await asked.get()
    await runtime.pause("pause")


if __name__ == "__main__":
    main(serve)
