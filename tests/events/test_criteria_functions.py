"""Users' functions that answer criteria: where nodes run, and each execution counted once."""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from greenroom.actors.nodes.functions import FunctionRegistry
from greenroom.actors.system import criteria_calls
from greenroom.actors.system.criteria_calls import CriteriaCalls
from greenroom.actors.system.outcome_aggregator import OutcomeAggregator
from greenroom.actors.system.outcome_aggregator_handle import OutcomeAggregatorHandle
from greenroom.protocol.errors import FunctionNotFound, StoreUnavailable
from greenroom.protocol.goal import Goal, SuccessCriterion
from greenroom.protocol.messages import FoldTick
from greenroom.protocol.new_event import new_event
from greenroom.storage.memory_store import MemoryStore

GOAL = Goal(
    id="goal",
    success_criteria=[SuccessCriterion(id="c", metric="function:judge", target=">= 50%")],
)


async def start(
    rig: Any, judge: Callable[..., Any], outputs: Any = None
) -> tuple[Any, OutcomeAggregatorHandle]:
    """Start the aggregator; returns its ref and its handle. `outputs`: where these are read."""
    functions = FunctionRegistry()
    functions.register("judge", judge)
    handle = OutcomeAggregatorHandle(GOAL)
    calls = CriteriaCalls(rig.nodes, functions, GOAL, outputs or rig.store)
    ref = rig.system.spawn(
        functools.partial(OutcomeAggregator, GOAL, rig.store, rig.writer, handle, calls),
        id="outcome_aggregator",
    )
    handle.attach(ref, rig.handle)
    await ref.ready()
    return ref, handle


async def complete(rig: Any, *outputs: dict[str, Any]) -> None:
    """Commit the ends of executions with these outputs."""
    await rig.append(
        *(
            new_event("execution_completed", 1.0, execution=f"x{n}", data={"output": output})
            for n, output in enumerate(outputs)
        )
    )


async def status_of(handle: OutcomeAggregatorHandle) -> dict[str, Any]:
    """The criterion's part of the progress."""
    found: dict[str, Any] = (await handle.evaluate_goal_progress())["criteria_status"]["c"]
    return found


def polite(output: dict[str, Any]) -> bool:
    """A plain judge; it spoils its copy of the output."""
    return "please" in output.pop("text")


async def polite_async(output: dict[str, Any]) -> bool:
    """An async judge that has to wait."""
    await asyncio.sleep(0)
    return polite(output)


@pytest.mark.asyncio
@pytest.mark.parametrize("judge", [polite, polite_async, functools.partial(polite)])
async def test_functions_answer_for_each_completed_execution(rig: Any, judge: Any) -> None:
    """Plain, async, and whatever can be called."""
    _, handle = await start(rig, judge)
    await complete(rig, {"text": "please"}, {"text": "now"}, {"text": "pretty please"})
    status = await status_of(handle)
    assert status["progress"] == pytest.approx(2 / 3)
    assert status["met"]
    assert status["evidence"] == [
        "execution x0: holds",
        "execution x1: does not hold",
        "execution x2: holds",
    ]


@pytest.mark.asyncio
async def test_kills_lose_no_answer_and_count_none_twice(rig: Any) -> None:
    """A function may be called again, and its answer is counted once."""
    called: list[int] = []

    def judge(output: dict[str, Any]) -> int:
        called.append(output["n"])
        return int(output["n"])

    ref, handle = await start(rig, judge)
    number = 0
    for round_ in range(6):
        await complete(rig, *({"n": number + one} for one in range(20)))
        number += 20
        if round_ % 2:
            ref.kill()
        elif round_ == 2:
            await handle.caught_up()
            ref.kill()
    status = await status_of(handle)
    assert set(called) == set(range(number))
    assert status["progress"] == 1.0
    fold = handle._fold()
    assert fold.tallies["c"].seen == number
    assert fold.tallies["c"].sum == sum(range(number))


@pytest.mark.asyncio
async def test_more_than_a_page_is_asked_for_part_by_part(rig: Any) -> None:
    """And everybody who waits is answered once all of it is stored."""
    _, handle = await start(rig, lambda output: True)
    for _ in range(3):
        await complete(rig, *({"n": n} for n in range(450)))
    await asyncio.gather(*(handle.caught_up() for _ in range(3)))
    assert handle._fold().tallies["c"].seen == 1_350


@pytest.mark.asyncio
async def test_executions_that_complete_meanwhile_do_not_hold_back_the_others(rig: Any) -> None:
    """Each answer is counted when it is there, also while others are asked for without end."""
    answered = threading.Semaphore(0)
    entered = threading.Semaphore(0)

    def judge(output: dict[str, Any]) -> bool:
        entered.release()
        return answered.acquire(timeout=20)

    _, handle = await start(rig, judge)
    await complete(rig, {"n": 0})
    waiting = asyncio.ensure_future(handle.caught_up())
    for number in range(1, 4):  # one more is there whenever an answer comes
        assert await asyncio.to_thread(entered.acquire, True, 20)
        await complete(rig, {"n": number})
        answered.release()
    await waiting
    answered.release()
    await handle.caught_up()
    assert handle._fold().tallies["c"].seen == 4


@pytest.mark.asyncio
async def test_a_function_that_hangs_stops_nobody_but_the_count(rig: Any) -> None:
    """What was folded before it is stored; who asks for everything waits for it."""
    release, entered = threading.Event(), threading.Event()

    def judge(output: dict[str, Any]) -> bool:
        entered.set()
        return release.wait(20)

    _, handle = await start(rig, judge)
    await rig.append(*[new_event("node_completed", 1.0)] * 600)
    await complete(rig, {"n": 1})
    waiting = [asyncio.ensure_future(handle.caught_up()) for _ in range(2)]
    await asyncio.to_thread(entered.wait, 20)
    assert await handle.record_constraint_violation("rule") > 0
    assert handle.get_stats()["total_decisions"] == 600
    assert handle.latest_progress()["metrics"]["executions_total"] == 0
    assert not any(one.done() for one in waiting)
    release.set()
    await asyncio.gather(*waiting)
    assert handle.latest_progress()["metrics"]["executions_total"] == 1
    assert (await status_of(handle))["met"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ValueError("broken"), "ValueError: broken"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError("odd"), "CancelledError: odd"),
        ("yes", "neither a bool nor a number"),
        (None, "neither a bool nor a number"),
    ],
)
async def test_a_function_without_an_answer_counts_as_none_and_says_why(
    rig: Any, answer: Any, why: str
) -> None:
    """The goal goes on."""

    def judge(output: dict[str, Any]) -> Any:
        if output["n"]:
            return True
        if isinstance(answer, BaseException):
            raise answer
        return answer

    _, handle = await start(rig, judge)
    await complete(rig, {"n": 0}, {"n": 1})
    status = await status_of(handle)
    assert status["progress"] == 0.5
    assert why in status["evidence"][0]


@pytest.mark.asyncio
async def test_a_function_that_takes_too_long_is_given_up(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place in the pool goes to another thread."""
    monkeypatch.setattr(criteria_calls, "CRITERION_TIMEOUT_S", 0.02)
    release = threading.Event()
    _, handle = await start(rig, lambda output: release.wait(20))
    await complete(rig, {"n": 0})
    status = await status_of(handle)
    release.set()
    assert status["progress"] == 0.0
    assert "it took over 0.02 s" in status["evidence"][0]


@pytest.mark.asyncio
async def test_an_output_that_is_gone_is_told(rig: Any) -> None:
    """Not taken for one that does not hold without a word."""
    _, handle = await start(rig, polite)
    await rig.append(new_event("execution_completed", 1.0, execution="gone"))
    assert "pruned before" in (await status_of(handle))["evidence"][0]


class Unreadable:
    """A store of which the first read fails."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.failures = 0

    def read(self, function: Callable[..., Any]) -> Any:
        """As the store's, after one failure."""
        if not self.failures:
            self.failures += 1
            raise StoreUnavailable("not now")
        return self.store.read(function)


@pytest.mark.asyncio
async def test_a_store_that_cannot_be_read_is_asked_again(rig: Any) -> None:
    """An answer is only counted as missing when there is none."""
    unreadable = Unreadable(rig.store)
    _, handle = await start(rig, polite, unreadable)
    await complete(rig, {"text": "please " * 1_000})
    assert (await status_of(handle))["met"]
    assert unreadable.failures == 1


@pytest.mark.asyncio
async def test_a_restart_asks_again_for_what_was_not_stored(make_rig: Any) -> None:
    """Answers live in memory only, and nothing was counted without them."""
    store = MemoryStore()
    rig = make_rig(store)
    entered, release = threading.Event(), threading.Event()

    def slow(output: dict[str, Any]) -> bool:
        entered.set()
        return release.wait(20)

    ref, handle = await start(rig, slow)
    await complete(rig, {"text": "please"})
    ref.tell(FoldTick(), control=True)
    await asyncio.to_thread(entered.wait, 20)
    handle.detach()
    await rig.stop_async()
    release.set()
    rig = make_rig(store.reopen())
    _, handle = await start(rig, polite)
    assert (await status_of(handle))["met"]
    assert handle._fold().tallies["c"].seen == 1


def test_a_function_that_is_not_registered_is_refused(rig: Any) -> None:
    """Before the aggregator starts."""
    with pytest.raises(FunctionNotFound, match="judge"):
        CriteriaCalls(rig.nodes, FunctionRegistry(), GOAL, rig.store)
