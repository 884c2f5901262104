"""What a start no longer has: the work that needs it is held with that reason, the rest runs."""

import asyncio

import pytest

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.protocol.errors import FunctionNotFound
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

pytestmark = [pytest.mark.faults, pytest.mark.asyncio]

QUICK = {"shutdown_timeout_s": 0.1}


async def test_work_of_an_entry_point_that_is_gone_is_held(line, line_runtime) -> None:
    nodes = line("middle")
    async with line_runtime(nodes, config=QUICK, a={"max_concurrent": 1}, b={}) as runtime:
        running = await runtime.trigger("a", {"number": 1})
        queued = await runtime.trigger("a", {"number": 2})
        other = await runtime.trigger("b", {"number": 3})
        await nodes.entered["middle"].wait()
    nodes.open_all()
    reason = "entry point 'a' is not registered any more"
    async with line_runtime(nodes, b={}) as runtime:
        assert runtime.recovery.held == {running: reason, queued: reason}
        for one in (running, queued):
            result = await runtime.wait_for_completion(one, 10)
            assert (result.status, result.error) == (Status.HELD, reason)
        assert (await runtime.wait_for_completion(other, 10)).output["answer"] == 7
    # It stays held, and visible, whoever starts next.
    async with line_runtime(nodes, a={}, b={}) as runtime:
        assert set(runtime.recovery.held) == {running, queued}
        assert runtime.get_execution_result("a", running).status is Status.HELD
        assert (await runtime.trigger_and_wait("a", {"number": 4})).output["answer"] == 9


SHORTER = GraphSpec(
    id="line",
    goal_id="goal",
    entry_node="first",
    terminal_nodes=["last"],
    nodes=[
        NodeSpec(id="first", input_keys=["number"], output_keys=["double"]),
        NodeSpec(id="last", input_keys=["more"], output_keys=["answer"]),
    ],
    edges=[
        EdgeSpec(id="f-l", source="first", target="last", input_mapping={"more": "double"}),
    ],
)


async def test_work_at_a_node_that_is_gone_is_held(line, line_runtime) -> None:
    nodes = line("middle", "first")
    async with line_runtime(nodes, config=QUICK, ep={"max_concurrent": 2}) as runtime:
        lost = await runtime.trigger("ep", {"number": 1})
        await nodes.entered["first"].wait()
        nodes.shut["first"].set()
        await nodes.entered["middle"].wait()
        nodes.shut["first"].clear()
        nodes.entered["first"].clear()
        early = await runtime.trigger("ep", {"number": 2})
        queued = await runtime.trigger("ep", {"number": 3})
        await nodes.entered["first"].wait()
    nodes.open_all()
    async with line_runtime(nodes, graph=SHORTER) as runtime:
        reason = runtime.recovery.held[lost]
        assert "node 'middle' is not in graph 'line' any more" in reason
        result = await runtime.wait_for_completion(lost, 10)
        assert (result.status, result.error) == (Status.HELD, reason)
        assert (await runtime.wait_for_completion(early, 10)).output["answer"] == 4
        assert (await runtime.wait_for_completion(queued, 10)).output["answer"] == 6


async def test_a_start_without_a_function_harms_nothing(line, line_runtime, tmp_path) -> None:
    nodes = line("middle")
    whole = line_runtime(nodes, config=QUICK)
    async with whole:
        one = await whole.trigger("ep", {"number": 1})
        await nodes.entered["middle"].wait()
    nodes.open_all()
    functions = {"first": nodes.first, "last": nodes.last}
    partial = AgentRuntime(whole.graph, whole.goal, tmp_path / "line", functions=functions)
    partial.register_entry_point(whole.get_entry_points()[0])
    with pytest.raises(FunctionNotFound, match="middle"):
        await partial.start()
    assert not partial.is_running
    async with asyncio.timeout(20), whole:
        assert (await whole.wait_for_completion(one)).output["answer"] == 3
