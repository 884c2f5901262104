"""A fault that belongs to one execution stays there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host.agent_builder import Agent
from greenroom.actors.stream import reception, steps
from greenroom.protocol.engine import advance as engine
from greenroom.protocol.engine.ticks import NodeSucceeded
from greenroom.protocol.errors import PoisonMessage
from greenroom.protocol.execution import Status
from greenroom.protocol.stream_messages import Trigger
from greenroom.storage.check import check


def _agent(**settings: Any) -> Agent:
    agent = Agent("faults")

    @agent.node(outputs=("y",))
    async def double(x: int) -> dict[str, Any]:
        return {"y": 2 * x}

    agent.entry_point("main", node="double", **settings)
    return agent


@pytest.mark.asyncio
async def test_an_execution_whose_step_cannot_be_decided_is_held_and_the_stream_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine raises for one execution; its stream is not restarted, the others complete."""

    def faulty(plan: Any, state: Any, tick: Any, now: float) -> Any:
        if isinstance(tick, NodeSucceeded) and state.accepted.execution_id == "bad":
            raise ZeroDivisionError("planted")
        return engine.advance(plan, state, tick, now)

    monkeypatch.setattr(steps, "advance", faulty)
    runtime = _agent().runtime(tmp_path / "store")
    async with asyncio.timeout(30), runtime:
        bad, good = await asyncio.gather(
            runtime.trigger_and_wait("main", {"x": 1}, execution_id="bad"),
            runtime.trigger_and_wait("main", {"x": 2}, execution_id="good"),
        )
        assert bad is not None
        assert bad.status is Status.HELD
        assert "planted" in str(bad.error)
        assert good is not None
        assert good.success
        stream = runtime.get_stream("main")
        assert stream is not None
        assert stream.get_stats()["restarts"] == 0
        assert stream.get_active_count() == 0
    assert check(tmp_path / "store") == []


@pytest.mark.asyncio
async def test_a_trigger_that_crashes_its_stream_three_times_is_refused_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller gets PoisonMessage and its place in the queue is free again."""
    make = reception.accepted_from

    def faulty(trigger: Trigger, *others: Any) -> Any:
        if trigger.execution_id == "poison":
            raise ZeroDivisionError("planted")
        return make(trigger, *others)

    monkeypatch.setattr(reception, "accepted_from", faulty)
    runtime = _agent(max_concurrent=1, max_queued=0).runtime(tmp_path / "store")
    async with asyncio.timeout(30), runtime:
        with pytest.raises(PoisonMessage):
            await runtime.trigger("main", {"x": 1}, execution_id="poison")
        result = await runtime.trigger_and_wait("main", {"x": 2})
        assert result is not None
        assert result.success
    assert check(tmp_path / "store") == []


@pytest.mark.asyncio
async def test_the_same_trigger_sent_many_times_at_once_is_one_execution(tmp_path: Path) -> None:
    """All of them are answered after the one commit."""
    runtime = _agent().runtime(tmp_path / "store")
    async with asyncio.timeout(30), runtime:
        ids = await asyncio.gather(
            *(runtime.trigger("main", {"x": 1}, execution_id="same") for _ in range(50))
        )
        assert set(ids) == {"same"}
        result = await runtime.wait_for_completion("same")
        assert result is not None
        assert result.node_visit_counts == {"double": 1}
        stream = runtime.get_stream("main")
        assert stream is not None
        assert stream.get_stats()["accepted_executions"] == 1
    assert check(tmp_path / "store") == []
