"""Sessions that go on and on: their journals are cut while they run, and say what is gone."""

import asyncio
from typing import Any

import pytest

from greenroom import (
    CheckpointConfig,
    EdgeSpec,
    HistoryPruned,
    InvalidInput,
    NodeContext,
    NodeSpec,
    Status,
)
from greenroom.storage.lmdb_store import open_reader

KEPT = 100
NODES = [NodeSpec(id="turn", input_keys=["count"], output_keys=["count"], max_node_visits=0)]
EDGES = [
    EdgeSpec(
        id="again", source="turn", target="turn", condition="conditional",
        condition_expr="count < goal",
    ),
]  # fmt: skip


def turn(ctx: NodeContext, count: int = 0) -> int:
    """Say what it does at each step."""
    ctx.decide(f"turn {count + 1}")
    return count + 1


def looping(lab: Any, function: Any = turn, **settings: Any) -> Any:
    return lab.runtime({"turn": function}, NODES, EDGES, max_steps=10_000, **settings)


async def records(runtime: Any, wanted: int) -> int:
    """How many records of the first session are left once it is cut to so many."""

    def count() -> int:
        return len(runtime._running().store.read(lambda one: one.journal(1, limit=10_000)))

    async with asyncio.timeout(20):
        while (left := await asyncio.to_thread(count)) > wanted:
            pass
    return left


@pytest.mark.asyncio
async def test_a_long_session_keeps_its_newest_steps_and_says_how_many_are_gone(lab: Any) -> None:
    """While it runs: nobody stops it, and nothing of what it is gets lost."""
    async with looping(lab, journal_record_max=KEPT) as runtime:
        result = await runtime.trigger_and_wait("main", {"goal": 500}, execution_id="s")
        assert (result.status, result.output["count"]) == (Status.COMPLETED, 500)
        left = await records(runtime, 1 + KEPT + 64)
        assert left > KEPT
        run = await runtime.get_run("s")
        assert run.records_pruned == 501 - left
        assert len(run.path) == run.metrics["steps_executed"] == 500
        assert run.input_data == {"goal": 500}
        assert run.output_data["count"] == 500
        assert f"{run.records_pruned} of its records were pruned" in run.narrative
        told = await runtime.decisions("s", limit=1_000)
        assert [one.intent for one in told] == [f"turn {n}" for n in range(502 - left, 501)]
        assert run.decisions == told
        short = await runtime.trigger_and_wait("main", {"goal": 1})
        assert (await runtime.get_run(short.execution_id)).records_pruned == 0


@pytest.mark.asyncio
async def test_a_page_that_was_pruned_meanwhile_is_not_passed_over(lab: Any) -> None:
    """Whoever reads page by page hears of it."""
    async with looping(lab, journal_record_max=None) as runtime:
        await runtime.trigger_and_wait("main", {"goal": 400}, execution_id="s")
        (first,) = await runtime.decisions("s", limit=1)
    async with looping(lab, journal_record_max=KEPT) as runtime:
        left = await records(runtime, 1 + KEPT)
        with pytest.raises(HistoryPruned) as gone:
            await runtime.decisions("s", limit=1, after=first.position)
        assert gone.value.oldest == 403 - left
        (next_one,) = await runtime.decisions("s", limit=1)
        assert next_one.intent == f"turn {402 - left}"


@pytest.mark.asyncio
async def test_a_kept_checkpoint_outlives_the_cut_and_can_be_gone_back_to(lab: Any) -> None:
    """One that was deleted cannot, and keeps nothing."""
    asked: list[int] = []

    async def pausing(ctx: NodeContext, count: int = 0) -> int:
        asked.append(count)
        return count + 1

    async with looping(lab, pausing, journal_record_max=KEPT, pauses=["turn"]) as runtime:
        result = await runtime.trigger_and_wait("main", {"goal": 400}, execution_id="s")
        assert result.status is Status.PAUSED
        named = await runtime.create_checkpoint("s", "the first turn")
        before = runtime.load_checkpoint("s", named.checkpoint_id)
    async with looping(lab, pausing, journal_record_max=KEPT) as runtime:
        await runtime.resume("s")
        await runtime.wait_for_completion("s", timeout=30)
        left = await records(runtime, 2 + KEPT + 64)
        assert runtime.load_checkpoint("s", named.checkpoint_id) == before
        assert before.shared_memory["count"] == 1
        assert await runtime.fork("s", named.checkpoint_id, execution_id="f")
        forked = await runtime.wait_for_completion("f", timeout=30)
        assert forked.output["count"] == 400
        asked.clear()
        await runtime.resume("s", {"goal": 3}, named.checkpoint_id)
        again = await runtime.wait_for_completion("s", timeout=30)
        assert again.output["count"] == 3
        assert asked == [1, 2]
        assert (await runtime.get_run("s")).records_pruned >= 400 - left
        with pytest.raises(HistoryPruned):
            await runtime.fork("s", seq=named.seq + 1)


@pytest.mark.asyncio
async def test_names_that_leave_by_policy_let_go_of_what_they_kept(lab: Any) -> None:
    """A session that names its steps does not keep them all for that."""
    policy = CheckpointConfig(keep_last_n_nodes=5, prune_every_n_nodes=10)
    settings = {"journal_record_max": KEPT, "checkpoint_config": policy}
    async with looping(lab, **settings) as runtime:
        await runtime.trigger_and_wait("main", {"goal": 600}, execution_id="s", timeout=30)
        assert await records(runtime, 1 + KEPT + 64) > KEPT
        names = runtime.list_checkpoints("s", limit=100)
        assert len(names) == 11
        for one in names:
            loaded = runtime.load_checkpoint("s", one.checkpoint_id)
            assert loaded.shared_memory["count"] == one.seq - 1


@pytest.mark.asyncio
async def test_steps_that_are_too_old_leave_a_session_at_rest(lab: Any) -> None:
    """Its first one and its newest stay, and it goes on as if nothing had happened."""
    async with looping(lab, pauses=["turn"]) as runtime:
        await runtime.trigger_and_wait("main", {"goal": 4}, execution_id="s")
        for _ in range(2):
            await runtime.resume("s")
            await runtime.wait_for_completion("s", timeout=20)
        assert len((await runtime.get_run("s")).decisions) == 3
    async with looping(lab, journal_record_ttl_seconds=1.0) as runtime:
        assert await records(runtime, 2) == 2
        run = await runtime.get_run("s")
        assert run.status is Status.PAUSED
        assert [one.intent for one in run.decisions] == ["turn 3"]
        await runtime.resume("s")
        result = await runtime.wait_for_completion("s", timeout=20)
        assert result.output["count"] == 4


@pytest.mark.asyncio
async def test_what_was_pruned_is_counted_and_a_bad_limit_is_refused(lab: Any) -> None:
    with pytest.raises(InvalidInput, match="journal_record_max"):
        looping(lab, journal_record_max=99)
    async with looping(lab, journal_record_max=KEPT) as runtime:
        await runtime.trigger_and_wait("main", {"goal": 400}, execution_id="s", timeout=30)
        left = await records(runtime, 1 + KEPT + 64)
        assert runtime.get_stats()["store"]["records_pruned"] == 401 - left
    reader = open_reader(lab.folder / "store")
    try:
        assert len(reader.read(lambda one: one.journal(1, limit=1_000))) == left
    finally:
        reader.close()
