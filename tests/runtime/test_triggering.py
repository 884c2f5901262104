"""trigger, trigger_and_wait and results: limits of time, repeats, conflicts, other processes."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from greenroom import EntryPointSpec, NodeSpec
from greenroom.protocol.errors import (
    IdempotencyConflict,
    InvalidConfig,
    InvalidId,
    InvalidInput,
    InvalidValue,
)
from greenroom.protocol.execution import Status

POINTS = [EntryPointSpec(id=one, entry_node="work") for one in ("main", "other")]


async def _work() -> str:
    return "done"


@pytest.mark.asyncio
async def test_trigger_returns_at_once_and_ids_have_the_known_form(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}) as runtime:
        execution = await runtime.trigger("main", {"a": 1}, "my-correlation")
        kind, day, time, random = execution.split("_")
        assert (kind, len(day), len(time), len(random)) == ("session", 8, 6, 8)
        assert runtime.get_execution_result("main", execution) is None, "it is unfinished"
        await gate.came()
        started = runtime.event_bus.get_history("execution_started")[0]
        assert started.correlation_id == "my-correlation"
        gate.open()
        assert (await runtime.wait_for_completion(execution)).output == {"a": 1}


@pytest.mark.asyncio
async def test_timeout_none_waits_zero_does_not_and_a_passed_one_gives_none(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}) as runtime:
        assert await runtime.trigger_and_wait("main", timeout=0, execution_id="zero") is None
        assert await runtime.trigger_and_wait("main", timeout=0.01, execution_id="short") is None
        assert await runtime.wait_for_completion("zero", timeout=0) is None
        forever = asyncio.ensure_future(runtime.trigger_and_wait("main", execution_id="none"))
        await gate.came(3)
        gate.open()
        assert (await forever).status is Status.COMPLETED
        for one in ("zero", "short"):  # the executions went on
            assert (await runtime.wait_for_completion(one, timeout=20)).success
        done = await runtime.wait_for_completion("zero", timeout=0)
        assert done == runtime.get_execution_result("main", "zero")


@pytest.mark.asyncio
async def test_a_cancelled_waiter_cancels_no_execution(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}) as runtime:
        waiting = asyncio.ensure_future(runtime.trigger_and_wait("main", execution_id="mine"))
        await gate.came()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.open()
        assert (await runtime.wait_for_completion("mine", timeout=20)).success


@pytest.mark.asyncio
async def test_results_are_none_when_unknown_unfinished_or_of_another_entry_point(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=POINTS) as runtime:
        execution = await runtime.trigger("main")
        assert runtime.get_execution_result("main", "unknown") is None
        assert await runtime.wait_for_completion("unknown") is None
        assert runtime.get_execution_result("main", execution) is None
        gate.open()
        result = await runtime.wait_for_completion(execution)
        assert runtime.get_execution_result("other", execution) is None
        assert runtime.get_execution_result("nowhere", execution) is None
        assert runtime.get_execution_result("main", execution) == result
        assert result.execution_id == execution


@pytest.mark.asyncio
async def test_results_are_durable(lab: Any) -> None:
    """Another runtime on the same store answers for the earlier one (B27)."""
    async with lab.runtime({"work": _work}) as runtime:
        result = await runtime.trigger_and_wait("main", {"deep": {"x": [1, 2.5, None, b"raw"]}})
        failed = await runtime.trigger_and_wait("main")
    async with lab.runtime({"work": _work}) as runtime:
        assert runtime.get_execution_result("main", result.execution_id) == result
        assert await runtime.wait_for_completion(failed.execution_id) == failed
        assert result.output == {"deep": {"x": [1, 2.5, None, b"raw"]}, "result": "done"}


@pytest.mark.asyncio
async def test_an_idempotency_key_gives_the_first_execution_also_after_a_restart(lab: Any) -> None:
    runs = []

    async def work(value: int) -> int:
        runs.append(value)
        return value

    nodes = {"work": work}
    spec = NodeSpec(id="work", input_keys=["value"])
    async with lab.runtime(nodes, nodes=[spec]) as runtime:
        first = await runtime.trigger("main", {"value": 1}, idempotency_key="k")
        again = await asyncio.gather(
            *(runtime.trigger("main", {"value": 1}, idempotency_key="k") for _ in range(20))
        )
        assert set(again) == {first}
        for timeout in (None, 20):
            result = await runtime.trigger_and_wait(
                "main", {"value": 1}, timeout, idempotency_key="k"
            )
            assert result.execution_id == first
        other = await runtime.trigger("main", {"value": 1}, idempotency_key="k2")
        assert other != first
        await runtime.wait_for_completion(other)
    async with lab.runtime(nodes, nodes=[spec]) as runtime:
        assert await runtime.trigger("main", {"value": 1}, idempotency_key="k") == first
        result = await runtime.trigger_and_wait("main", {"value": 1}, idempotency_key="k")
        assert (result.execution_id, result.status) == (first, Status.COMPLETED)
    assert runs == [1, 1]


@pytest.mark.asyncio
async def test_a_key_is_forgotten_after_its_window(lab: Any) -> None:
    points = [EntryPointSpec(id="main", entry_node="work", idempotency_window_s=0)]
    async with lab.runtime({"work": _work}, entry_points=points) as runtime:
        first = await runtime.trigger("main", {"a": 1}, idempotency_key="k")
        second = await runtime.trigger("main", {"a": 2}, idempotency_key="k")
        assert first != second


@pytest.mark.asyncio
async def test_concurrent_triggers_with_one_key_start_one_execution(lab: Any) -> None:
    runs = []

    async def work() -> None:
        runs.append(1)

    async with lab.runtime({"work": work}) as runtime:
        ids = await asyncio.gather(
            *(runtime.trigger("main", idempotency_key="k") for _ in range(30))
        )
        assert len(set(ids)) == 1
        results = await asyncio.gather(
            *(runtime.trigger_and_wait("main", idempotency_key="k") for _ in range(30))
        )
        assert {one.execution_id for one in results} == set(ids)
    assert runs == [1]


@pytest.mark.asyncio
async def test_a_key_with_another_payload_conflicts_and_names_the_first_execution(
    lab: Any,
) -> None:
    async with lab.runtime({"work": _work}, entry_points=POINTS) as runtime:
        first = await runtime.trigger("main", {"a": 1, "b": 2}, idempotency_key="k")
        assert await runtime.trigger("main", {"b": 2, "a": 1}, idempotency_key="k") == first
        for call in (
            runtime.trigger("main", {"a": 2}, idempotency_key="k"),
            runtime.trigger_and_wait("main", {"a": 2}, idempotency_key="k"),
            runtime.trigger_and_wait("main", {"a": 2}, timeout=5, idempotency_key="k"),
        ):
            with pytest.raises(IdempotencyConflict) as caught:
                await call
            assert (caught.value.key, caught.value.execution_id) == ("k", first)
            assert isinstance(caught.value, RuntimeError)
        assert await runtime.trigger("other", {"a": 2}, idempotency_key="k") != first, (
            "each entry point has keys of its own"
        )
        assert (await runtime.wait_for_completion(first)).output["a"] == 1


@pytest.mark.asyncio
async def test_repeating_an_execution_id_is_safe_at_every_moment(lab: Any, new_gate: Any) -> None:
    gate, runs = new_gate(), []

    async def work() -> str:
        runs.append(1)
        await gate.wait()
        return "done"

    async with lab.runtime({"work": work}) as runtime:
        together = await asyncio.gather(
            *(runtime.trigger("main", execution_id="mine") for _ in range(10))
        )
        assert set(together) == {"mine"}
        await gate.came()
        waiting = asyncio.ensure_future(runtime.trigger_and_wait("main", execution_id="mine"))
        assert await runtime.trigger("main", execution_id="mine") == "mine"
        gate.open()
        assert (await waiting).execution_id == "mine"
        for timeout in (None, 0, 20):
            result = await runtime.trigger_and_wait("main", timeout=timeout, execution_id="mine")
            assert result.status is Status.COMPLETED
    async with lab.runtime({"work": work}) as runtime:
        assert await runtime.trigger("main", execution_id="mine") == "mine"
        assert (await runtime.trigger_and_wait("main", execution_id="mine")).success
    assert runs == [1]


@pytest.mark.asyncio
async def test_a_repeated_id_is_acknowledged_only_when_the_first_is_durable(lab: Any) -> None:
    """The repeat of a trigger that the store then refuses is refused as well."""
    async with lab.runtime({"work": _work}) as runtime:
        await runtime.trigger("main", {"a": 1}, idempotency_key="k")
        answers = await asyncio.gather(
            runtime.trigger("main", {"a": 2}, idempotency_key="k", execution_id="mine"),
            runtime.trigger("main", {"a": 2}, idempotency_key="k", execution_id="mine"),
            return_exceptions=True,
        )
        assert [type(one) for one in answers] == [IdempotencyConflict] * 2
        assert await runtime.wait_for_completion("mine") is None


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"execution_id": "a/b"}, InvalidId, "contains '/'"),
        ({"execution_id": "a..b"}, InvalidId, r"contains '\.\.'"),
        ({"execution_id": ""}, InvalidId, "is empty"),
        ({"execution_id": "x" * 129}, InvalidId, "has 129 characters"),
        ({"correlation_id": "a b"}, InvalidId, "correlation id"),
        ({"idempotency_key": ""}, InvalidValue, "idempotency_key"),
        ({"idempotency_key": "k" * 257}, InvalidValue, "idempotency_key"),
        ({"idempotency_key": 7}, InvalidValue, "idempotency_key"),
        ({"priority": 10_001}, InvalidConfig, "priority"),
        ({"priority": "high"}, InvalidConfig, "priority"),
        ({"execution_timeout": -1}, InvalidConfig, "execution_timeout"),
        ({"execution_timeout": "1"}, InvalidConfig, "execution_timeout"),
        ({"execution_timeout": float("nan")}, InvalidConfig, "execution_timeout"),
        ({"deadline": datetime(2030, 1, 1)}, InvalidInput, "time zone"),  # noqa: DTZ001
        ({"deadline": 1_900_000_000}, InvalidInput, "time zone"),
    ],
)
@pytest.mark.asyncio
async def test_options_that_cannot_be_are_refused_and_nothing_is_accepted(
    lab: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    async with lab.runtime({"work": _work}) as runtime:
        for call in (runtime.trigger, runtime.trigger_and_wait):
            with pytest.raises(error, match=text) as caught:
                await call("main", **options)
            assert isinstance(caught.value, ValueError)
        assert runtime.get_stats()["streams"]["main"]["accepted_executions"] == 0
        assert (await runtime.trigger_and_wait("main")).success
