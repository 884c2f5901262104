"""An agent whose nodes have effects, and which dies on command; see agent.py for how it is asked.

Every call that reaches the outside enters the ledger. Points to be killed at, besides "before" and
"after" the k-th commit: "inside" the k-th call, before it is made, and "called", after it.
"""

from typing import Any

from agent import Reaper, append, main
from small_agent import Outside, make_runtime, tell

from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

GRAPH = GraphSpec(
    id="graph",
    goal_id="goal",
    entry_node="order",
    terminal_nodes=["sent"],
    nodes=[
        NodeSpec(id="order", output_keys=["receipt"], max_retries=2, backoff_initial_s=0),
        NodeSpec(id="send", input_keys=["receipt"], output_keys=["sent_by"]),
        NodeSpec(id="ask", output_keys=["asked"]),
        NodeSpec(id="sent", output_keys=["done"]),
    ],
    edges=[
        EdgeSpec(id="o-s", source="order", target="send", condition="on_success"),
        EdgeSpec(id="s-s", source="send", target="sent", condition="on_success"),
        EdgeSpec(id="s-a", source="send", target="ask", condition="on_failure"),
        EdgeSpec(id="a-s", source="ask", target="sent"),
    ],
)


class Functions(Outside):
    """The nodes' callables, and the outside that they call."""

    def __init__(self, request: dict[str, Any], reaper: Reaper) -> None:
        super().__init__(request, reaper)
        self._on_unknown = "ask" if request.get("ask") else "fail"

    def by_name(self) -> dict[str, Any]:
        return {node.id: getattr(self, node.id) for node in GRAPH.nodes}

    async def order(self, ctx: NodeContext) -> Any:
        """A step, an effect that is repeated, and an idempotent one; the first run fails."""
        seen = [
            await ctx.step("look", self.call_async, "look"),
            await ctx.effect("mail", self.call, "mail", policy="repeat"),
            await ctx.effect("pay", self.call_async, "pay", policy="idempotent"),
        ]
        if ctx.attempt == 1:
            raise ConnectionError("try again")
        return {"receipt": seen}

    def send(self, ctx: NodeContext, receipt: list[str]) -> Any:
        unknown = self._on_unknown
        by = ctx.effect_sync("ship", self.call, "ship", policy="once", on_unknown=unknown)
        return {"sent_by": by}

    async def ask(self) -> Any:
        return {"asked": True}

    def sent(self) -> Any:
        return {"done": True}


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Trigger one execution, or find it, and tell how it ended."""

    functions = Functions(request, reaper).by_name()
    runtime = make_runtime(GRAPH, request, reaper, functions)
    said = request["said"]

    async def answer(_: Any = None) -> None:
        for question in runtime.pending_questions():
            await runtime.answer(question.id, {"outcome": "happened", "result": "ann saw it"})

    runtime.subscribe_to_events("client_input_requested", answer)
    async with runtime:
        await answer()  # what a process asked that is gone
        execution = await runtime.trigger("ep", {}, execution_id="e")
        result = await runtime.wait_for_completion(execution, timeout=20)
        told = runtime.event_bus.get_history("outcome_unknown")
        tell(request, result, unknown=[one.data["key"] for one in told])
    append(said, passed=reaper.passed)


if __name__ == "__main__":
    main(serve)
