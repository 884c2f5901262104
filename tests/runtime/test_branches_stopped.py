"""Branches in a real runtime that fail, time out, are cancelled, paused and resumed, or ask: what
becomes of their siblings.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from greenroom import EventType, NodeContext, NodeSpec, Status

pytestmark = pytest.mark.asyncio

LIMIT_S = 20
DIAMOND = "a-b a-c b-d c-d"


class Held:
    """A node that never ends by itself, and says when it came and when it was stopped."""

    def __init__(self) -> None:
        self.came, self.stopped = asyncio.Event(), asyncio.Event()
        self.runs = 0
        self.free = False

    async def __call__(self) -> dict[str, int]:
        self.runs += 1
        self.came.set()
        if not self.free:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.stopped.set()
                raise
        return {"held": 1}


def giving(runs: Counter[str], name: str) -> Callable[[], Any]:
    """A node that counts its runs, and gives its name."""

    async def give() -> dict[str, int]:
        runs[name] += 1
        return {name: 1}

    return give


async def within(*events: asyncio.Event) -> None:
    """Wait for all of them, not for ever."""
    async with asyncio.timeout(LIMIT_S):
        for event in events:
            await event.wait()


async def test_under_fail_all_what_runs_in_the_siblings_is_cancelled_at_once(
    fan_out: Any,
) -> None:
    """Deep in a branch, and in a branch of that."""
    deep, inner = Held(), Held()
    broken = True

    async def fail() -> dict[str, int]:
        await within(deep.came, inner.came)
        if broken:
            raise ValueError("broken")
        return {"f": 1}

    runs: Counter[str] = Counter()
    functions = {name: giving(runs, name) for name in ("a", "b", "c", "d", "e", "j")}
    functions |= {"f": fail, "deep": deep, "inner": inner}
    ways = "a-f a-b a-c f-d b-deep deep-d c-inner c-e inner-j e-j j-d"
    async with fan_out(functions, ways) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        assert result.status is Status.FAILED
        assert result.error.startswith("Parallel execution failed at node 'a': of its branches, 0:")
        assert "broken" in result.error
        await within(deep.stopped, inner.stopped)
        before = runs.copy()
        assert before["j"] == before["d"] == 0
        broken, deep.free, inner.free = False, True, True
        await runtime.resume(result.execution_id)
        result = await runtime.wait_for_completion(result.execution_id, LIMIT_S)
        assert result.status is Status.COMPLETED
        assert (deep.runs, inner.runs) == (2, 2)
        again = runs - before
        # `e` may have been in flight; what was recorded as done is not run again.
        assert again - Counter(e=1) == Counter(j=1, d=1)
        assert result.node_visit_counts == dict.fromkeys(functions, 1)


async def test_the_late_result_of_a_plain_sibling_is_refused(fan_out: Any) -> None:
    entered, go, left = threading.Event(), threading.Event(), threading.Event()
    broken = True

    def plain(ctx: NodeContext) -> dict[str, int]:
        if not broken:
            return {"plain": 2}
        entered.set()
        go.wait(LIMIT_S)
        left.set()
        return {"plain": 1}

    async def fail() -> dict[str, int]:
        await asyncio.to_thread(entered.wait, LIMIT_S)
        if broken:
            raise ValueError("broken")
        return {"fail": 1}

    runs: Counter[str] = Counter()
    functions = {"a": giving(runs, "a"), "b": plain, "c": fail, "d": giving(runs, "d")}
    async with fan_out(functions, DIAMOND) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        assert (result.status, result.output) == (Status.FAILED, {"a": 1})
        go.set()
        assert await asyncio.to_thread(left.wait, LIMIT_S)
        broken = False
        await runtime.resume(result.execution_id)
        result = await runtime.wait_for_completion(result.execution_id, LIMIT_S)
        assert result.output == {"a": 1, "plain": 2, "fail": 1, "d": 1}, "of the second run"


async def test_a_branch_that_runs_too_long_times_out_and_is_stopped(fan_out: Any) -> None:
    held, runs = Held(), Counter[str]()
    functions = {"a": giving(runs, "a"), "b": held, "c": giving(runs, "c"), "d": giving(runs, "d")}
    parallel = {"branch_timeout_seconds": 0.3, "on_branch_failure": "continue_others"}
    async with fan_out(functions, DIAMOND, parallel=parallel) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        assert (result.status, result.output) == (Status.COMPLETED, {"a": 1, "c": 1, "d": 1})
        await within(held.stopped)
        (failed,) = runtime.event_bus.get_history([EventType.BRANCH_FAILED])
        assert failed.data["error"] == "it timed out after 0.3 s"


async def test_the_time_in_which_a_branch_waits_for_a_person_does_not_count(
    fan_out: Any, until: Any
) -> None:
    """It waits for twice as long as it may run, alone and beside one that runs."""
    limit_s = 0.6
    runs: Counter[str] = Counter()
    asked = asyncio.Event()

    async def ask(ctx: NodeContext) -> dict[str, Any]:
        return {"question": ctx.ask("?", to="said"), "b": 1}

    async def beside() -> dict[str, int]:
        await asyncio.sleep(limit_s / 2)
        return {"c": 1}

    functions = {"a": giving(runs, "a"), "b": ask, "c": beside, "d": giving(runs, "d")}
    async with fan_out(functions, DIAMOND, parallel={"branch_timeout_seconds": limit_s}) as runtime:
        runtime.subscribe_to_events([EventType.CLIENT_INPUT_REQUESTED], lambda event: asked.set())
        execution = await runtime.trigger("main")
        await within(asked)
        await until(runtime, execution, Status.WAITING)
        await asyncio.sleep(2 * limit_s)
        assert runtime.get_session(execution).status is Status.WAITING
        (question,) = runtime.pending_questions()
        assert await runtime.answer(question.id, "yes") == "accepted"
        result = await runtime.wait_for_completion(execution, LIMIT_S)
        assert (result.status, result.output["said"]) == (Status.COMPLETED, "yes"), result.error


async def test_one_branch_asks_while_another_runs_and_the_answer_is_taken_at_once(
    fan_out: Any, new_gate: Any, until_at: Any
) -> None:
    gate, asked, runs = new_gate(), asyncio.Event(), Counter[str]()

    async def ask(ctx: NodeContext) -> dict[str, Any]:
        return {"question": ctx.ask("?", to="said"), "b": 1}

    async def then(said: str) -> dict[str, str]:
        return {"then": f"said {said}"}

    async def beside() -> dict[str, int]:
        await gate.wait()
        return {"c": 1}

    functions = {"a": giving(runs, "a"), "b": ask, "then": then, "c": beside,
                 "d": giving(runs, "d")}  # fmt: skip
    specs = [NodeSpec(id="then", input_keys=["said"], output_keys=["then"])]
    async with fan_out(functions, "a-b a-c b-then then-d c-d", specs=specs) as runtime:
        runtime.subscribe_to_events([EventType.CLIENT_INPUT_REQUESTED], lambda event: asked.set())
        execution = await runtime.trigger("main")
        await gate.came()
        await within(asked)
        session = runtime.get_session(execution)
        assert session.status is Status.RUNNING
        assert sorted(session.current_nodes) == ["b", "c"]
        (question,) = runtime.pending_questions()
        assert session.open_questions == [question.id]
        assert await runtime.answer(question.id, "yes") == "accepted"
        await until_at(runtime, execution, ["c"])  # the branch that asked has come to the join
        assert runtime.get_session(execution).status is Status.RUNNING
        gate.open()
        result = await runtime.wait_for_completion(execution, LIMIT_S)
        assert result.output["then"] == "said yes"
        assert runs == Counter(a=1, d=1)


async def test_a_cancel_stops_every_branch_and_releases_who_waits(fan_out: Any) -> None:
    first, second, runs = Held(), Held(), Counter[str]()
    functions = {"a": giving(runs, "a"), "b": first, "c": second, "d": giving(runs, "d")}
    async with fan_out(functions, DIAMOND) as runtime:
        execution = await runtime.trigger("main")
        waiting = asyncio.ensure_future(runtime.wait_for_completion(execution))
        await within(first.came, second.came)
        assert await runtime.cancel_execution("main", execution)
        await within(first.stopped, second.stopped)
        async with asyncio.timeout(LIMIT_S):
            assert (await waiting).status is Status.CANCELLED
        assert runs == Counter(a=1)
        first.free = second.free = True
        assert (await runtime.trigger_and_wait("main", timeout=LIMIT_S)).success


async def test_a_pause_stops_all_that_runs_and_a_resume_takes_up_all_that_was_not_done(
    fan_out: Any, until_at: Any
) -> None:
    first, second, runs = Held(), Held(), Counter[str]()
    functions = {
        "a": giving(runs, "a"), "b": giving(runs, "b"), "b2": first, "c": second,
        "e": giving(runs, "e"), "d": giving(runs, "d"),
    }  # fmt: skip
    async with fan_out(functions, "a-b a-c a-e b-b2 b2-d c-d e-d") as runtime:
        execution = await runtime.trigger("main")
        await within(first.came, second.came)
        await until_at(runtime, execution, ["b2", "c"])
        assert await runtime.pause(execution)
        await within(first.stopped, second.stopped)
        session = runtime.get_session(execution)
        assert session.status is Status.PAUSED
        assert sorted(session.current_nodes) == ["b2", "c"]
        first.free = second.free = True
        await runtime.resume(execution)
        result = await runtime.wait_for_completion(execution, LIMIT_S)
        assert result.status is Status.COMPLETED
        assert result.output == {"a": 1, "b": 1, "e": 1, "held": 1, "d": 1}
        assert runs == Counter(a=1, b=1, e=1, d=1)
        assert (first.runs, second.runs) == (2, 2)
        resumed = runtime.event_bus.get_history([EventType.EXECUTION_RESUMED])
        assert len(resumed) == 1, "one resume, one event"


@pytest.mark.parametrize("policy", ["fail_all", "wait_all"])
async def test_a_resume_of_what_failed_runs_nothing_again_that_was_done(
    fan_out: Any, policy: str
) -> None:
    runs: Counter[str] = Counter()
    done = asyncio.Event()
    broken = True

    async def fail() -> dict[str, int]:
        runs["c2"] += 1
        await within(done)
        if broken:
            raise ValueError("broken")
        return {"c2": 1}

    functions: dict[str, Any] = {name: giving(runs, name) for name in ("a", "b", "b2", "c")}
    functions |= {"c2": fail, "d": giving(runs, "d")}
    ways = "a-b a-c b-b2 c-c2 b2-d c2-d"
    async with fan_out(functions, ways, parallel={"on_branch_failure": policy}) as runtime:
        runtime.subscribe_to_events(
            [EventType.NODE_COMPLETED], lambda event: event.node_id == "b2" and done.set()
        )
        result = await runtime.trigger_and_wait("main", timeout=LIMIT_S)
        assert result.status is Status.FAILED
        assert runs == Counter(a=1, b=1, b2=1, c=1, c2=1)
        broken = False
        await runtime.resume(result.execution_id)
        result = await runtime.wait_for_completion(result.execution_id, LIMIT_S)
        assert result.output == dict.fromkeys(functions, 1)
        assert runs == Counter(a=1, b=1, b2=1, c=1, c2=2, d=1)
        assert (result.retry_details, result.node_visit_counts["c2"]) == ({"c2": 1}, 1)
