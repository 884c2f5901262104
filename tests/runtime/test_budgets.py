"""Budgets in real runtimes: the end, the pause, the larger budget, restarts and other processes."""

import asyncio
from typing import Any

import pytest

from greenroom import (
    AnswerOutcome,
    Budget,
    EdgeSpec,
    EntryPointSpec,
    InvalidAnswer,
    InvalidConfig,
    NodeSpec,
    NotResumable,
    Status,
    TriggerItem,
)

pytestmark = pytest.mark.asyncio

NODES = [NodeSpec(id=name) for name in "abc"]
EDGES = [EdgeSpec(id=f"{one}-{two}", source=one, target=two) for one, two in ("ab", "bc")]


def _point(budget: Budget | None = None) -> EntryPointSpec:
    return EntryPointSpec(id="main", entry_node="a", budget=budget)


class Work:
    """Three nodes in a row that say that they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def functions(self) -> dict[str, Any]:
        return {name: self._node(name) for name in "abc"}

    def _node(self, name: str) -> Any:
        async def run() -> None:
            self.ran.append(name)

        return run


def _runtime(lab: Any, work: Work, budget: Budget | None = None) -> Any:
    return lab.runtime(work.functions(), nodes=NODES, edges=EDGES, entry_points=[_point(budget)])


async def test_an_execution_over_its_budget_ends_as_exhausted(lab: Any) -> None:
    """The entry point's budget; a trigger may bring its own, or none with a limit."""
    work = Work()
    async with _runtime(lab, work, Budget(steps=2)) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
        assert result.status is Status.EXHAUSTED
        assert result.error == "its budget of steps is used up: 2 of 2, at node 'c'"
        assert work.ran == ["a", "b"]
        own = await runtime.trigger_and_wait("main", timeout=20, budget=Budget(steps=1))
        assert (own.status, own.path) == (Status.EXHAUSTED, ["a"])
        free = await runtime.trigger_and_wait("main", timeout=20, budget=Budget())
        assert free.status is Status.COMPLETED
        (many,) = await runtime.trigger_many("main", [TriggerItem(budget=Budget(steps=1))])
        assert (await runtime.wait_for_completion(many, timeout=20)).path == ["a"]


async def test_a_breach_pauses_and_a_larger_budget_goes_on_after_a_restart(lab: Any) -> None:
    """What was used is in the store, and so is the larger budget."""
    work = Work()
    async with _runtime(lab, work, Budget(steps=1, on_breach="pause")) as runtime:
        paused = await runtime.trigger_and_wait("main", timeout=20, execution_id="e")
        assert (paused.status, paused.paused_at) == (Status.PAUSED, "b")
        assert paused.error == "its budget of steps is used up: 1 of 1, at node 'b'"
        (event,) = runtime.event_bus.get_history("execution_paused")
        assert event.data == {"reason": paused.error}
    async with _runtime(lab, work) as runtime:
        assert runtime.recovery.paused == 1
        await runtime.resume("e", budget=Budget(steps=2, on_breach="pause"))
        again = await runtime.wait_for_completion("e", timeout=20)
        assert (again.status, again.paused_at) == (Status.PAUSED, "c")
        await runtime.resume("e", budget=Budget(steps=3))
        done = await runtime.wait_for_completion("e", timeout=20)
        assert (done.status, done.error) == (Status.COMPLETED, None)
        with pytest.raises(NotResumable):
            await runtime.resume("e", budget=Budget(steps=9))
    assert work.ran == ["a", "b", "c"]


async def test_a_breach_asks_and_an_answer_after_a_restart_goes_on(lab: Any) -> None:
    """What was granted is in the store, too: the next question is about the larger budget."""
    work = Work()
    async with _runtime(lab, work, Budget(steps=1, on_breach="ask")) as runtime:
        asked = await _asks(runtime, runtime.trigger("main", execution_id="e"))
        assert runtime.get_session("e").status is Status.WAITING
        assert (asked.node_id, asked.budget, asked.deadline) == ("b", "steps", None)
        assert "its budget of steps is used up: 1 of 1, at node 'b'" in asked.prompt
        for bad in ("yes", 0, -1, 1.5, None, [1]):
            with pytest.raises(InvalidAnswer):
                await runtime.answer(asked.id, bad)
    async with _runtime(lab, work) as runtime:
        assert runtime.pending_questions() == [asked]
        again = await _asks(runtime, runtime.answer(asked.id, True))
        assert "its budget of steps is used up: 2 of 2, at node 'c'" in again.prompt
    async with _runtime(lab, work) as runtime:
        assert await runtime.answer(asked.id, True) is AnswerOutcome.DUPLICATE
        assert await runtime.answer(again.id, 1, by="ada") is AnswerOutcome.ACCEPTED
        assert (await runtime.wait_for_completion("e", timeout=20)).success
    assert work.ran == ["a", "b", "c"]
    assert lab.look("e").budget == Budget(steps=3, on_breach="ask")


async def test_who_says_no_ends_it_as_exhausted(lab: Any) -> None:
    """Also while it is paused."""
    work = Work()
    async with _runtime(lab, work, Budget(steps=2, on_breach="ask")) as runtime:
        for name in ("waiting", "paused"):
            asked = await _asks(runtime, runtime.trigger("main", execution_id=name))
            if name == "paused":
                assert await runtime.pause(name)
                assert runtime.get_question(asked.id) == asked
            assert await runtime.answer(asked.id, False) is AnswerOutcome.ACCEPTED
            result = await runtime.wait_for_completion(name, timeout=20)
            assert result.status is Status.EXHAUSTED
            assert result.error == "its budget of steps is used up: 2 of 2, at node 'c'"
    assert work.ran == ["a", "b"] * 2


async def test_a_node_that_is_stopped_to_ask_holds_nothing_and_runs_again(lab: Any) -> None:
    """Its permit is free for others while people think."""
    cancelled = asyncio.Event()
    attempts = []

    async def a(ctx: Any) -> None:
        attempts.append(ctx.attempt)
        if attempts == [1]:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    point = EntryPointSpec(id="main", entry_node="a", max_concurrent=1)
    async with lab.runtime({"a": a}, entry_points=[point]) as runtime:
        budget = Budget(wall_s=0.05, on_breach="ask")
        asked = await _asks(runtime, runtime.trigger("main", execution_id="e", budget=budget))
        await asyncio.wait_for(cancelled.wait(), 20)
        assert (asked.budget, asked.node_id) == ("wall_s", "a")
        assert (await runtime.trigger_and_wait("main", timeout=20)).success
        assert await runtime.answer(asked.id, 60.5) is AnswerOutcome.ACCEPTED
        assert (await runtime.wait_for_completion("e", timeout=20)).success
    assert attempts == [1, 1, 2]
    assert lab.look("e").budget.wall_s == 60.55


async def _asks(runtime: Any, call: Any) -> Any:
    """The question that `call` leads to."""
    asked: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    subscribed = runtime.subscribe_to_events(
        "client_input_requested",
        lambda event: loop.call_soon_threadsafe(asked.put_nowait, event.data["question_id"]),
    )
    await call
    async with asyncio.timeout(20):
        question = runtime.get_question(await asked.get())
    runtime.unsubscribe_from_events(subscribed)
    return question


async def test_the_time_of_a_budget_stops_a_node_that_runs(lab: Any) -> None:
    """Its permit is free for others then, and it runs again when it gets more time."""
    came, cancelled = asyncio.Event(), asyncio.Event()
    attempts = []

    async def a(ctx: Any) -> None:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            came.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    budget = Budget(wall_s=0.05, on_breach="pause")
    point = EntryPointSpec(id="main", entry_node="a", budget=budget, max_concurrent=1)
    async with lab.runtime({"a": a}, entry_points=[point]) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20, execution_id="e")
        assert came.is_set()
        await asyncio.wait_for(cancelled.wait(), 20)
        assert result.status is Status.PAUSED
        assert "of 0.05 s" in result.error
        assert (await runtime.trigger_and_wait("main", timeout=20)).success
        await runtime.resume("e", budget=Budget(wall_s=60))
        assert (await runtime.wait_for_completion("e", timeout=20)).success
    assert attempts == [1, 1, 2]


async def test_a_stream_that_crashes_forgets_nothing_that_was_used(lab: Any) -> None:
    """And a run that the crash cut off does not count."""
    entered: asyncio.Queue[str] = asyncio.Queue()
    go = asyncio.Event()
    ran = []

    def node(name: str) -> Any:
        async def run() -> None:
            entered.put_nowait(name)
            await go.wait()
            ran.append(name)

        return run

    functions = {name: node(name) for name in "abc"}
    points = [_point(Budget(steps=3))]
    async with lab.runtime(functions, NODES, EDGES, points) as runtime:
        await runtime.trigger("main", execution_id="e")
        async with asyncio.timeout(20):
            assert await entered.get() == "a"
            runtime.get_stream("main").ref.kill()
            assert await entered.get() == "a"
        go.set()
        result = await runtime.wait_for_completion("e", timeout=20)
        assert result.status is Status.COMPLETED
    assert ran == ["a", "b", "c"]


@pytest.mark.parametrize("bad", [5, "10 steps", {"steps": 1}])
async def test_what_is_no_budget_is_refused(lab: Any, bad: Any) -> None:
    with pytest.raises(InvalidConfig, match="use a Budget"):
        _point(bad)
    async with _runtime(lab, Work()) as runtime:
        with pytest.raises(InvalidConfig, match="use a Budget"):
            await runtime.trigger("main", budget=bad)
        with pytest.raises(InvalidConfig, match="use a Budget"):
            await runtime.resume("e", budget=bad)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"steps": 0}, "budget.steps"),
        ({"steps": 1.5}, "budget.steps"),
        ({"wall_s": 0}, "budget.wall_s"),
        ({"wall_s": float("nan")}, "budget.wall_s"),
        ({"on_breach": "ask nicely"}, "end, pause, ask"),
    ],
)
async def test_a_budget_that_cannot_be_used_is_refused(fields: Any, why: str) -> None:
    with pytest.raises(InvalidConfig, match=why):
        Budget(**fields)
