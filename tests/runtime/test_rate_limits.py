"""How many executions an entry point accepts in a span of time."""

import asyncio
from typing import Any

import pytest

from greenroom import EntryPointSpec, NodeSpec, RateLimit
from greenroom.actors.stream.admission_gate import AdmissionGate
from greenroom.protocol.admission_errors import RateLimited
from greenroom.protocol.errors import AdmissionError, IdempotencyConflict, Overloaded


def _point(**settings: Any) -> EntryPointSpec:
    return EntryPointSpec(id="main", entry_node="work", **settings)


def _stats(runtime: Any) -> Any:
    return runtime.get_stats()["streams"]["main"]


class _Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


async def _work() -> str:
    return "done"


@pytest.mark.asyncio
async def test_more_than_the_rate_is_refused_with_the_time_to_wait(lab: Any) -> None:
    """And other entry points do not notice."""
    points = [_point(rate_limit="2/h"), EntryPointSpec(id="other", entry_node="work")]
    async with lab.runtime({"work": _work}, entry_points=points) as runtime:
        assert (await runtime.trigger_and_wait("main", timeout=20)).success
        await runtime.trigger("main")
        for call in (runtime.trigger("main"), runtime.trigger_and_wait("main", execution_id="x")):
            with pytest.raises(RateLimited) as caught:
                await call
            error = caught.value
            assert isinstance(error, AdmissionError)
            assert error.retryable
            assert error.entry_point == "main"
            assert 1790 < error.retry_after <= 1800
        assert _stats(runtime)["rate_limited"] == 2
        assert _stats(runtime)["refused"] == 0
        assert (await runtime.trigger_and_wait("other", timeout=20)).success


@pytest.mark.asyncio
async def test_a_repeat_costs_nothing_of_the_rate_and_is_answered_past_it(lab: Any) -> None:
    points = [_point(rate_limit=RateLimit(count=2, per_s=3600))]
    async with lab.runtime({"work": _work}, entry_points=points) as runtime:
        same = await asyncio.gather(
            *(runtime.trigger("main", {"a": 1}, idempotency_key="k") for _ in range(2))
        )
        for _ in range(5):
            same.append(await runtime.trigger("main", {"a": 1}, idempotency_key="k"))
        assert len(set(same)) == 1
        with pytest.raises(IdempotencyConflict):
            await runtime.trigger("main", {"a": 2}, idempotency_key="k")
        other = await runtime.trigger("main")  # the second token is still there
        with pytest.raises(RateLimited):
            await runtime.trigger("main", idempotency_key="new")
        assert await runtime.trigger("main", {"a": 1}, idempotency_key="k") == same[0]
        assert await runtime.trigger("main", execution_id=other) == other


@pytest.mark.asyncio
async def test_what_was_not_accepted_costs_nothing(lab: Any, new_gate: Any) -> None:
    """A full queue, a blocked caller who gave up, and input that cannot be stored."""
    gate = new_gate()
    points = [_point(rate_limit="3/h", overflow="block", max_concurrent=1, max_queued=0)]
    async with lab.runtime({"work": gate.wait}, entry_points=points) as runtime:
        await runtime.trigger("main")
        await gate.came()
        call = asyncio.ensure_future(runtime.trigger("main"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        gate.open()
        for _ in range(2):
            assert (await runtime.trigger_and_wait("main", timeout=20)).success
        with pytest.raises(RateLimited):
            await runtime.trigger("main")


@pytest.mark.asyncio
async def test_events_wait_in_the_log_for_the_rate(lab: Any) -> None:
    """None is lost, and none is reported as a failure."""
    point = _point(
        rate_limit=RateLimit(count=1, per_s=0.05),
        trigger_type="event",
        trigger_config={"event_types": ["custom"]},
    )
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def note(event: Any) -> None:
        seen.put_nowait(event["data"]["n"])

    node = NodeSpec(id="work", input_keys=["event"])
    async with lab.runtime({"work": note}, nodes=[node], entry_points=[point]) as runtime:
        for number in range(4):
            await runtime.event_bus.publish("custom", data={"n": number})
        async with asyncio.timeout(20):
            assert [await seen.get() for _ in range(4)] == [0, 1, 2, 3]


def test_the_gate_lets_in_again_as_its_clock_goes_on() -> None:
    """The clock is given to it: no time passes in this test."""
    clock = _Clock()
    gate = AdmissionGate(_point(rate_limit=RateLimit(count=10, per_s=1.0, burst=1)), clock)
    assert gate.try_reserve()
    with pytest.raises(RateLimited) as caught:
        gate.check()
    assert caught.value.retry_after == pytest.approx(0.1)
    clock.at += 0.1
    gate.check()
    assert gate.try_reserve()
    with pytest.raises(RateLimited):
        gate.try_reserve()
    gate.release(accepted=False)  # it was a repeat after all
    assert gate.try_reserve()


def test_a_full_queue_is_told_before_the_rate_is_used_up() -> None:
    clock = _Clock()
    gate = AdmissionGate(_point(rate_limit="1/h", max_queued=0, max_concurrent=1), clock)
    gate.publish(0, 1)
    assert not gate.try_reserve()
    with pytest.raises(Overloaded):
        gate.check()
    gate.publish(0, 0)
    assert gate.try_reserve()
