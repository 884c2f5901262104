"""The decorators declare exactly what the plain specs declare, and what they declare runs."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    Agent,
    AgentRuntimeConfig,
    EdgeCondition,
    EdgeSpec,
    EntryPointExists,
    EntryPointSpec,
    ExecutionResult,
    Goal,
    GraphSpec,
    InvalidExpression,
    InvalidGraph,
    InvalidId,
    InvalidInput,
    IsolationLevel,
    NodeContext,
    NodeNotFound,
    NodeSpec,
    StateScope,
    Status,
)

Run = Callable[[Agent, dict[str, Any]], Awaitable[ExecutionResult]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs one execution of an agent's first entry point in a store of its own."""

    async def run(agent: Agent, given: dict[str, Any]) -> ExecutionResult:
        async with agent.runtime(tmp_path / agent.id) as runtime:
            result = await runtime.trigger_and_wait(agent.entry_points[0].id, given, timeout=30)
        assert result is not None
        return result

    return run


def triage() -> Agent:
    """Two functions with a router and an answer to low confidence between them."""
    agent = Agent("triage", goal="Label every ticket", max_steps=20)

    @agent.node(outputs=["label", "confidence"], then="route", on_failure="ask", attempts=2)
    def classify(title: str, ctx: NodeContext) -> dict[str, Any]:
        if title == "broken":
            raise ValueError(f"attempt {ctx.attempt}")
        return {"label": title, "confidence": 0.9 if title != "unclear" else 0.2}

    agent.edge("classify", "ask", when="output.get('confidence', 1) < 0.5")
    agent.router("route", {"bug": "fix", "default": "answer"}, on="label")

    @agent.node(terminal=True)
    async def fix(label: str) -> dict[str, str]:
        return {"reply": f"fixed {label}"}

    @agent.node(terminal=True)
    def answer(label: str, language: str = "en") -> dict[str, str]:
        return {"reply": f"answered {label} in {language}"}

    @agent.node("ask", nullable=["reply"], terminal=True)
    def ask_a_person() -> str:
        return "asked"

    return agent


def test_the_graph_equals_the_one_written_by_hand() -> None:
    """Every field; `then` comes first, and gives way to a condition."""
    written = GraphSpec(
        id="triage",
        goal_id="triage",
        entry_node="classify",
        terminal_nodes=["fix", "answer", "ask"],
        max_steps=20,
        nodes=[
            NodeSpec(
                id="classify",
                input_keys=["title"],
                output_keys=["label", "confidence"],
                max_retries=2,
            ),
            NodeSpec(
                id="route",
                node_type="router",
                input_keys=["label"],
                route_on="label",
                routes={"bug": "fix", "default": "answer"},
            ),
            NodeSpec(id="fix", input_keys=["label"]),
            NodeSpec(id="answer", input_keys=["label", "language"]),
            NodeSpec(id="ask", output_keys=["reply"], nullable_output_keys=["reply"]),
        ],
        edges=[
            EdgeSpec(
                id="classify-route",
                source="classify",
                target="route",
                condition=EdgeCondition.OTHERWISE,
            ),
            EdgeSpec(
                id="classify-ask",
                source="classify",
                target="ask",
                condition=EdgeCondition.ON_FAILURE,
            ),
            EdgeSpec(
                id="classify-ask-2",
                source="classify",
                target="ask",
                condition=EdgeCondition.CONDITIONAL,
                condition_expr="output.get('confidence', 1) < 0.5",
            ),
        ],
    )
    assert triage().graph() == written


def test_a_graph_taken_earlier_does_not_change_with_the_agent() -> None:
    """The builder hands out lists of its own."""
    agent = triage()
    before, functions = agent.graph(), agent.functions

    @agent.node()
    def late() -> None: ...

    agent.edge("answer", "late")
    assert before == triage().graph()
    assert "late" not in functions
    assert agent.graph() != before


@pytest.mark.parametrize(
    ("title", "reply", "path"),
    [
        ("bug", "fixed bug", ["classify", "route", "fix"]),
        ("feature", "answered feature in en", ["classify", "route", "answer"]),
        ("unclear", "asked", ["classify", "ask"]),
        ("broken", "asked", ["classify", "ask"]),
    ],
)
@pytest.mark.asyncio
async def test_what_is_declared_runs(run: Run, title: str, reply: str, path: list[str]) -> None:
    """Routes, conditions, failures and parameters with defaults, over a real store."""
    agent = triage()
    result = await run(agent, {"title": title})
    assert (result.status, result.output["reply"], result.path) == (Status.COMPLETED, reply, path)
    assert result.retry_details == ({"classify": 2} if title == "broken" else {})


@pytest.mark.asyncio
async def test_functions_for_updates_are_registered(run: Run) -> None:
    """`ctx.update` takes a function that `agent.function` declared, by itself or by name."""
    agent = Agent("counting")

    @agent.function
    def plus(value: int | None, amount: int) -> int:
        return (value or 0) + amount

    @agent.node(outputs=["total"])
    async def add(amount: int, ctx: NodeContext) -> int:
        await ctx.update("total", plus, amount, scope=StateScope.GLOBAL)
        await ctx.update("total", "plus", amount, scope=StateScope.GLOBAL)
        total: int = await ctx.read("total", scope=StateScope.GLOBAL)
        return total

    assert (await run(agent, {"amount": 3})).output["total"] == 6


@pytest.mark.asyncio
async def test_inputs_of_an_edge_are_renamed(run: Run) -> None:
    """`inputs` of an edge maps keys for the target to keys of the source's output."""
    agent = Agent("renaming")

    @agent.node(outputs=["text"])
    def first() -> str:
        return "hello"

    @agent.node(outputs=["loud"])
    def second(word: str) -> str:
        return word.upper()

    agent.edge("first", "second", inputs={"word": "text"})
    assert (await run(agent, {})).output["loud"] == "HELLO"


@pytest.mark.asyncio
async def test_a_lambda_or_partial_needs_an_id_and_then_runs(run: Run) -> None:
    """Not every callable has a name of its own."""
    agent = Agent("nameless")
    with pytest.raises(InvalidInput, match="id="):
        agent.node()(lambda: 1)
    agent.node("one", outputs=["value"])(lambda: 1)
    assert (await run(agent, {})).output == {"value": 1}


def test_the_decorated_function_stays_as_it_is() -> None:
    """It can be tested, and called, like any other."""
    agent = Agent("plain")

    def double(number: int) -> int:
        return 2 * number

    assert agent.node()(double) is double
    assert agent.function(max) is max


def test_settings_of_the_specs_are_passed_on() -> None:
    """Fields without a parameter of their own go by their own names."""
    agent = Agent("settings", description="all of them", version="2.0.0")

    @agent.node(inputs=["a"], backoff_initial_s=0.5, max_node_visits=0, inline=True)
    def work(a: int, b: int = 2) -> None: ...

    agent.entry_point(
        "api", trigger_type="api", isolation_level="synchronized", max_concurrent=3, priority=1
    )
    graph = agent.graph()
    assert (graph.description, graph.version) == ("all of them", "2.0.0")
    assert graph.nodes == [
        NodeSpec(id="work", input_keys=["a"], backoff_initial_s=0.5, max_node_visits=0, inline=True)
    ]
    assert agent.entry_points == [
        EntryPointSpec(
            id="api",
            entry_node="work",
            trigger_type="api",
            isolation_level=IsolationLevel.SYNCHRONIZED,
            max_concurrent=3,
            priority=1,
        )
    ]


def test_an_agent_without_entry_points_has_a_default_one(tmp_path: Path) -> None:
    """At the node that was declared first; a declared one replaces it."""
    agent = triage()
    assert agent.entry_points == [EntryPointSpec(id="default", entry_node="classify")]
    assert agent.runtime(tmp_path).get_entry_points() == agent.entry_points
    agent.entry_point("questions", "answer")
    assert [one.id for one in agent.entry_points] == ["questions"]


def test_goal_and_config_reach_the_runtime(tmp_path: Path) -> None:
    """The builder makes a runtime as `create_agent_runtime` would, and touches no disk."""
    goal = Goal(id="all_answered", name="Answer everything")
    agent = Agent("goals", goal=goal)
    agent.node("one")(lambda: None)
    runtime = agent.runtime(tmp_path / "store", AgentRuntimeConfig(max_history=5))
    assert runtime.goal is goal
    assert runtime.graph.goal_id == "all_answered"
    assert not (tmp_path / "store").exists()


def _declare(agent: Agent, *ids: str) -> None:
    for one in ids:
        agent.node(one)(lambda: None)


@pytest.mark.parametrize(
    ("declare", "error", "says"),
    [
        (lambda a: _declare(a, "a", "a"), InvalidGraph, "'a' is declared twice"),
        (lambda a: _declare(a, "a/b"), InvalidId, "contains '/'"),
        (lambda a: a.node(max), InvalidInput, "@agent.node"),
        (lambda a: a.node("x")(lambda v, /: v), InvalidGraph, "'v' can only be given by position"),
        (lambda a: a.edge("a", "b", when="output. >"), InvalidExpression, "does not parse"),
        (lambda a: a.edge("a", "b", when="x", always=True), InvalidGraph, "use one of when"),
        (lambda a: a.entry_point("api"), InvalidGraph, "has no nodes"),
        (lambda a: (a.entry_point("e", "n"), a.entry_point("e", "n")), EntryPointExists, "'e'"),
        (lambda a: (a.function(max), a.function(max)), InvalidInput, "'max' is registered"),
        (lambda a: a.node("x", max_visits=3)(lambda: 1), TypeError, "max_visits"),
        (lambda a: Agent("bad id"), InvalidId, "contains ' '"),
    ],
)
def test_what_is_wrong_by_itself_is_refused_where_it_is_declared(
    declare: Callable[[Agent], object], error: type[Exception], says: str
) -> None:
    """Before anything is built, with a text that says how to mend it."""
    with pytest.raises(error, match=says):
        declare(Agent("wrong"))


def test_what_concerns_several_parts_is_refused_when_built(tmp_path: Path) -> None:
    """All problems at once: an edge to nowhere, a route to nowhere, a node nobody reaches."""
    agent = Agent("wrong")
    with pytest.raises(InvalidGraph, match="has no nodes"):
        agent.graph()
    _declare(agent, "first", "alone")
    agent.edge("first", "nowhere")
    agent.router("route", {"default": "lost"})
    for build in (agent.graph, lambda: agent.runtime(tmp_path / "store")):
        with pytest.raises(InvalidGraph) as refused:
            build()
        text = str(refused.value)
        assert "'nowhere'" in text
        assert "'lost'" in text
        assert "'alone' is unreachable" in text
    assert not (tmp_path / "store").exists()


def test_an_entry_point_at_no_node_is_refused(tmp_path: Path) -> None:
    """By the graph's own check, which names the node."""
    agent = triage()
    agent.entry_point("api", "nobody")
    with pytest.raises((InvalidGraph, NodeNotFound), match="nobody"):
        agent.runtime(tmp_path)
