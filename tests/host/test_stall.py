"""A disk that does not answer: callers hear of it in time, and nothing is lost."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host import stall_watch
from greenroom.actors.host.agent_builder import Agent
from greenroom.protocol.commit import Commit, CommitOutcome
from greenroom.protocol.errors import StoreStalled
from greenroom.storage.check import check
from greenroom.storage.lmdb_store import LmdbStore
from greenroom.storage.store import StoreOptions


class SlowDisk(LmdbStore):
    """The real store on a disk that a test can stop."""

    def __init__(self, path: Path, options: StoreOptions) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.stands_still = threading.Event()
        super().__init__(path, options, None)

    def commit(self, commits: Sequence[Commit], now: float) -> list[CommitOutcome]:
        if not self.goes_on.is_set():
            self.stands_still.set()
        self.goes_on.wait(60)
        return super().commit(commits, now)


@pytest.mark.asyncio
async def test_a_store_that_stalls_is_told_to_who_waits_and_serves_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger under way and the next one get StoreStalled; the first was accepted all the
    same, and its id answers for it once the disk goes on.
    """
    monkeypatch.setattr(stall_watch, "STALLED_S", 0.2)
    disks: list[SlowDisk] = []

    def open_disk(path: Path, options: StoreOptions) -> SlowDisk:
        disks.append(SlowDisk(path, options))
        return disks[-1]

    agent = Agent("slow")

    @agent.node(outputs=("y",))
    async def double(x: int) -> dict[str, Any]:
        return {"y": 2 * x}

    agent.entry_point("main", node="double")
    runtime = agent.runtime(tmp_path / "store", store_factory=open_disk)
    async with asyncio.timeout(30), runtime:
        assert await runtime.trigger_and_wait("main", {"x": 1}) is not None
        disks[0].goes_on.clear()
        with pytest.raises(StoreStalled):
            await runtime.trigger("main", {"x": 2}, execution_id="second")
        assert disks[0].stands_still.is_set()
        with pytest.raises(StoreStalled):
            await runtime.trigger("main", {"x": 3})
        disks[0].goes_on.set()
        result = None
        while result is None:
            try:
                result = await runtime.trigger_and_wait("main", {"x": 2}, execution_id="second")
            except StoreStalled:
                await asyncio.sleep(0)
        assert result.output == {"x": 2, "y": 4}
    assert check(tmp_path / "store") == []
