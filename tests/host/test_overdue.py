"""Backoffs whose time came while nobody was there."""

import asyncio
import time
from pathlib import Path

import pytest

from greenroom.actors.host.agent_builder import Agent
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.kernel.clock import SystemClock
from greenroom.protocol.execution import Status
from greenroom.storage.check import check

COUNT = 250  # more than two pages of a recovery


class Flaky:
    """Fails until it is told to work; asks for `backoff_s` before the second attempt."""

    def __init__(self, backoff_s: float) -> None:
        self.works = False
        self.backoff_s = backoff_s
        self.failed = 0
        self.all_failed = asyncio.Event()

    def runtime(self, store: Path) -> AgentRuntime:
        agent = Agent("flaky")

        @agent.node(outputs=("done",), attempts=2, backoff_initial_s=self.backoff_s, inline=True)
        def work() -> bool:
            if self.works:
                return True
            self.failed += 1
            if self.failed == COUNT:
                self.all_failed.set()
            raise ValueError("not yet")

        agent.entry_point("main", node="work", max_concurrent=20)
        return agent.runtime(store)


@pytest.mark.asyncio
async def test_backoffs_that_came_due_while_the_runtime_was_down_go_on_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every one of them, also those whose timers fire while the stream still reads the others."""
    flaky = Flaky(backoff_s=30.0)
    async with asyncio.timeout(60):
        async with flaky.runtime(tmp_path / "store") as runtime:
            ids = [await runtime.trigger("main") for _ in range(COUNT)]
            await flaky.all_failed.wait()
        flaky.works = True
        monkeypatch.setattr(SystemClock, "now", lambda self: time.time() + 60)
        async with flaky.runtime(tmp_path / "store") as runtime:
            results = [await runtime.wait_for_completion(one) for one in ids]
        assert {one.status for one in results if one is not None} == {Status.COMPLETED}
        assert None not in results
    assert check(tmp_path / "store") == []


@pytest.mark.asyncio
async def test_backoffs_that_come_due_while_a_stream_restarts_go_on(tmp_path: Path) -> None:
    """The stream is crashed over and over while short backoffs pass."""
    flaky = Flaky(backoff_s=0.05)
    async with asyncio.timeout(60), flaky.runtime(tmp_path / "store") as runtime:
        stream = runtime.get_stream("main")
        assert stream is not None
        ids = [await runtime.trigger("main") for _ in range(COUNT)]
        await flaky.all_failed.wait()
        flaky.works = True
        for _ in range(3):
            stream.ref.kill()
            await stream.ref.ready()
        results = [await runtime.wait_for_completion(one) for one in ids]
        assert None not in results
    assert check(tmp_path / "store") == []
