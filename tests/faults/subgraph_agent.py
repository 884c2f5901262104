"""An agent whose graph holds another one, which maps a list and fans out, and which dies on
command; see agent.py for how it is asked.

Every run of a node enters the ledger. Points to be killed at, besides "before" and "after" the k-th
commit: "inside" the k-th node run.
"""

from typing import Any

from agent import Reaper, append, main
from small_agent import make_runtime, tell

from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec

ITEMS = [1, 2, 3]
WITHIN = GraphSpec(
    id="within",
    entry_node="split",
    nodes=[
        NodeSpec(id="split", output_keys=["items"]),
        NodeSpec(id="weigh", input_keys=["item"], output_keys=["weight"]),
        NodeSpec(id="add", input_keys=["weights"], output_keys=["sum"]),
        NodeSpec(id="left", input_keys=["sum"], output_keys=["left"]),
        NodeSpec(id="right", input_keys=["sum"], output_keys=["right"]),
        NodeSpec(id="join", input_keys=["left", "right"], output_keys=["whole"]),
    ],
    edges=[
        EdgeSpec(
            id="each",
            source="split",
            target="weigh",
            map=MapSpec(over="items", collect="weight", into="weights", concurrency=2),
        ),
        EdgeSpec(id="then", source="weigh", target="add"),
        EdgeSpec(id="one", source="add", target="left"),
        EdgeSpec(id="two", source="add", target="right"),
        EdgeSpec(id="three", source="left", target="join"),
        EdgeSpec(id="four", source="right", target="join"),
    ],
)
GRAPH = GraphSpec(
    id="graph",
    goal_id="goal",
    entry_node="first",
    nodes=[
        NodeSpec(id="first", output_keys=["given"]),
        NodeSpec(id="in", node_type="subgraph", graph=WITHIN, output_keys=["whole"]),
        NodeSpec(id="last", input_keys=["whole"], output_keys=["told"]),
    ],
    edges=[
        EdgeSpec(id="begin", source="first", target="in"),
        EdgeSpec(id="end", source="in", target="last"),
    ],
)
CALLS: dict[str, Any] = {
    "first": lambda: "text",
    "split": lambda: ITEMS,
    "weigh": lambda item: item * 10,
    "add": lambda weights: sum(weights),
    "left": lambda sum: sum + 1,
    "right": lambda sum: sum + 2,
    "join": lambda left, right: [left, right],
    "last": lambda whole: whole,
}


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Trigger one execution, or find it, and tell how it ended."""

    async def call(ctx: NodeContext, **inputs: Any) -> Any:
        item = inputs.get("item")
        append(request["ledger"], node=ctx.node_id, item=item, attempt=ctx.attempt)
        reaper.reach("inside")
        return CALLS[ctx.node_id.removeprefix("in.")](**inputs)

    runtime = make_runtime(GRAPH, request, reaper, dict.fromkeys(CALLS, call))
    async with runtime:
        await runtime.trigger("ep", {}, execution_id="e")
        tell(request, await runtime.wait_for_completion("e", timeout=30))
    append(request["said"], passed=reaper.passed)


if __name__ == "__main__":
    main(serve)
