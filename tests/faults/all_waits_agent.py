"""An agent with everything that makes an execution wait, and every kind of effect; it dies on
command. See agent.py for how it is asked.

Points to be killed at, besides "before" and "after" the k-th commit: "inside" the k-th call to the
outside, before it is made, "called", after it, and "answered", after the k-th answer to a question.
"""

from typing import Any

from agent import Reaper, append, main
from small_agent import Outside, make_runtime, tell

from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.events import EventType
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

NAP_S = 0.2
BACKOFF_S = 1.0  # from here on a backoff is a wait: it holds no permit

GRAPH = GraphSpec(
    id="graph",
    goal_id="goal",
    entry_node="order",
    terminal_nodes=["done"],
    nodes=[
        NodeSpec(id="order", output_keys=["receipt"], max_retries=2, backoff_initial_s=BACKOFF_S),
        NodeSpec(id="ask", output_keys=["approved", "question"]),
        NodeSpec(id="nap", output_keys=["slept"]),
        NodeSpec(id="ship", output_keys=["sent_by"]),
        NodeSpec(id="doubt", output_keys=["doubtful"]),
        NodeSpec(id="done", input_keys=["approved"], output_keys=["reply"]),
    ],
    edges=[
        EdgeSpec(id="o-a", source="order", target="ask", condition="on_success"),
        EdgeSpec(
            id="a-n",
            source="ask",
            target="nap",
            condition="conditional",
            condition_expr="output.approved == 'yes'",
        ),
        EdgeSpec(id="n-s", source="nap", target="ship"),
        EdgeSpec(id="s-d", source="ship", target="done", condition="on_success"),
        EdgeSpec(id="s-f", source="ship", target="doubt", condition="on_failure"),
        EdgeSpec(id="f-d", source="doubt", target="done"),
    ],
)


class Functions(Outside):
    """The nodes' callables, and the outside that they call."""

    def by_name(self) -> dict[str, Any]:
        return {node.id: getattr(self, node.id) for node in GRAPH.nodes}

    def _enter(self, ctx: NodeContext) -> None:
        append(self._ledger, node=ctx.node_id, visit=ctx.visit, attempt=ctx.attempt)

    async def order(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        seen = [
            await ctx.step("look", self.call_async, "look"),
            await ctx.effect("mail", self.call, "mail", policy="repeat"),
            await ctx.effect("pay", self.call_async, "pay", policy="idempotent"),
        ]
        if ctx.attempt == 1:
            raise ConnectionError("try again")
        return {"receipt": seen}

    def ask(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        schema = {"type": "string", "enum": ["yes", "no"]}
        question = ctx.ask("Shall it be sent?", to="approved", schema=schema)
        return {"question": question}

    def nap(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        ctx.sleep(NAP_S)
        return {"slept": True}

    def ship(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        return {"sent_by": ctx.effect_sync("ship", self.call, "ship", policy="once")}

    def doubt(self, ctx: NodeContext) -> Any:
        self._enter(ctx)
        return {"doubtful": True}

    def done(self, ctx: NodeContext, approved: str) -> Any:
        self._enter(ctx)
        return {"reply": f"approved: {approved}"}


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Trigger one execution, or find it, answer what it asks, and tell how it ended."""

    functions = Functions(request, reaper).by_name()
    runtime = make_runtime(GRAPH, request, reaper, functions)
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
        execution = await runtime.trigger("ep", {}, execution_id="e")
        result = await runtime.wait_for_completion(execution, timeout=20)
        tell(request, result)
    append(said, passed=reaper.passed)


if __name__ == "__main__":
    main(serve)
