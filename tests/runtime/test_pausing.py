"""Pausing and resuming in every state: nothing is lost, or run again that was finished."""

import asyncio
import gc
from typing import Any

import msgspec
import pytest

import greenroom
from greenroom import EdgeSpec, EntryPointSpec, ExecutionNotFound, NodeSpec, NotResumable
from greenroom.protocol.execution import Status

ONE = [EntryPointSpec(id="main", entry_node="work", max_concurrent=1)]


def review(**parts: Any) -> greenroom.Agent:
    """Write, pause, then send what was approved."""
    agent = greenroom.Agent("review")
    runs = parts.setdefault("runs", [])

    @agent.node(outputs=["draft"], pause=True, then="send", **parts.get("node", {}))
    async def write(topic: str) -> str:
        runs.append("write")
        return f"about {topic}"

    @agent.node(outputs=["sent"], terminal=True)
    async def send(draft: str, approved: str) -> str:
        runs.append("send")
        return f"{draft}, {approved}"

    return agent


async def _paused(runtime: Any, execution: str) -> None:
    """Pause it, and see that everybody learns the same."""
    waiting = asyncio.ensure_future(runtime.wait_for_completion(execution))
    await asyncio.sleep(0)
    assert await runtime.pause(execution) is True
    result = runtime.get_execution_result("main", execution)
    assert (result.status, result.success, result.error) == (Status.PAUSED, False, None)
    async with asyncio.timeout(20):
        assert await waiting == result
    assert await runtime.pause(execution) is False, "it is paused already"


@pytest.mark.asyncio
async def test_a_pause_node_is_passed_on_resume_and_new_input_reaches_memory(
    tmp_path: Any,
) -> None:
    runs: list[str] = []
    async with review(runs=runs).runtime(tmp_path / "store") as runtime:
        result = await runtime.trigger_and_wait("default", {"topic": "cats"}, timeout=20)
        assert (result.status, result.paused_at) == (Status.PAUSED, "write")
        assert (result.success, result.output["draft"]) == (False, "about cats")
        await runtime.resume(result.execution_id, {"approved": "gladly"})
        ended = await runtime.wait_for_completion(result.execution_id, timeout=20)
        assert (ended.status, ended.output["sent"]) == (Status.COMPLETED, "about cats, gladly")
        assert runs == ["write", "send"]
        history = runtime.event_bus.get_history(execution_id=result.execution_id)
        kinds = [event.type.value for event in reversed(history) if "execution_" in event.type]
        assert kinds == [
            *("execution_started", "execution_paused", "execution_resumed", "execution_queued"),
            "execution_completed",
        ]


@pytest.mark.asyncio
async def test_it_goes_on_at_the_resume_entry_when_the_graph_has_one(tmp_path: Any) -> None:
    agent = review(node={"resume_at": "apply"})

    @agent.node(outputs=["applied"], terminal=True)
    async def apply(approved: str) -> str:
        return approved

    async with agent.runtime(tmp_path / "store") as runtime:
        result = await runtime.trigger_and_wait("default", {"topic": "cats"}, timeout=20)
        await runtime.resume(result.execution_id, {"approved": "yes"})
        ended = await runtime.wait_for_completion(result.execution_id, timeout=20)
        assert (ended.path, ended.output["applied"]) == (["write", "apply"], "yes")


@pytest.mark.asyncio
async def test_a_pause_outlives_restarts(tmp_path: Any) -> None:
    runs: list[str] = []
    agent = review(runs=runs)
    async with agent.runtime(tmp_path / "store") as runtime:
        paused = await runtime.trigger_and_wait("default", {"topic": "cats"}, timeout=20)
    async with agent.runtime(tmp_path / "store") as runtime:
        assert str(runtime.recovery) == "recovered=0 queued=0 waiting=0 paused=1 held=0"
        assert runtime.recovery.total == 1
        assert runtime.get_execution_result("default", paused.execution_id) == paused
        await runtime.resume(paused.execution_id, {"approved": "yes"})
        assert (await runtime.wait_for_completion(paused.execution_id, timeout=20)).success
    assert runs == ["write", "send"]


@pytest.mark.asyncio
async def test_a_running_node_is_stopped_and_not_recorded_as_done(lab: Any, new_gate: Any) -> None:
    gate, runs = new_gate(), []

    async def work(ctx: Any) -> str:
        runs.append((ctx.visit, ctx.attempt))
        await gate.wait()
        return "done"

    async with lab.runtime({"work": work}, entry_points=ONE) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        await _paused(runtime, execution)
        stats = runtime.get_stats()["streams"]["main"]
        assert (stats["active_executions"], stats["queued_executions"]) == (0, 0)
        gate.open()
        assert (await runtime.trigger_and_wait("main", timeout=20)).success, "its permit is free"
        result = runtime.get_execution_result("main", execution)
        assert (result.status, result.output) == (Status.PAUSED, {})
        await runtime.resume(execution)
        ended = await runtime.wait_for_completion(execution, timeout=20)
        assert (ended.success, ended.path, ended.total_retries) == (True, ["work"], 0)
    assert runs == [(1, 1), (1, 1), (1, 2)]


@pytest.mark.asyncio
async def test_a_queued_execution_leaves_the_line_and_comes_back(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=ONE) as runtime:
        first, queued = await runtime.trigger("main"), await runtime.trigger("main")
        await gate.came()
        await _paused(runtime, queued)
        gate.let_go()
        assert (await runtime.wait_for_completion(first, timeout=20)).success
        assert runtime.get_execution_result("main", queued).status is Status.PAUSED
        gate.open()
        await runtime.resume(queued)
        assert (await runtime.wait_for_completion(queued, timeout=20)).success


@pytest.mark.parametrize("backoff_s", [0.9, 30.0])
@pytest.mark.asyncio
async def test_a_backoff_short_or_long_is_cut_off(lab: Any, backoff_s: float) -> None:
    failing = True

    async def work() -> str:
        if failing:
            raise ValueError("not now")
        return "done"

    node = NodeSpec(id="work", max_retries=5, backoff_initial_s=backoff_s)
    runtime = lab.runtime({"work": work}, nodes=[node], entry_points=ONE)
    failed, loop = asyncio.Event(), asyncio.get_running_loop()
    runtime.subscribe_to_events("node_failed", lambda _: loop.call_soon_threadsafe(failed.set))
    async with runtime:
        execution = await runtime.trigger("main")
        await failed.wait()
        await _paused(runtime, execution)
        failing = False
        await runtime.resume(execution)
        ended = await runtime.wait_for_completion(execution, timeout=20)
        assert (ended.success, ended.retry_details) == (True, {"work": 1})


@pytest.mark.asyncio
async def test_a_failed_execution_runs_its_failed_node_again_also_after_a_restart(
    lab: Any,
) -> None:
    broken, runs = True, []

    async def first() -> str:
        runs.append("first")
        return "x"

    async def work() -> str:
        runs.append("work")
        if broken:
            raise ValueError("broken")
        return "done"

    nodes = [NodeSpec(id="first"), NodeSpec(id="work", max_retries=2, backoff_initial_s=0)]
    edges = [EdgeSpec(id="e", source="first", target="work")]
    runtime = lab.runtime({"first": first, "work": work}, nodes, edges)
    async with runtime:
        failed = await runtime.trigger_and_wait("main", timeout=20)
        assert failed.status is Status.FAILED
        await runtime.resume(failed.execution_id)
        again = await runtime.wait_for_completion(failed.execution_id, timeout=20)
        assert (again.status, again.retry_details) == (Status.FAILED, {"work": 4})
    broken = False
    async with runtime:
        assert runtime.recovery.total == 0
        await runtime.resume(failed.execution_id)
        ended = await runtime.wait_for_completion(failed.execution_id, timeout=20)
        assert (ended.status, ended.error) == (Status.COMPLETED, None)
        assert ended.node_visit_counts == {"first": 1, "work": 1}
    assert runs == ["first", *["work"] * 5]


@pytest.mark.asyncio
async def test_a_refused_resume_says_why(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    runtime = lab.runtime({"work": gate.wait}, entry_points=ONE)
    async with runtime:
        running = await runtime.trigger("main")
        await gate.came()
        with pytest.raises(NotResumable) as refused:
            await runtime.resume(running)
        assert refused.value.status == "running"
        assert await runtime.cancel_execution("main", running)
        with pytest.raises(NotResumable, match="is cancelled and cannot be resumed"):
            await runtime.resume(running)
        gate.open()
        done = await runtime.trigger_and_wait("main", timeout=20)
        with pytest.raises(NotResumable) as refused:
            await runtime.resume(done.execution_id)
        assert (refused.value.execution_id, refused.value.status) == (
            done.execution_id,
            "completed",
        )
        for unknown in ("nobody", "not/an/id"):
            with pytest.raises(ExecutionNotFound):
                await runtime.resume(unknown)
            assert await runtime.pause(unknown) is False
        assert await runtime.pause(done.execution_id) is False
        with pytest.raises(greenroom.InvalidValue):
            await runtime.resume(running, {"when": float("nan")})
        assert runtime.get_stats()["streams"]["main"]["restarts"] == 0
    with pytest.raises(greenroom.RuntimeNotRunning):
        await runtime.resume(running)


@pytest.mark.asyncio
async def test_one_of_many_resumers_wins(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=ONE) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        await _paused(runtime, execution)
        answers = await asyncio.gather(
            *(runtime.resume(execution) for _ in range(10)), return_exceptions=True
        )
        assert [one for one in answers if not isinstance(one, NotResumable)] == [None]
        gate.open()
        assert (await runtime.wait_for_completion(execution, timeout=20)).success


@pytest.mark.asyncio
async def test_a_paused_execution_can_be_cancelled(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=ONE) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        await _paused(runtime, execution)
        assert await runtime.cancel_execution("main", execution)
        assert runtime.get_execution_result("main", execution).status is Status.CANCELLED


@pytest.mark.asyncio
async def test_paused_executions_are_in_the_store_only(tmp_path: Any) -> None:
    """No task, no permit, no state in memory: also after a restart."""
    config = greenroom.AgentRuntimeConfig(execution_result_max=5_000)
    agent = review()
    agent.entry_point("api", max_queued=5_000, max_concurrent=64)
    store = tmp_path / "store"
    async with agent.runtime(store, config) as runtime:
        paused = await asyncio.gather(
            *(runtime.trigger_and_wait("api", {"topic": str(n)}, timeout=60) for n in range(1_000))
        )
        assert {one.status for one in paused} == {Status.PAUSED}
        assert _held_states() == 0
    async with agent.runtime(store, config) as runtime:
        assert runtime.recovery.paused == 1_000
        assert _held_states() == 0
        for one in paused[::100]:
            await runtime.resume(one.execution_id, {"approved": "yes"})
            ended = await runtime.wait_for_completion(one.execution_id, timeout=20)
            assert ended.output["sent"] == f"{one.output['draft']}, yes"


def _held_states() -> int:
    """Executions that a stream holds in memory."""
    gc.collect()
    streams = [one for one in gc.get_objects() if type(one).__name__ == "ExecutionStream"]
    return sum(len(one._roster) + len(one._timers._running) for one in streams)


@pytest.mark.asyncio
async def test_a_pause_node_needs_no_builder(lab: Any) -> None:
    async def work() -> str:
        return "done"

    runtime = lab.runtime({"work": work})
    graph = msgspec.structs.replace(runtime.graph, pause_nodes=["work"])
    plain = greenroom.create_agent_runtime(
        graph, runtime.goal, lab.folder / "store", runtime.get_entry_points(),
        functions={"work": work},
    )  # fmt: skip
    async with plain:
        result = await plain.trigger_and_wait("main", timeout=20)
        assert result.paused_at == "work"
        await plain.resume(result.execution_id)
        assert (await plain.wait_for_completion(result.execution_id, timeout=20)).success
