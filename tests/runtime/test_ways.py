"""Ways through a graph: conditions, priorities, mappings, routes, visits, steps and ends."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, NodeSpec
from greenroom.protocol.execution import Status


async def _run(runtime: Any, data: dict[str, Any] | None = None, entry: str = "main") -> Any:
    async with runtime:
        async with asyncio.timeout(20):
            return await runtime.trigger_and_wait(entry, data)


def _edge(source: str, target: str, condition: str = "always", **more: Any) -> EdgeSpec:
    return EdgeSpec(
        id=f"{source}-{target}", source=source, target=target, condition=condition, **more
    )


def _says(name: str) -> Any:
    async def function() -> dict[str, str]:
        return {"last": name}

    return function


def _saying(*names: str) -> dict[str, Any]:
    return {name: _says(name) for name in names}


@pytest.mark.parametrize(
    ("condition", "good", "target"),
    [
        ("always", True, "b"),
        ("always", False, "b"),
        ("on_success", True, "b"),
        ("on_success", False, None),
        ("on_failure", True, None),
        ("on_failure", False, "b"),
    ],
)
@pytest.mark.asyncio
async def test_each_condition_is_taken_when_its_name_says_so(
    lab: Any, condition: str, good: bool, target: str | None
) -> None:
    async def a() -> str:
        if not good:
            raise ValueError("broken")
        return "fine"

    nodes = [NodeSpec(id="a", max_retries=1), NodeSpec(id="b")]
    functions = {"a": a, **_saying("b")}
    result = await _run(lab.runtime(functions, nodes=nodes, edges=[_edge("a", "b", condition)]))
    assert result.path == (["a", "b"] if target else ["a"])
    ended_well = good or target is not None
    assert result.status is (Status.COMPLETED if ended_well else Status.FAILED)
    if not good:
        assert result.nodes_with_failures == ["a"]
        assert result.execution_quality == ("degraded" if target else "failed")


@pytest.mark.parametrize(
    ("confidence", "path"), [(0.9, ["a", "sure"]), (0.5, ["a", "maybe"]), (0.1, ["a", "no"])]
)
@pytest.mark.asyncio
async def test_conditions_read_the_output_by_attribute_in_the_order_of_priority(
    lab: Any, confidence: float, path: list[str]
) -> None:
    """B7, and the order: priority first, then the order of the graph."""

    async def a() -> dict[str, Any]:
        return {"confidence": confidence, "deep": {"x": [1]}}

    edges = [
        _edge("a", "no", "conditional", condition_expr="true"),
        _edge("a", "maybe", "conditional", condition_expr="output.confidence > 0.3", priority=1),
        _edge(
            *("a", "sure", "conditional"),
            condition_expr="output.confidence > 0.8 and memory.deep.x[0] == 1",
            priority=2,
        ),
    ]
    functions = {"a": a, **_saying("no", "maybe", "sure")}
    result = await _run(lab.runtime(functions, edges=edges))
    assert (result.status, result.path) == (Status.COMPLETED, path)


@pytest.mark.asyncio
async def test_and_and_or_short_circuit(lab: Any) -> None:
    expression = "'x' in memory and memory.x > 1 or output.get('y') is None"
    edges = [_edge("a", "b", "conditional", condition_expr=expression)]
    runtime = lab.runtime(_saying("a", "b"), edges=edges)
    result = await _run(runtime)
    assert result.path == ["a", "b"]


@pytest.mark.asyncio
async def test_a_broken_condition_is_an_event_and_the_next_edge_is_tried(lab: Any) -> None:
    edges = [
        _edge("a", "b", "conditional", condition_expr="output.missing > 1", priority=1),
        _edge("a", "c"),
    ]
    runtime = lab.runtime(_saying("a", "b", "c"), edges=edges)
    async with runtime:
        result = await runtime.trigger_and_wait("main")
        assert (result.status, result.path) == (Status.COMPLETED, ["a", "c"])
        (event,) = runtime.event_bus.get_history("edge_error")
        assert (event.node_id, event.execution_id) == ("a", result.execution_id)
        assert event.data["edge"] == "a-b"
        assert "missing" in event.data["error"]


@pytest.mark.asyncio
async def test_when_no_edge_is_taken_and_one_is_broken_the_execution_fails(lab: Any) -> None:
    edges = [_edge("a", "b", "conditional", condition_expr="output.missing > 1")]
    result = await _run(lab.runtime(_saying("a", "b"), edges=edges))
    assert (result.status, result.path) == (Status.FAILED, ["a"])
    assert "no edge from node 'a' could be taken" in result.error


@pytest.mark.asyncio
async def test_input_mappings_rename_and_swap(lab: Any) -> None:
    async def a() -> dict[str, Any]:
        return {"x": 1, "y": 2}

    async def b(x: int, y: int, z: str) -> dict[str, Any]:
        return {"seen": [x, y, z]}

    nodes = [NodeSpec(id="a"), NodeSpec(id="b", input_keys=["x", "y", "z"])]
    edges = [_edge("a", "b", input_mapping={"x": "y", "y": "x", "z": "given", "w": "nowhere"})]
    result = await _run(lab.runtime({"a": a, "b": b}, nodes=nodes, edges=edges), {"given": "g"})
    assert result.output["seen"] == [2, 1, "g"]
    assert "w" not in result.output


@pytest.mark.parametrize(
    ("value", "target"),
    [("red", "r"), ("darkblue", "b"), ("green", "d"), (True, "s"), (False, "f"), (7, "n")],
)
@pytest.mark.asyncio
async def test_routers_pick_by_value(lab: Any, value: Any, target: str) -> None:
    routes = {"red": "r", "blue": "b", "default": "d", "success": "s", "failure": "f", "7": "n"}
    nodes = [
        NodeSpec(id="route", node_type="router", routes=routes, route_on="color"),
        *(NodeSpec(id=one) for one in routes.values()),
    ]
    runtime = lab.runtime(_saying(*routes.values()), nodes=nodes)
    result = await _run(runtime, {"color": value})
    assert (result.status, result.path) == (Status.COMPLETED, ["route", target])


@pytest.mark.asyncio
async def test_a_visit_limit_skips_the_node_and_follows_its_edges(lab: Any) -> None:
    calls: list[str] = []

    async def a() -> None:
        calls.append("a")

    async def b() -> None:
        calls.append("b")

    nodes = [NodeSpec(id="a", max_node_visits=2), NodeSpec(id="b", max_node_visits=0)]
    edges = [_edge("a", "b"), _edge("b", "a")]
    runtime = lab.runtime({"a": a, "b": b}, nodes=nodes, edges=edges, max_steps=9)
    result = await _run(runtime)
    assert calls == ["a", "b", "a", "b", "b", "b"]
    assert (result.node_visit_counts, result.steps_executed) == ({"a": 5, "b": 4}, 9)


@pytest.mark.asyncio
async def test_used_up_steps_are_exhausted_and_no_success(lab: Any) -> None:
    """B8."""
    nodes = [NodeSpec(id=one, max_node_visits=0) for one in ("a", "b")]
    edges = [_edge("a", "b"), _edge("b", "a")]
    runtime = lab.runtime(_saying("a", "b"), nodes=nodes, edges=edges, max_steps=5)
    async with runtime:
        result = await runtime.trigger_and_wait("main")
        assert (result.status, result.success) == (Status.EXHAUSTED, False)
        assert result.path == ["a", "b", "a", "b", "a"]
        assert result.steps_executed == 5
        assert result.execution_quality == "failed"
        assert "max_steps of 5" in result.error
        types = [event.type for event in runtime.event_bus.get_history()]
        assert "execution_exhausted" in types
        assert "execution_failed" not in types
        assert "execution_completed" not in types


@pytest.mark.asyncio
async def test_a_terminal_node_ends_the_run_whatever_edges_it_has(lab: Any) -> None:
    edges = [_edge("a", "b"), _edge("b", "c")]
    result = await _run(lab.runtime(_saying("a", "b", "c"), edges=edges, terminal=["b"]))
    assert (result.status, result.path) == (Status.COMPLETED, ["a", "b"])


@pytest.mark.asyncio
async def test_disjoint_entry_nodes_each_run_their_part_of_the_graph(lab: Any) -> None:
    """B2: the graph is used as declared."""
    points = [EntryPointSpec(id=f"to-{one}", entry_node=one) for one in ("a", "x")]
    runtime = lab.runtime(
        _saying("a", "b", "x", "y"), edges=[_edge("a", "b"), _edge("x", "y")], entry_points=points
    )
    declared = runtime.graph
    async with runtime:
        assert (await runtime.trigger_and_wait("to-a")).path == ["a", "b"]
        assert (await runtime.trigger_and_wait("to-x")).path == ["x", "y"]
        assert runtime.graph is declared


@pytest.mark.asyncio
async def test_a_clean_run_says_so(lab: Any) -> None:
    result = await _run(lab.runtime(_saying("a")), {"given": 1})
    assert result.is_clean_success
    assert not result.is_degraded_success
    assert (result.execution_quality, result.had_partial_failures) == ("clean", False)
    assert result.output == {"given": 1, "last": "a"}, "the output is the whole memory"
    assert (result.total_retries, result.retry_details, result.error) == (0, {}, None)
    assert (result.total_tokens, result.paused_at, result.session_state) == (0, None, {})
