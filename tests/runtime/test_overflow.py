"""What becomes of triggers when the queue is full, by the policy of the entry point."""

import asyncio
from typing import Any

import pytest

from greenroom import EntryPointSpec, NodeSpec, Status
from greenroom.actors.stream import admission_gate
from greenroom.protocol.errors import Overloaded, RuntimeStopped, StreamUnavailable


def _point(**settings: Any) -> EntryPointSpec:
    return EntryPointSpec(
        id="main", entry_node="work", max_concurrent=1, **{"max_queued": 1} | settings
    )


def _stats(runtime: Any) -> Any:
    return runtime.get_stats()["streams"]["main"]


async def _fill(runtime: Any, gate: Any) -> None:
    """One runs and one waits."""
    await runtime.trigger("main", execution_id="runs")
    await gate.came()
    await runtime.trigger("main", execution_id="waits")


async def _blocked(runtime: Any, *names: str) -> list[Any]:
    """Calls that wait for a place, in this order."""
    calls = []
    for name in names:
        calls.append(asyncio.ensure_future(runtime.trigger("main", execution_id=name)))
        await asyncio.sleep(0)
    assert _stats(runtime)["blocked_callers"] == len(names)
    return calls


@pytest.mark.asyncio
async def test_blocked_callers_get_their_places_in_the_order_in_which_they_came(
    lab: Any, new_gate: Any
) -> None:
    """B26. A place comes free when the next one starts; nobody is let in before that."""
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=[_point(overflow="block")]) as runtime:
        await _fill(runtime, gate)
        names = ["a", "b", "c"]
        calls = await _blocked(runtime, *names)
        for position, call in enumerate(calls):
            gate.let_go()
            await gate.came()
            assert await call == names[position]
            assert not any(later.done() for later in calls[position + 1 :])
        assert _stats(runtime)["refused"] == 0
        gate.open()
        for name in ("runs", "waits", *names):
            assert (await runtime.wait_for_completion(name, timeout=20)).success


@pytest.mark.asyncio
async def test_a_blocked_caller_who_gives_up_leaves_nothing_behind(lab: Any, new_gate: Any) -> None:
    """Cancelled while it waits, and at the moment at which its place has come."""
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, entry_points=[_point(overflow="block")]) as runtime:
        await _fill(runtime, gate)
        early, late, last = await _blocked(runtime, "early", "late", "last")
        early.cancel()
        await asyncio.wait([early])
        assert _stats(runtime)["blocked_callers"] == 2
        while _stats(runtime)["blocked_callers"] == 2:
            if gate.inside:
                gate.let_go()
            await asyncio.sleep(0)  # until the stream has let `late` in
        late.cancel()
        await asyncio.wait([late])
        gate.open()
        assert await last == "last"
        assert (await runtime.wait_for_completion("last", timeout=20)).success
        assert _stats(runtime)["blocked_callers"] == 0
        assert await runtime.wait_for_completion("early") is None


@pytest.mark.asyncio
async def test_a_blocked_caller_waits_no_longer_than_declared_and_no_more_than_so_many_wait(
    lab: Any, new_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_gate, "BLOCKED_CALLERS_MAX", 1)
    gate = new_gate()
    point = _point(overflow="block", block_timeout_s=0.02)
    async with lab.runtime({"work": gate.wait}, entry_points=[point]) as runtime:
        await _fill(runtime, gate)
        waiting = asyncio.ensure_future(runtime.trigger_and_wait("main", execution_id="a"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await runtime.trigger("main", execution_id="b")  # one waits already
        with pytest.raises(Overloaded) as caught:
            await waiting
        assert (caught.value.queued, caught.value.limit) == (1, 1)
        assert await runtime.trigger("main", execution_id="waits") == "waits"  # a repeat
        assert _stats(runtime)["refused"] == 2
        gate.open()
        assert (await runtime.wait_for_completion("waits", timeout=20)).success
        assert (await runtime.trigger_and_wait("main", timeout=20)).success


@pytest.mark.asyncio
async def test_a_stop_releases_blocked_callers_with_the_id_to_try_again_with(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    points = [_point(overflow="block")]
    runtime = lab.runtime({"work": gate.wait}, entry_points=points, shutdown_timeout_s=0)
    async with runtime:
        await _fill(runtime, gate)
        (call,) = await _blocked(runtime, "a")
    with pytest.raises(RuntimeStopped) as caught:
        await call
    assert caught.value.execution_id == "a"
    gate.open()
    async with lab.runtime({"work": gate.wait}, entry_points=points) as runtime:
        assert await runtime.trigger("main", execution_id="a") == "a"
        for name in ("runs", "waits", "a"):
            assert (await runtime.wait_for_completion(name, timeout=20)).success


@pytest.mark.asyncio
async def test_a_stream_that_goes_down_releases_blocked_callers() -> None:
    """Nobody would let them in any more."""
    gate = admission_gate.AdmissionGate(_point(overflow="block"))
    gate.publish(1, 1)
    calls = [asyncio.ensure_future(gate.wait_for_place(name, None)) for name in ("a", "b")]
    await asyncio.sleep(0)
    assert gate.blocked == 2
    gate.close("it failed too often")
    for call in calls:
        with pytest.raises(StreamUnavailable):
            await call
    assert gate.blocked == 0
    gate.open()
    gate.publish(0, 1)
    assert gate.try_reserve()


@pytest.mark.asyncio
async def test_the_oldest_that_never_started_gives_way_to_the_newest(
    lab: Any, new_gate: Any
) -> None:
    """B26. What gives way is cancelled, says why, and releases who waits for it; what runs and
    what has run before is left alone.
    """
    gate = new_gate()
    point = _point(overflow="drop_oldest", max_queued=2)
    async with lab.runtime({"work": gate.wait}, entry_points=[point]) as runtime:
        await runtime.trigger("main", execution_id="runs")
        await gate.came()
        waiter = asyncio.ensure_future(runtime.trigger_and_wait("main", execution_id="a"))
        await asyncio.sleep(0)
        for name in ("b", "c", "d"):
            await runtime.trigger("main", execution_id=name, priority=int(name == "b"))
        dropped = await waiter
        assert dropped.status is Status.CANCELLED
        assert dropped.error == (
            "Execution cancelled: dropped for a newer one, because 2 were waiting"
        )
        result = await runtime.wait_for_completion("b", timeout=20)
        assert result.status is Status.CANCELLED, "it was older, whatever its priority"
        events = runtime.event_bus.get_history("execution_cancelled")
        assert {one.execution_id for one in events} == {"a", "b"}
        assert all("dropped for a newer one" in one.data["error"] for one in events)
        assert (_stats(runtime)["dropped"], _stats(runtime)["refused"]) == (2, 0)
        gate.open()
        for name in ("runs", "c", "d"):
            assert (await runtime.wait_for_completion(name, timeout=20)).success


@pytest.mark.asyncio
async def test_dropping_loses_nobody_under_a_flood(lab: Any, new_gate: Any) -> None:
    """Every accepted execution ends, as completed or as dropped, and the counts agree."""
    gate = new_gate()
    point = _point(overflow="drop_oldest", max_queued=5)
    async with lab.runtime({"work": gate.wait}, entry_points=[point]) as runtime:
        await runtime.trigger("main")
        await gate.came()
        answers = await asyncio.gather(
            *(runtime.trigger("main") for _ in range(200)), return_exceptions=True
        )
        accepted = [one for one in answers if isinstance(one, str)]
        assert all(isinstance(one, Overloaded) for one in answers if not isinstance(one, str))
        assert len(accepted) >= 5
        gate.open()
        ends = [(await runtime.wait_for_completion(one, timeout=20)).status for one in accepted]
        assert ends[-5:] == [Status.COMPLETED] * 5
        assert ends.count(Status.CANCELLED) == _stats(runtime)["dropped"] == len(accepted) - 5


@pytest.mark.parametrize("overflow", ["reject", "block"])
@pytest.mark.asyncio
async def test_events_wait_in_the_log_until_their_entry_point_has_room(
    lab: Any, new_gate: Any, overflow: str
) -> None:
    """Whatever the policy: one of them waits at the gate, and none is lost, refused or repeated."""
    gate = new_gate()

    async def work(event: Any) -> None:
        await gate.wait(event)

    node = NodeSpec(id="work", input_keys=["event"])
    point = _point(
        overflow=overflow, trigger_type="event", trigger_config={"event_types": ["custom"]}
    )
    async with lab.runtime({"work": work}, nodes=[node], entry_points=[point]) as runtime:
        for number in range(6):
            await runtime.event_bus.publish("custom", data={"n": number})
        seen = await gate.came()
        for _ in range(5):
            gate.let_go()
            seen += await gate.came()
        assert [event["data"]["n"] for event in seen] == list(range(6))
        assert _stats(runtime)["refused"] == 0
        gate.open()
