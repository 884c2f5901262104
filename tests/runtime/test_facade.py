"""The surface of AgentRuntime: what each member answers before, while and after it runs."""

from pathlib import Path
from typing import Any

import pytest

from greenroom import AgentRuntime, EntryPointSpec, Goal, GraphSpec, GreenroomError, NodeSpec
from greenroom.protocol.errors import (
    EntryPointExists,
    EntryPointNotFound,
    FunctionNotFound,
    InvalidConfig,
    InvalidId,
    InvalidInput,
    NodeNotFound,
    RuntimeIsRunning,
    RuntimeNotRunning,
    UnsupportedSetting,
)
from greenroom.protocol.execution import Status

OTHER = EntryPointSpec(id="other", entry_node="work")


async def _work() -> str:
    return "done"


@pytest.mark.asyncio
async def test_before_the_start_getters_answer_none_or_empty(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    assert not runtime.is_running
    assert [spec.id for spec in runtime.get_entry_points()] == ["main"]
    assert runtime.get_stream("main") is None
    assert runtime.get_stream("nowhere") is None
    assert runtime.get_execution_result("main", "any") is None
    assert runtime.webhook_server is None
    assert runtime.intro_message == ""
    assert runtime.recovery.total == 0
    assert runtime.event_bus.get_history() == []
    assert runtime.graph.id == "graph"
    assert runtime.goal.id == "goal"
    assert await runtime.get_goal_progress()
    stats = runtime.get_stats()
    assert (stats["running"], stats["entry_points"], stats["streams"]) == (False, 1, {})
    assert not (lab.folder / "store").exists(), "the constructor touches no disk"


@pytest.mark.asyncio
async def test_while_it_runs_everything_answers(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    async with runtime:
        result = await runtime.trigger_and_wait("main")
        assert runtime.is_running
        stream = runtime.get_stream("main")
        assert stream is not None
        assert (stream.stream_id, stream.entry_point.id) == ("main", "main")
        assert stream.is_running
        assert await stream.wait_for_completion(result.execution_id) == result
        assert runtime.get_stream("nowhere") is None
        assert runtime.webhook_server is None, "there is no server without routes"
        stats = runtime.get_stats()
        assert set(stats) == {
            *("running", "entry_points", "streams", "goal_id"),
            *("outcome_aggregator", "event_bus", "state_manager", "store"),
        }
        assert (stats["running"], stats["entry_points"], stats["goal_id"]) == (True, 1, "goal")
        numbers = stats["streams"]["main"]
        assert numbers["running"] is True
        assert numbers["max_concurrent"] == 10
        assert numbers["available_slots"] == 10 - numbers["active_executions"]
        assert numbers["accepted_executions"] == 1
        assert numbers["restarts"] == 0
        assert runtime.event_bus.get_history(execution_id=result.execution_id)
        assert runtime.state_manager is not None
        assert runtime.outcome_aggregator is not None
        await runtime.get_goal_progress()
    assert not runtime.is_running
    assert runtime.get_stream("main") is None
    assert runtime.get_execution_result("main", result.execution_id) is None


@pytest.mark.asyncio
async def test_calls_that_need_a_running_runtime_say_so(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    for call in (
        runtime.trigger("main"),
        runtime.trigger_and_wait("main"),
        runtime.wait_for_completion("any"),
        runtime.cancel_execution("main", "any"),
        runtime.restart_stream("main"),
    ):
        with pytest.raises(RuntimeNotRunning, match=r"^AgentRuntime is not running") as caught:
            await call
        assert isinstance(caught.value, RuntimeError)
        assert isinstance(caught.value, GreenroomError)


@pytest.mark.asyncio
async def test_registering_is_refused_while_it_runs_and_works_again_after(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    async with runtime:
        for what, call in (
            ("register entry points", lambda: runtime.register_entry_point(OTHER)),
            ("unregister entry points", lambda: runtime.unregister_entry_point("main")),
            ("register functions", lambda: runtime.register_function("more", _work)),
        ):
            with pytest.raises(RuntimeIsRunning) as caught:
                call()
            assert str(caught.value) == f"Cannot {what} while runtime is running"
            assert isinstance(caught.value, RuntimeError)
        assert await runtime.trigger_and_wait("main", timeout=20)
    runtime.register_entry_point(OTHER)
    runtime.register_function("more", _work)
    async with runtime:
        result = await runtime.trigger_and_wait("other")
        assert result.status is Status.COMPLETED


def test_entry_points_are_checked_when_they_are_registered(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    with pytest.raises(EntryPointExists) as exists:
        runtime.register_entry_point(EntryPointSpec(id="main", entry_node="work"))
    assert str(exists.value) == "Entry point 'main' already registered"
    with pytest.raises(NodeNotFound) as lost:
        runtime.register_entry_point(EntryPointSpec(id="new", entry_node="nowhere"))
    assert str(lost.value) == "Entry node 'nowhere' not found in graph"
    for caught in (exists, lost):
        assert isinstance(caught.value, ValueError)
    assert [spec.id for spec in runtime.get_entry_points()] == ["main"]
    assert runtime.unregister_entry_point("main") is True
    assert runtime.unregister_entry_point("main") is False
    assert runtime.get_entry_points() == []


@pytest.mark.asyncio
async def test_an_unknown_entry_point_is_a_value_error_that_names_those_there_are(lab: Any) -> None:
    async with lab.runtime({"work": _work}) as runtime:
        for call in (
            runtime.trigger("nowhere"),
            runtime.trigger_and_wait("nowhere"),
            runtime.restart_stream("nowhere"),
        ):
            with pytest.raises(EntryPointNotFound) as caught:
                await call
            assert isinstance(caught.value, ValueError)
            assert str(caught.value) == "Entry point 'nowhere' not found; registered: main"
        assert runtime.get_execution_result("nowhere", "any") is None
        assert await runtime.cancel_execution("nowhere", "any") is False
        assert (await runtime.trigger_and_wait("main")).success


def test_functions_are_checked_when_they_are_registered(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    with pytest.raises(InvalidInput, match="'work' is registered already"):
        runtime.register_function("work", _work)
    with pytest.raises(InvalidInput, match="register something callable"):
        runtime.register_function("more", "not a function")
    with pytest.raises(InvalidId):
        runtime.register_function("a/b", _work)


@pytest.mark.asyncio
async def test_a_function_that_nobody_registered_is_named_by_start(lab: Any) -> None:
    runtime = lab.runtime({}, nodes=[NodeSpec(id="work"), NodeSpec(id="b", function="work")])
    runtime.unregister_entry_point("main")
    runtime.register_entry_point(EntryPointSpec(id="main", entry_node="work"))
    runtime.register_entry_point(EntryPointSpec(id="second", entry_node="b"))
    with pytest.raises(FunctionNotFound, match=r"\['work'\] are not registered"):
        await runtime.start()
    assert not runtime.is_running
    assert not (lab.folder / "store").exists(), "nothing was half started"
    runtime.register_function("work", _work)
    async with runtime:
        assert (await runtime.trigger_and_wait("second")).success


@pytest.mark.asyncio
async def test_a_runtime_without_entry_points_does_not_start(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    runtime.unregister_entry_point("main")
    with pytest.raises(InvalidConfig, match="no entry point is registered"):
        await runtime.start()
    assert not runtime.is_running


@pytest.mark.parametrize(
    "name", ["llm", "tools", "tool_executor", "runtime_log_store", "session_state"]
)
@pytest.mark.asyncio
async def test_a_setting_without_behaviour_is_refused_by_name(
    lab: Any, tmp_path: Path, name: str
) -> None:
    if name == "session_state":
        async with lab.runtime({"work": _work}) as runtime:
            with pytest.raises(UnsupportedSetting, match="session_state"):
                await runtime.trigger("main", session_state={"a": 1})
            with pytest.raises(UnsupportedSetting, match="session_state"):
                await runtime.trigger_and_wait("main", session_state={"a": 1})
        return
    graph = GraphSpec(id="graph", entry_node="work", nodes=[NodeSpec(id="work")])
    with pytest.raises(UnsupportedSetting, match=f"^{name} is not supported yet") as caught:
        AgentRuntime(graph, Goal(id="goal"), tmp_path / "none", **{name: object()})
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "none").exists()


@pytest.mark.asyncio
async def test_every_event_subscription_of_the_runtime_can_be_made_and_ended(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    got: list[Any] = []
    first = runtime.subscribe_to_events(["node_started"], got.append)
    second = runtime.subscribe_to_events("node_started", got.append, filter_stream="elsewhere")
    assert (first, second) == ("sub_1", "sub_2")
    async with runtime:
        result = await runtime.trigger_and_wait("main")
        await runtime.event_bus.settled(first)
        await runtime.event_bus.settled(second)
        assert [event.execution_id for event in got] == [result.execution_id]
        assert runtime.unsubscribe_from_events(first) is True
        assert runtime.unsubscribe_from_events(first) is False
        assert runtime.unsubscribe_from_events("sub_99") is False
        await runtime.trigger_and_wait("main")
        await runtime.event_bus.settled(second)
        assert len(got) == 1
