"""Of the executions with one concurrency key, one runs at a time, in the order of acceptance."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, NodeSpec, Status
from greenroom.protocol.errors import InvalidValue, Overloaded

NODE = NodeSpec(id="work", input_keys=["who"], max_retries=1)


def _point(**settings: Any) -> EntryPointSpec:
    return EntryPointSpec(id="main", entry_node="work", **settings)


async def _send(runtime: Any, name: str, key: str | None = "k", **options: Any) -> None:
    await runtime.trigger("main", {"who": name}, execution_id=name, concurrency_key=key, **options)


async def _ends(runtime: Any, *names: str) -> list[Status]:
    return [(await runtime.wait_for_completion(one, timeout=20)).status for one in names]


@pytest.mark.asyncio
async def test_one_at_a_time_in_order_and_other_keys_pass(lab: Any, new_gate: Any) -> None:
    """Nobody behind a key holds a permit, or is in the way of others, whatever its priority."""
    gate = new_gate()
    points = [_point(max_concurrent=2)]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        await _send(runtime, "a1")
        await _send(runtime, "a2", priority=-1)
        await _send(runtime, "a3", priority=100)
        await _send(runtime, "b1", "other")
        assert await gate.came(2) == ["a1", "b1"]
        await _send(runtime, "plain", None)
        await _send(runtime, "b2", "other")
        assert runtime.get_stats()["streams"]["main"]["queued_executions"] == 4
        order = []
        for _ in range(3):
            gate.let_go()
            order += await gate.came()
        assert order == ["plain", "b2", "a2"]
        gate.let_go(2)
        assert await gate.came() == ["a3"]
        gate.open()
        assert set(await _ends(runtime, "a1", "a2", "a3", "b1", "b2", "plain")) == {
            Status.COMPLETED
        }


@pytest.mark.asyncio
async def test_a_flood_of_one_key_leaves_the_permits_to_the_others(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    points = [_point(max_concurrent=3)]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        await asyncio.gather(*(_send(runtime, f"a{number}") for number in range(100)))
        await gate.came()
        await _send(runtime, "b", "other")
        await _send(runtime, "plain", None)
        assert set(await gate.came(2)) == {"b", "plain"}
        assert gate.inside == 3
        gate.open()
        names = [f"a{number}" for number in range(100)]
        assert set(await _ends(runtime, *names)) == {Status.COMPLETED}
        seen = [gate.entered.get_nowait() for _ in range(99)]
    assert seen == names[1:]


@pytest.mark.asyncio
async def test_cancelling_in_the_middle_keeps_the_order(lab: Any, new_gate: Any) -> None:
    """Also of the one whose turn it is, and of one that is refused in between."""
    gate = new_gate()
    points = [_point(max_concurrent=5, max_queued=3)]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        for name in ("a", "b", "c", "d"):
            await _send(runtime, name)
        await gate.came()
        assert await runtime.cancel_execution("main", "c")
        assert await runtime.cancel_execution("main", "a")
        assert await gate.came() == ["b"]
        await _send(runtime, "a")  # a repeat of what has ended changes nothing
        gate.let_go()
        assert await gate.came() == ["d"]
        gate.open()
        ends = await _ends(runtime, "a", "b", "c", "d")
        assert ends == [Status.CANCELLED, Status.COMPLETED, Status.CANCELLED, Status.COMPLETED]
        await _send(runtime, "e")
        assert await _ends(runtime, "e") == [Status.COMPLETED]


@pytest.mark.asyncio
async def test_a_paused_owner_keeps_its_key_also_after_a_restart(lab: Any, new_gate: Any) -> None:
    """And one that was paused before it began keeps nobody waiting."""
    gate = new_gate()
    settings: Any = {"nodes": [NODE], "entry_points": [_point()]}
    async with lab.runtime({"work": gate.wait}, **settings) as runtime:
        for name in ("a", "b", "c"):
            await _send(runtime, name)
        await gate.came()
        assert await runtime.pause("b")
        assert await runtime.pause("a")
    async with lab.runtime({"work": gate.wait}, **settings) as runtime:
        await _send(runtime, "other", "o")
        assert await gate.came() == ["other"], "b and c would have come before it"
        await runtime.resume("a")
        assert await gate.came() == ["a"]
        gate.let_go(2)
        assert await gate.came() == ["c"]
        await runtime.resume("b")
        gate.let_go()
        assert await gate.came() == ["b"]
        gate.open()
        assert set(await _ends(runtime, "a", "b", "c")) == {Status.COMPLETED}


@pytest.mark.asyncio
async def test_deleting_the_owner_gives_its_key_to_the_next(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=[_point()]) as runtime:
        await _send(runtime, "a")
        await gate.came()
        await _send(runtime, "b")
        assert await runtime.pause("a")
        assert await runtime.delete_session("a")
        assert await gate.came() == ["b"]
        gate.open()
        assert await _ends(runtime, "b") == [Status.COMPLETED]


@pytest.mark.asyncio
async def test_whoever_waits_for_a_retry_or_failed_and_is_resumed_never_runs_beside_another(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    fail = {"a"}

    async def work(who: str) -> None:
        await gate.wait(who)
        if who in fail:
            raise ValueError("not now")

    retried = NodeSpec(id="work", input_keys=["who"], max_retries=2, backoff_initial_s=1.0)
    async with lab.runtime({"work": work}, nodes=[retried], entry_points=[_point()]) as runtime:
        await _send(runtime, "a")
        await _send(runtime, "b")
        assert await gate.came() == ["a"]
        gate.let_go()
        assert await gate.came() == ["a"], "b waits while a waits for its next attempt"
        gate.let_go()
        assert await gate.came() == ["b"]
        assert await _ends(runtime, "a") == [Status.FAILED]
        fail.clear()
        await runtime.resume("a")
        await _send(runtime, "c")
        assert gate.inside == 1
        gate.let_go()
        assert await gate.came() == ["a"]
        gate.let_go()
        assert await gate.came() == ["c"]
        gate.open()
        assert set(await _ends(runtime, "a", "b", "c")) == {Status.COMPLETED}


@pytest.mark.asyncio
async def test_a_key_is_kept_from_the_first_node_to_the_last_and_at_a_pause_node(lab: Any) -> None:
    """The entry is a router that pauses: no node has run, and all the same it has begun."""
    seen: list[str] = []
    nodes = [
        NodeSpec(id="gate", node_type="router", routes={"default": "work"}),
        NodeSpec(id="work", input_keys=["who"]),
    ]
    edges = [EdgeSpec(id="on", source="gate", target="work")]

    def work(who: str) -> None:
        seen.append(who)

    runtime = lab.runtime(
        {"work": work},
        nodes=nodes,
        edges=edges,
        entry_points=[EntryPointSpec(id="main", entry_node="gate")],
        pauses=["gate"],
    )
    async with runtime:
        await _send(runtime, "a")
        await _send(runtime, "b")
        paused = await runtime.wait_for_completion("a", timeout=20)
        assert paused.status is Status.PAUSED
        assert await runtime.wait_for_completion("b", timeout=0) is None
        await runtime.resume("a")
        assert (await runtime.wait_for_completion("b", timeout=20)).status is Status.PAUSED
        await runtime.resume("b")
        assert (await runtime.wait_for_completion("b", timeout=20)).success
    assert seen == ["a", "b"]


@pytest.mark.asyncio
async def test_a_crash_of_the_stream_neither_doubles_nor_loses_a_turn(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    points = [_point(max_concurrent=4)]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        names = [f"{key}{number}" for number in range(4) for key in "ab"]
        for name in names:
            await _send(runtime, name, name[0])
        await gate.came(2)
        order = []
        for _ in range(3):
            runtime.get_stream("main").ref.kill()
            again = await gate.came(2)  # the same two, once more
            assert sorted(one[0] for one in again) == ["a", "b"]
            assert gate.inside == 2
            gate.let_go(2)
            order += again
            await gate.came(2)
        gate.open()
        assert set(await _ends(runtime, *names)) == {Status.COMPLETED}
    assert [one for one in order if one[0] == "a"] == ["a0", "a1", "a2"]


@pytest.mark.asyncio
async def test_who_is_behind_a_key_counts_as_waiting_and_may_be_dropped(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    points = [
        _point(max_queued=2, max_concurrent=1),
        EntryPointSpec(
            id="drops", entry_node="work", max_queued=2, max_concurrent=1, overflow="drop_oldest"
        ),
    ]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        for name in ("a", "b", "c"):
            await _send(runtime, name)
        with pytest.raises(Overloaded):
            await _send(runtime, "d")
        for name in ("e", "f", "g", "h"):
            await runtime.trigger("drops", {"who": name}, execution_id=name, concurrency_key="k")
        assert await _ends(runtime, "f") == [Status.CANCELLED]
        gate.open()
        assert set(await _ends(runtime, "a", "b", "c", "e", "g", "h")) == {Status.COMPLETED}


@pytest.mark.parametrize("key", ["", "x" * 257, 7])
@pytest.mark.asyncio
async def test_a_key_that_cannot_be_one_is_refused(lab: Any, new_gate: Any, key: Any) -> None:
    async with lab.runtime({"work": new_gate().wait}, nodes=[NODE]) as runtime:
        with pytest.raises(InvalidValue, match="concurrency_key"):
            await _send(runtime, "a", key)
