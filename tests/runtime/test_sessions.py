"""Sessions as hosts see them: listed, looked at, deleted, also while others act on them."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import greenroom
from greenroom import (
    EdgeSpec,
    EntryPointSpec,
    EventType,
    ExecutionNotFound,
    InvalidConfig,
    InvalidInput,
    NodeContext,
    NodeSpec,
    NotDeletable,
    NotResumable,
    Status,
)
from greenroom.storage.lmdb_store import open_reader

NODES = [NodeSpec(id="draft", input_keys=["topic"], max_retries=1), NodeSpec(id="send")]
WAY = [EdgeSpec(id="e", source="draft", target="send", condition="on_success")]
POINTS = [EntryPointSpec(id=one, entry_node="draft") for one in ("main", "other")]


async def draft(topic: str = "") -> dict[str, str]:
    if topic == "broken":
        raise ValueError("no such topic")
    return {"text": "about"}


def send() -> str:
    return "sent"


FUNCTIONS = {"draft": draft, "send": send}


def names(page: Any) -> list[str]:
    return [one.session_id for one in page.sessions]


def reviewing(lab: Any, **settings: Any) -> Any:
    return lab.runtime(FUNCTIONS, NODES, WAY, POINTS, pauses=["draft"], **settings)


async def paused(runtime: Any, name: str, entry_point: str = "main", **given: Any) -> str:
    result = await runtime.trigger_and_wait(entry_point, given, timeout=20, execution_id=name)
    assert result.status in (Status.PAUSED, Status.FAILED)
    return name


@pytest.mark.asyncio
async def test_sessions_are_listed_newest_first_by_every_filter_and_in_pages(lab: Any) -> None:
    """Also those of an earlier process, and after some of them went on."""
    async with reviewing(lab) as runtime:
        for number in range(6):
            await paused(runtime, f"s{number}", ("main", "other")[number % 2])
        await paused(runtime, "bad", topic="broken")
    async with reviewing(lab) as runtime:
        await runtime.resume("s0")
        await runtime.wait_for_completion("s0", timeout=20)
        whole = runtime.list_sessions()
        assert names(whole) == ["bad", "s5", "s4", "s3", "s2", "s1", "s0"]
        assert whole.after is None
        assert names(runtime.list_sessions(status="paused", entry_point="main")) == ["s4", "s2"]
        assert names(runtime.list_sessions(Status.COMPLETED)) == ["s0"]
        assert names(runtime.list_sessions(goal_id="goal", limit=2)) == ["bad", "s5"]
        assert names(runtime.list_sessions(goal_id="another")) == []
        joined, after = [], None
        while True:
            page = runtime.list_sessions(limit=3, after=after)
            joined += page.sessions
            after = page.after
            if after is None:
                break
        assert joined == whole.sessions
        bad = whole.sessions[0]
        assert (bad.status, bad.is_resumable) == (Status.FAILED, True)
        assert "no such topic" in (bad.error or "")
        moment = whole.sessions[3].accepted_at
        assert names(runtime.list_sessions(until=moment)) == ["s3", "s2", "s1", "s0"]
        assert names(runtime.list_sessions(since=moment, until=moment.timestamp())) == ["s3"]
        assert names(runtime.list_sessions(since=moment, status="paused")) == ["s5", "s4", "s3"]
        assert runtime.list_sessions(since=datetime.now(UTC) + timedelta(hours=1)).sessions == []
    assert runtime.list_sessions().sessions == [], "a stopped runtime answers nothing"
    assert runtime.get_session("s0") is None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"status": "lost"}, InvalidInput),
        ({"limit": 0}, InvalidConfig),
        ({"limit": 10**9}, InvalidConfig),
        ({"after": "s0"}, InvalidInput),
        ({"after": "after-x"}, InvalidInput),
        ({"since": datetime(2026, 1, 1)}, InvalidInput),  # noqa: DTZ001 - that is what is wrong
        ({"until": "today"}, InvalidInput),
    ],
)
async def test_a_listing_that_cannot_be_meant_is_refused(lab: Any, wrong: Any, error: Any) -> None:
    async with reviewing(lab) as runtime:
        with pytest.raises(error, match=next(iter(wrong))):
            runtime.list_sessions(**wrong)


@pytest.mark.asyncio
async def test_a_session_shows_where_it_stands_and_how_it_came_there(
    lab: Any, new_gate: Any
) -> None:
    """While it runs, paused, and completed; from any thread."""
    gate = new_gate()

    async def held(topic: str) -> dict[str, str]:
        await gate.wait()
        return {"text": "about"}

    runtime = lab.runtime({"draft": held, "send": send}, NODES, WAY, POINTS, pauses=["draft"])
    async with runtime:
        await runtime.trigger("main", {"topic": "cats"}, execution_id="s")
        await gate.came()
        seen = runtime.get_session("s")
        assert (seen.status, seen.current_nodes, seen.path) == ("running", ["draft"], ["draft"])
        assert (seen.input_data, seen.memory) == ({"topic": "cats"}, {"topic": "cats"})
        assert (seen.seq, seen.run, seen.ended_at, seen.is_resumable) == (1, 1, None, False)
        gate.open()
        await runtime.wait_for_completion("s", timeout=20)
        seen = runtime.get_session("s")
        assert (seen.status, seen.current_nodes, seen.is_resumable) == ("paused", ["draft"], True)
        assert seen.memory == {"topic": "cats", "text": "about"}
        assert seen.updated_at >= seen.status_since >= seen.accepted_at
        await runtime.resume("s", {"editor": "Ada"})
        await runtime.wait_for_completion("s", timeout=20)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(runtime.get_session("s")))
        thread.start()
        thread.join()
        (seen,) = found
        assert (seen.status, seen.current_nodes, seen.run) == ("completed", [], 2)
        assert seen.path == ["draft", "send"]
        assert (seen.steps_executed, seen.node_visit_counts) == (2, {"draft": 1, "send": 1})
        assert (seen.input_data, seen.memory["editor"]) == ({"topic": "cats"}, "Ada")
        assert seen.ended_at == seen.status_since == seen.updated_at
        assert runtime.get_session("nobody") is None
        assert runtime.get_session("../etc") is None


@pytest.mark.asyncio
async def test_a_deleted_session_is_gone_for_everyone_also_after_a_restart(lab: Any) -> None:
    async with reviewing(lab) as runtime:
        for name in ("s0", "s1", "s2"):
            await paused(runtime, name)
        await runtime.cancel_execution("main", "s2")
        assert await runtime.delete_session("s1") is True
        assert await runtime.delete_session("s1") is False
        assert await runtime.delete_session("s2") is True
        assert await runtime.delete_session("nobody") is False
        assert runtime.get_session("s1") is None
        assert runtime.get_execution_result("main", "s1") is None
        assert await runtime.wait_for_completion("s1", timeout=20) is None
        assert await runtime.cancel_execution("main", "s1") is False
        with pytest.raises(ExecutionNotFound):
            await runtime.resume("s1")
        assert names(runtime.list_sessions()) == ["s0"]
    async with reviewing(lab) as runtime:
        assert names(runtime.list_sessions()) == ["s0"]
        assert runtime.recovery.paused == 1
        await runtime.resume("s0")
        result = await runtime.wait_for_completion("s0", timeout=20)
        assert result.status is Status.COMPLETED


@pytest.mark.asyncio
async def test_what_goes_on_is_not_deleted(lab: Any, new_gate: Any) -> None:
    """Running, and queued behind it; both complete."""
    gate = new_gate()

    async def work() -> None:
        await gate.wait()

    points = [EntryPointSpec(id="main", entry_node="work", max_concurrent=1)]
    async with lab.runtime({"work": work}, entry_points=points) as runtime:
        first, second = [await runtime.trigger("main") for _ in range(2)]
        await gate.came()
        for execution, status in ((first, "running"), (second, "queued")):
            with pytest.raises(NotDeletable, match=f"{execution} is {status}") as caught:
                await runtime.delete_session(execution)
            assert (caught.value.session_id, caught.value.status) == (execution, status)
        gate.open()
        for execution in (first, second):
            result = await runtime.wait_for_completion(execution, timeout=20)
            assert result.success


@pytest.mark.asyncio
async def test_a_deletion_between_a_pause_and_other_wishes_is_in_their_order(lab: Any) -> None:
    """All are asked at once: whoever comes after the deletion finds nothing, and nobody hangs."""
    async with reviewing(lab) as runtime:
        for number in range(20):
            name = await paused(runtime, f"s{number}")
            wishes = [
                runtime.delete_session(name),
                runtime.resume(name),
                runtime.cancel_execution("main", name),
                runtime.delete_session(name),
            ]
            turn = number % len(wishes)
            async with asyncio.timeout(20):
                told = await asyncio.gather(
                    *(wishes[turn:] + wishes[:turn]), return_exceptions=True
                )
            kinds = (bool, type(None), ExecutionNotFound, NotResumable, NotDeletable)
            assert all(isinstance(one, kinds) for one in told), told
            left = runtime.get_session(name)
            deleted = told[-turn % 4] is True or told[(3 - turn) % 4] is True
            assert (left is None) is deleted, (told, left)
        assert runtime.get_stream("main").get_stats()["restarts"] == 0


@pytest.mark.asyncio
async def test_whoever_waits_for_a_session_that_is_paused_and_deleted_is_released(
    lab: Any, new_gate: Any
) -> None:
    """The pause and the deletion are asked in one breath, so that nothing comes between them."""
    gate = new_gate()

    async def work() -> None:
        await gate.wait()

    async with lab.runtime({"work": work}) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        waiting = asyncio.ensure_future(runtime.wait_for_completion(execution))
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            stopped, deleted = await asyncio.gather(
                runtime.pause(execution), runtime.delete_session(execution)
            )
            result = await waiting
        assert (stopped, deleted, result.status) == (True, True, Status.PAUSED)
        assert runtime.get_session(execution) is None
        gate.open()


@pytest.mark.asyncio
async def test_a_session_whose_entry_point_is_gone_can_be_deleted(lab: Any) -> None:
    async with reviewing(lab) as runtime:
        await paused(runtime, "s", "other")
        await paused(runtime, "t", "other", topic="broken")
    async with lab.runtime(FUNCTIONS, NODES, WAY, POINTS[:1], pauses=["draft"]) as runtime:
        assert runtime.get_session("s").status == "held"
        assert await runtime.delete_session("s") is True
        assert await runtime.delete_session("t") is True
        assert await runtime.delete_session("t") is False
    reader = open_reader(lab.folder / "store")
    try:
        assert reader.read(lambda one: one.executions()) == []
    finally:
        reader.close()


@pytest.mark.asyncio
async def test_a_session_that_was_paused_in_its_sleep_takes_its_timer_along(lab: Any) -> None:
    """The check of the store, after the test, would find the timer of nobody."""

    def doze(ctx: NodeContext) -> None:
        ctx.ask("Well?", to="well")
        ctx.sleep(3600)

    async with lab.runtime({"doze": doze}) as runtime:
        asleep = asyncio.Event()
        loop = asyncio.get_running_loop()
        runtime.subscribe_to_events(
            EventType.NODE_COMPLETED, lambda event: loop.call_soon_threadsafe(asleep.set)
        )
        execution = await runtime.trigger("main")
        await asleep.wait()
        (asked,) = runtime.pending_questions()
        assert runtime.get_session(execution).open_questions == [asked.id]
        await runtime.answer(asked.id, True)
        seen = runtime.get_session(execution)
        assert (seen.open_questions, seen.memory["well"]) == ([], True)
        assert seen.next_due - seen.updated_at > timedelta(minutes=59)
        assert await runtime.pause(execution)
        assert await runtime.delete_session(execution)
    reader = open_reader(lab.folder / "store")
    try:
        assert reader.read(lambda one: one.timers("main")) == []
    finally:
        reader.close()


@pytest.mark.asyncio
async def test_a_deleted_session_gives_its_concurrency_key_back(lab: Any) -> None:
    """Paused it kept the key, and the one behind it waited."""
    async with reviewing(lab) as runtime:
        first = await runtime.trigger("main", concurrency_key="ticket-1")
        await runtime.wait_for_completion(first, timeout=20)
        second = await runtime.trigger("main", concurrency_key="ticket-1")
        assert runtime.get_session(second).status == "queued"
        assert await runtime.delete_session(first)
        result = await runtime.wait_for_completion(second, timeout=20)
        assert result.status is Status.PAUSED


@pytest.mark.asyncio
async def test_an_idempotency_key_outlives_its_session(lab: Any) -> None:
    async with reviewing(lab) as runtime:
        first = await runtime.trigger("main", idempotency_key="order-1")
        await runtime.wait_for_completion(first, timeout=20)
        assert await runtime.delete_session(first)
        assert await runtime.trigger("main", idempotency_key="order-1") == first
        assert await runtime.trigger_and_wait("main", idempotency_key="order-1") is None


def test_the_names_are_public() -> None:
    for name in ("Session", "SessionPage", "SessionSummary", "NotDeletable"):
        assert name in greenroom.__all__
