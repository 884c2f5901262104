"""An agent as a node of another one."""

from pathlib import Path
from typing import Any

import pytest

from greenroom import Agent, EdgeSpec, GraphSpec, InvalidGraph, InvalidInput, NodeSpec, Status


def shout(text: str) -> str:
    return text.upper()


def loud() -> Agent:
    agent = Agent("loud")
    agent.node(outputs=["loud"], then="mark")(shout)

    @agent.node(outputs=["loud"])
    def mark(loud: str) -> str:
        return f"{loud}!"

    return agent


def test_the_node_equals_the_one_written_by_hand() -> None:
    outer, inner = Agent("outer"), loud()
    outer.subgraph("speak", inner, inputs=["text"], outputs=["loud"], terminal=True, timeout_s=5)
    outer.subgraph("again", inner.graph(), then="speak", on_failure="speak")
    graph = outer.declared()
    assert graph.nodes == [
        NodeSpec(
            id="speak",
            node_type="subgraph",
            graph=inner.graph(),
            input_keys=["text"],
            output_keys=["loud"],
            timeout_s=5,
        ),
        NodeSpec(id="again", node_type="subgraph", graph=inner.graph()),
    ]
    assert graph.terminal_nodes == ["speak"]
    assert sorted(graph.edges, key=lambda edge: edge.kind) == [
        EdgeSpec(id="again-speak", source="again", target="speak", condition="on_failure"),
        EdgeSpec(id="again-speak-then", source="again", target="speak", condition="on_success"),
    ]
    assert outer.functions == inner.functions


@pytest.mark.asyncio
async def test_agents_in_agents_run(tmp_path: Path) -> None:
    """Its functions come with it, and what it does not give out stays in it."""
    outer = Agent("outer")

    @outer.node(outputs=["text"], then="speak")
    def write() -> str:
        return "hello"

    outer.subgraph("speak", loud(), inputs=["text"], outputs=["loud"], then="tell")

    @outer.node(outputs=["told"])
    def tell(loud: str) -> str:
        return f"they said {loud}"

    async with outer.runtime(tmp_path / "store") as runtime:
        result = await runtime.trigger_and_wait("default", {}, timeout=30)
    assert result.status is Status.COMPLETED, result.error
    assert result.output == {"text": "hello", "loud": "HELLO!", "told": "they said HELLO!"}
    assert result.path == ["write", "speak", "speak.shout", "speak.mark", "tell"]


def test_two_functions_under_one_name_are_refused_and_one_may_be_shared() -> None:
    outer, other = Agent("outer"), Agent("other")
    outer.subgraph("one", loud())
    other.node(outputs=["loud"])(shout)
    outer.subgraph("two", other)

    def mark() -> None: ...

    with pytest.raises(InvalidInput, match="function 'mark' is registered already"):
        outer.node()(mark)
    with pytest.raises(InvalidInput, match="function 'mark' is registered already"):
        outer.subgraph("three", loud())
    assert [node.id for node in outer.declared().nodes if node.graph] == ["one", "two"]


def test_what_is_wrong_inside_is_told_with_the_node() -> None:
    outer = Agent("outer")
    outer.subgraph("in", GraphSpec(id="g", entry_node="zz", nodes=[NodeSpec(id="a")]))
    with pytest.raises(InvalidGraph, match="graph of node 'in': entry_node names node 'zz'"):
        outer.graph()
    wrong: Any = "graph"
    outer.subgraph("text", wrong)
    with pytest.raises(InvalidGraph, match=r"id 'text'"):
        outer.graph()
