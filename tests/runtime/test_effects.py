"""Effects and durable sub-steps: what is recorded is not done again, the rest obeys its policy."""

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from greenroom import EdgeSpec, EffectNotDone, EntryPointSpec, NodeSpec, StaleNodeRun
from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.asyncio

RETRIED = NodeSpec(id="order", max_retries=3, backoff_initial_s=0)


class Bank:
    """Counts the calls that reach it, by the key that came with each."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.calls: list[tuple[int, str]] = []
        self._errors = list(errors)

    def charge(self, amount: int, idempotency_key: str) -> dict[str, int]:
        self.calls.append((amount, idempotency_key))
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        return {"charged": amount}


async def run(lab: Any, order: Any, *, node: NodeSpec = RETRIED, **parts: Any) -> Any:
    """The result of one execution whose node is `order`, and its events, oldest first."""
    async with lab.runtime({"order": order}, [node], **parts) as runtime:
        result = await runtime.trigger_and_wait("main", {"amount": 5}, timeout=20)
        events = runtime.event_bus.get_history(execution_id=result.execution_id, limit=1000)
        return result, list(reversed(events))


@pytest.mark.parametrize("policy", ["step", "repeat", "idempotent", "once"])
async def test_a_recorded_result_is_replayed_to_a_retry(lab: Any, policy: str) -> None:
    bank = Bank()
    seen: list[Any] = []

    async def order(ctx: Any) -> Any:
        receipt = await ctx.effect("charge", bank.charge, 5, policy=policy)
        seen.append(receipt)
        receipt["spoilt"] = True
        if ctx.attempt < 3:
            raise ConnectionError("later")
        return {"done": True}

    result, events = await run(lab, order)
    assert result.success, result.error
    assert seen == [{"charged": 5, "spoilt": True}] * 3
    assert bank.calls == [(5, f"{result.execution_id}/order/1/charge/1")]
    assert (result.path, result.steps_executed) == (["order"], 1)
    kinds = [one.type.value for one in events if "effect" in one.type.value]
    assert kinds == {
        "step": [],
        "repeat": ["effect_recorded"],
        "idempotent": ["effect_started", "effect_recorded"],
        "once": ["effect_started", "effect_recorded"],
    }.get(policy)


async def test_plain_functions_have_the_same_effects(lab: Any) -> None:
    bank = Bank()

    def order(ctx: Any) -> Any:
        first = ctx.effect_sync("charge", bank.charge, 1, policy="once")
        second = ctx.effect_sync("charge", bank.charge, amount=2, idempotency_key="mine")
        third = ctx.step_sync("look", lambda: {"attempt": ctx.attempt})
        if ctx.attempt == 1:
            raise ConnectionError("later")
        return {"seen": [first, second, third]}

    result, _ = await run(lab, order)
    assert result.output["seen"] == [{"charged": 1}, {"charged": 2}, {"attempt": 1}]
    assert bank.calls == [(1, f"{result.execution_id}/order/1/charge/1"), (2, "mine")]


async def test_async_functions_and_effects_at_the_same_time(lab: Any) -> None:
    made: list[int] = []

    async def look(number: int) -> int:
        made.append(number)
        await asyncio.sleep(0)
        return number

    async def order(ctx: Any) -> Any:
        seen = await asyncio.gather(*(ctx.step("look", look, number) for number in range(20)))
        if ctx.attempt == 1:
            raise ConnectionError("later")
        return {"seen": seen}

    result, _ = await run(lab, order)
    assert result.output["seen"] == list(range(20))
    assert sorted(made) == list(range(20))


async def test_a_once_that_raises_fails_its_node_and_is_seen(lab: Any) -> None:
    bank = Bank(ConnectionResetError("reset by peer"))

    async def order(ctx: Any, amount: int) -> Any:
        return await ctx.effect("charge", bank.charge, amount, policy="once")

    node = NodeSpec(id="order", input_keys=["amount"], max_retries=3, backoff_initial_s=0)
    result, events = await run(lab, order, node=node)
    assert result.status == "failed"
    assert "effect 'charge' may have happened or not" in result.error
    assert "ConnectionResetError: reset by peer" in result.error
    assert len(bank.calls) == 1, "it is not tried again"
    (unknown,) = [one for one in events if one.type == "outcome_unknown"]
    assert unknown.data["key"] == f"{result.execution_id}/order/1/charge/1"


async def test_an_unknown_outcome_takes_the_edge_for_failures(lab: Any) -> None:
    async def order(ctx: Any) -> Any:
        await ctx.effect("charge", Bank(TimeoutError()).charge, 1, policy="once")

    async def ask_ann(error: str) -> Any:
        return {"told": error}

    nodes = [RETRIED, NodeSpec(id="ask_ann", input_keys=["error"])]
    edges = [
        EdgeSpec(
            id="e",
            source="order",
            target="ask_ann",
            condition="on_failure",
            input_mapping={"error": "error"},
        )
    ]
    async with lab.runtime({"order": order, "ask_ann": ask_ann}, nodes, edges) as runtime:
        result = await runtime.trigger_and_wait("main", {}, timeout=20)
    assert result.path == ["order", "ask_ann"]
    assert "may have happened" in result.output["told"]


async def test_a_once_that_says_that_nothing_happened_is_tried_again(lab: Any) -> None:
    bank = Bank(EffectNotDone("the line was busy"))

    async def order(ctx: Any) -> Any:
        return await ctx.effect("charge", bank.charge, 5, policy="once")

    result, events = await run(lab, order)
    assert result.success, result.error
    assert len(bank.calls) == 2
    assert len(set(bank.calls)) == 1
    kinds = [one.type.value for one in events if "effect" in one.type.value]
    assert kinds == ["effect_started", "effect_not_done", "effect_started", "effect_recorded"]


async def test_a_once_with_other_arguments_fails_its_node(lab: Any) -> None:
    bank = Bank()

    async def order(ctx: Any) -> Any:
        await ctx.effect("charge", bank.charge, ctx.attempt, policy="once")
        raise ConnectionError("later")

    result, _ = await run(lab, order)
    assert "begun with other arguments" in result.error
    assert [amount for amount, _ in bank.calls] == [1]


async def test_a_lost_race_repeats_the_node_and_not_its_effects(lab: Any) -> None:
    bank = Bank()
    runs: list[int] = []

    async def order(ctx: Any, runtime: Any = None) -> Any:
        total = await ctx.read("total", 0, "global")
        await ctx.effect("charge", bank.charge, 5, policy="once")
        runs.append(ctx.attempt)
        if len(runs) == 1:
            await state[0].write("total", 10)
        await ctx.write("total", total + 5, "global")

    points = [EntryPointSpec(id="main", entry_node="order", isolation_level="synchronized")]
    state: list[Any] = []
    async with lab.runtime({"order": order}, [RETRIED], entry_points=points) as runtime:
        state.append(runtime.state_manager)
        result = await runtime.trigger_and_wait("main", {}, timeout=20)
        assert result.success, result.error
        assert await runtime.state_manager.read("total") == 15
    assert runs == [1, 2]
    assert len(bank.calls) == 1


async def test_a_resumed_failure_replays_what_it_did_and_a_new_visit_does_not(lab: Any) -> None:
    bank = Bank()
    broken = [True]

    async def order(ctx: Any) -> Any:
        keys.append(ctx.idempotency_key)
        await ctx.effect("charge", bank.charge, 5, policy="once")
        if broken[0]:
            raise ConnectionError("later")
        return {"again": ctx.visit == 1}

    keys: list[str] = []
    node = NodeSpec(id="order", max_retries=1, max_node_visits=0)
    loop = EdgeSpec(
        id="e",
        source="order",
        target="order",
        condition="conditional",
        condition_expr="output.again",
    )
    async with lab.runtime({"order": order}, [node], [loop]) as runtime:
        failed = await runtime.trigger_and_wait("main", {}, timeout=20)
    assert failed.status == "failed"
    broken.clear()
    broken.append(False)
    async with lab.runtime({"order": order}, [node], [loop]) as runtime:
        await runtime.resume(failed.execution_id)
        result = await runtime.wait_for_completion(failed.execution_id, timeout=20)
    assert result.success, result.error
    name = failed.execution_id
    assert keys == [f"{name}/order/1", f"{name}/order/1", f"{name}/order/2"]
    assert [key for _, key in bank.calls] == [
        f"{name}/order/1/charge/1",
        f"{name}/order/2/charge/1",
    ]


async def test_a_node_that_is_paused_in_a_call_follows_the_policy(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    calls: list[str] = []

    async def call(name: str, idempotency_key: str) -> str:
        calls.append(idempotency_key.partition("/")[2])
        if len(calls) <= 2:
            await gate.wait(name)
        return name

    async def order(ctx: Any) -> Any:
        names = ["mail", "ship"]
        seen = await asyncio.gather(
            ctx.effect("mail", call, "mail", policy="idempotent"),
            ctx.effect("ship", call, "ship", policy="once"),
            return_exceptions=True,
        )
        return {"seen": [one if one in names else type(one).__name__ for one in seen]}

    async with lab.runtime({"order": order}, [RETRIED]) as runtime:
        execution = await runtime.trigger("main", {})
        await gate.came(2)
        assert await runtime.pause(execution)
        await runtime.resume(execution)
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert result.output["seen"] == ["mail", "OutcomeUnknown"]
    assert sorted(calls) == ["order/1/mail/1", "order/1/mail/1", "order/1/ship/1"]


async def test_a_plain_function_that_was_stopped_records_and_calls_nothing_more(
    lab: Any,
) -> None:
    entered, go_on, refused = threading.Event(), threading.Event(), threading.Event()
    bank = Bank()

    def wait() -> None:
        entered.set()
        go_on.wait(20)

    def order(ctx: Any) -> Any:
        with pytest.raises(StaleNodeRun):
            ctx.effect_sync("wait", wait)
        with pytest.raises(StaleNodeRun):
            ctx.effect_sync("charge", bank.charge, 5, policy="once")
        refused.set()

    async with lab.runtime({"order": order}, [RETRIED]) as runtime:
        execution = await runtime.trigger("main", {})
        await asyncio.to_thread(entered.wait, 20)
        assert await runtime.cancel_execution("main", execution)
        go_on.set()
        assert await asyncio.to_thread(refused.wait, 20)
    assert bank.calls == []


async def test_a_stream_that_crashes_in_a_call_follows_the_policy(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    calls: list[str] = []

    async def call(name: str) -> str:
        calls.append(name)
        await gate.wait(name)
        return name

    async def order(ctx: Any) -> Any:
        first = await ctx.step("first", calls.append, "first")
        kind = "once" if ctx.attempt == 1 else "repeat"
        return {"seen": [first, await ctx.effect("second", call, "second", policy=kind)]}

    async with lab.runtime({"order": order}, [RETRIED]) as runtime:
        execution = await runtime.trigger("main", {})
        await gate.came(1)
        runtime.get_stream("main").ref.kill()
        await gate.came(1)
        gate.open()
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert result.output["seen"] == [None, "second"]
    assert calls == ["first", "second", "second"]


async def test_a_call_that_its_node_gave_up_keeps_its_intent_and_its_key(lab: Any) -> None:
    calls: list[str] = []

    async def slow(entered: asyncio.Event, idempotency_key: str) -> str:
        calls.append(idempotency_key)
        if len(calls) == 1:
            entered.set()
            await asyncio.Event().wait()
        return "done"

    async def order(ctx: Any) -> Any:
        entered = asyncio.Event()
        call = partial(slow, entered)
        given_up = asyncio.ensure_future(ctx.effect("slow", call, policy="idempotent"))
        await entered.wait()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return {"seen": await ctx.effect("slow", call, policy="idempotent")}

    result, _ = await run(lab, order)
    assert result.output["seen"] == "done"
    assert len(calls) == 2
    assert len(set(calls)) == 1


def ticks_of(lab: Any, execution: str) -> tuple[list[str], Any]:
    """What each record of the journal was written for, and the state that they fold to."""
    (path,) = lab.stores
    reader = open_reader(path)
    try:
        found = reader.read(lambda view: view.execution(execution))
        records = reader.read(lambda view: list(view.journal(found.ordinal, limit=100)))
        state = reader.read(lambda view: view.load_state(found.ordinal))
    finally:
        reader.close()
    return [one.cause.tick for one in records], state


async def test_sub_steps_cost_one_commit_or_two_and_no_step(lab: Any) -> None:
    async def order(ctx: Any) -> Any:
        await ctx.step("a", dict)
        await ctx.effect("b", dict, policy="once")

    result, _ = await run(lab, order)
    ticks, state = ticks_of(lab, result.execution_id)
    assert ticks == ["accept", "progressed", "progressed", "progressed", "node_succeeded"]
    assert (result.steps_executed, state.effects) == (1, {})


async def test_sub_steps_that_end_together_share_a_commit(lab: Any) -> None:
    async def look() -> None: ...

    async def order(ctx: Any) -> Any:
        await asyncio.gather(*(ctx.step("look", look) for _ in range(50)))

    result, _ = await run(lab, order)
    ticks, _ = ticks_of(lab, result.execution_id)
    assert 1 <= ticks.count("progressed") < 50
