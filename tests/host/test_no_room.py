"""What a full queue, a bad key and a bad timeout do, and do not do."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host.agent_builder import Agent
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.protocol.errors import (
    IdempotencyConflict,
    InvalidId,
    InvalidInput,
    InvalidValue,
    Overloaded,
)
from greenroom.storage.check import check


class Door:
    """Nodes wait behind it until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()

    def runtime(self, store: Path, **settings: Any) -> AgentRuntime:
        agent = Agent("doors")

        @agent.node(outputs=("out",))
        async def through(x: int = 0) -> int:
            self.reached.set()
            await self.opened.wait()
            return x

        agent.entry_point("main", node="through", **settings)
        return agent.runtime(store)


@pytest.mark.asyncio
async def test_a_repeat_is_answered_with_the_first_execution_when_there_is_no_room(
    tmp_path: Path,
) -> None:
    """By key, by id, waiting or not; a key with other input is still a conflict."""
    door = Door()
    runtime = door.runtime(tmp_path / "store", max_concurrent=1, max_queued=0)
    async with asyncio.timeout(30), runtime:
        first = await runtime.trigger("main", {"x": 1}, idempotency_key="k")
        await door.reached.wait()
        with pytest.raises(Overloaded):
            await runtime.trigger("main", {"x": 1})
        with pytest.raises(Overloaded):
            await runtime.trigger("main", {"x": 1}, idempotency_key="another")
        assert await runtime.trigger("main", {"x": 1}, idempotency_key="k") == first
        assert await runtime.trigger("main", {"x": 1}, execution_id=first) == first
        with pytest.raises(IdempotencyConflict) as caught:
            await runtime.trigger("main", {"x": 2}, idempotency_key="k")
        assert caught.value.execution_id == first
        waiting = asyncio.create_task(
            runtime.trigger_and_wait("main", {"x": 1}, idempotency_key="k")
        )
        door.opened.set()
        result = await waiting
        assert result is not None
        assert result.execution_id == first
    assert check(tmp_path / "store") == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {"idempotency_key": "\ud800"}),
        ({"\ud800": 1}, {}),
        ({"x": "\ud800"}, {}),
        ({}, {"idempotency_key": ""}),
    ],
)
async def test_a_text_without_bytes_is_refused_and_takes_no_place(
    tmp_path: Path, given: dict[str, Any], options: dict[str, Any]
) -> None:
    """Ten refusals leave all of the room there was."""
    door = Door()
    runtime = door.runtime(tmp_path / "store", max_concurrent=1, max_queued=1)
    async with asyncio.timeout(30), runtime:
        for _ in range(10):
            with pytest.raises(InvalidValue):
                await runtime.trigger("main", given, **options)
        door.opened.set()
        result = await runtime.trigger_and_wait("main", {"x": 3})
        assert result is not None
        assert result.output["out"] == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", ["5", -1, float("nan"), True])
async def test_a_timeout_that_is_none_is_refused_before_anything_is_accepted(
    tmp_path: Path, timeout: Any
) -> None:
    door = Door()
    runtime = door.runtime(tmp_path / "store")
    async with asyncio.timeout(30), runtime:
        with pytest.raises(InvalidInput):
            await runtime.trigger_and_wait("main", {}, timeout=timeout, execution_id="never")
        with pytest.raises(InvalidInput):
            await runtime.wait_for_completion("never", timeout=timeout)
        assert await runtime.wait_for_completion("never", timeout=0) is None
        stream = runtime.get_stream("main")
        assert stream is not None
        assert stream.get_stats()["accepted_executions"] == 0


@pytest.mark.asyncio
async def test_ids_that_no_execution_can_have_are_unknown_and_other_types_are_refused(
    tmp_path: Path,
) -> None:
    async with asyncio.timeout(30), Door().runtime(tmp_path / "store") as runtime:
        for impossible in ("", "a/b", "..", "\ud800", "x" * 1000):
            assert runtime.get_execution_result("main", impossible) is None
            assert await runtime.wait_for_completion(impossible) is None
            assert await runtime.cancel_execution("main", impossible) is False
        wrong: Any
        for wrong in (None, 5, ["x"]):
            with pytest.raises(InvalidId):
                runtime.get_execution_result("main", wrong)
            with pytest.raises(InvalidId):
                await runtime.wait_for_completion(wrong)
            with pytest.raises(InvalidId):
                await runtime.cancel_execution("main", wrong)
