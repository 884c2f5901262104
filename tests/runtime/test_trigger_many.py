"""Many executions in one commit: all of them or none, and what each caller is told."""

import asyncio
from typing import Any

import pytest

from greenroom import (
    BatchTooLarge,
    EntryPointSpec,
    IdempotencyConflict,
    InvalidInput,
    InvalidItem,
    NodeSpec,
    Overloaded,
    RateLimited,
    Status,
    TriggerItem,
)
from greenroom.actors.host import batching
from greenroom.protocol.errors import RuntimeStopped
from greenroom.protocol.limits import TRIGGER_MANY_MAX
from greenroom.protocol.messages import Barrier

NODE = NodeSpec(id="work", input_keys=["who"])


def _point(**settings: Any) -> EntryPointSpec:
    return EntryPointSpec(id="main", entry_node="work", **settings)


def _stats(runtime: Any) -> Any:
    return runtime._assembly.store.stats()


def _items(*names: str, **options: Any) -> list[TriggerItem]:
    return [TriggerItem({"who": name}, **options) for name in names]


def _stored(runtime: Any) -> int:
    count: int = _stats(runtime).tables["summaries"]
    return count


@pytest.mark.asyncio
async def test_all_are_accepted_in_order_by_one_commit(lab: Any, new_gate: Any) -> None:
    """What it costs is counted: one sync for all, where a trigger each costs one for each."""
    gate = new_gate()
    points = [_point(max_concurrent=1)]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        await runtime.trigger("main", {"who": "first"})
        await gate.came()
        before = _stats(runtime)
        ids = await runtime.trigger_many("main", [{"who": str(n)} for n in range(100)])
        many = _stats(runtime)
        assert (many.groups - before.groups, many.puts - before.puts) == (1, 4 * 100 + 1)
        for number in range(100):
            await runtime.trigger("main", {"who": str(number)})
        single = _stats(runtime)
        assert (single.groups - many.groups, single.puts - many.puts) == (100, 5 * 100)
        assert len(set(ids)) == 100
        gate.open()
        for one in ids:
            assert (await runtime.wait_for_completion(one, timeout=20)).success
        order = [gate.entered.get_nowait() for _ in range(100)]
    assert order == [str(n) for n in range(100)]


@pytest.mark.asyncio
async def test_each_item_has_its_own_options(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    points = [_point(max_concurrent=2)]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        items = [
            TriggerItem({"who": "a"}, "mine", concurrency_key="k"),
            TriggerItem({"who": "b"}, concurrency_key="k"),
            TriggerItem({"who": "low"}, priority=-5),
            {"who": "plain"},
            TriggerItem({"who": "high"}, priority=5),
        ]
        ids = await runtime.trigger_many("main", items)
        order = sorted(await gate.came(2))
        assert order == ["a", "low"], "they came first, while there were permits"
        gate.let_go()
        order = await gate.came()
        assert order == ["high"]
        gate.open()
        for one in ids:
            assert (await runtime.wait_for_completion(one, timeout=20)).success
        queued = runtime.event_bus.get_history("execution_started")
        assert "mine" in {event.correlation_id for event in queued}


@pytest.mark.asyncio
async def test_a_bad_item_is_named_and_nothing_is_accepted(lab: Any, new_gate: Any) -> None:
    async with lab.runtime({"work": new_gate().wait}, nodes=[NODE]) as runtime:
        for bad in (
            {"who": float("nan")},
            ["who"],
            TriggerItem({"who": "x"}, priority=1.5),
            TriggerItem({"who": "x"}, "not an id"),
            TriggerItem({"who": "x"}, execution_id="mine"),
            TriggerItem({"who": "x"}, idempotency_key=""),
        ):
            with pytest.raises(InvalidItem) as caught:
                await runtime.trigger_many("main", [{"who": "a"}, {"who": "b"}, bad])
            assert caught.value.index == 2
            assert "item 2: " in str(caught.value)
            assert isinstance(caught.value.cause, InvalidInput)
        with pytest.raises(BatchTooLarge):
            await runtime.trigger_many("main", [{}] * (TRIGGER_MANY_MAX + 1))
        with pytest.raises(InvalidInput, match="pass a list"):
            await runtime.trigger_many("main", {"who": "a"})
        assert await runtime.trigger_many("main", []) == []
        assert _stored(runtime) == 0


@pytest.mark.asyncio
async def test_too_many_bytes_are_refused(
    lab: Any, new_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "TRIGGER_MANY_BYTES_MAX", 1000)
    async with lab.runtime({"work": new_gate().wait}, nodes=[NODE]) as runtime:
        with pytest.raises(BatchTooLarge) as caught:
            await runtime.trigger_many("main", [{"who": "x" * 400}] * 3)
        assert caught.value.limit == 1000
        assert _stored(runtime) == 0


@pytest.mark.asyncio
async def test_repeats_are_answered_the_first_id_and_keep_nobody_back(lab: Any) -> None:
    """Of an earlier call, and within the batch; one in conflict refuses all."""
    seen: list[str] = []

    def work(who: str) -> None:
        seen.append(who)

    async with lab.runtime({"work": work}, nodes=[NODE]) as runtime:
        first = await runtime.trigger("main", {"who": "a"}, idempotency_key="a")
        items = [TriggerItem({"who": one}, idempotency_key=one) for one in "abcb"]
        ids = await runtime.trigger_many("main", items)
        assert ids[0] == first
        assert ids[1] == ids[3]
        assert len(set(ids)) == 3
        assert await runtime.trigger_many("main", items) == ids
        for conflict in ("b", "new"):
            with pytest.raises(IdempotencyConflict):
                await runtime.trigger_many(
                    "main",
                    [
                        TriggerItem({"who": "d"}, idempotency_key="d"),
                        TriggerItem({"who": "new"}, idempotency_key="new"),
                        TriggerItem({"who": "other"}, idempotency_key=conflict),
                    ],
                )
        assert _stored(runtime) == 3
        for one in ids:
            assert (await runtime.wait_for_completion(one, timeout=20)).success
    assert sorted(seen) == ["a", "b", "c"]


@pytest.mark.asyncio
async def test_there_is_room_for_all_or_for_none(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    points = [_point(max_concurrent=1, max_queued=3, rate_limit="10/h")]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        await runtime.trigger("main", {"who": "runs"})
        await gate.came()
        with pytest.raises(Overloaded):
            await runtime.trigger_many("main", _items("a", "b", "c", "d"))
        assert _stored(runtime) == 1
        keyed = [TriggerItem({"who": one}, idempotency_key=one) for one in "abc"]
        ids = await runtime.trigger_many("main", keyed)
        assert await runtime.trigger_many("main", keyed) == ids, "repeats need no room"
        gate.open()
        for one in ids:
            assert (await runtime.wait_for_completion(one, timeout=20)).success
        assert len(await runtime.trigger_many("main", _items("d", "e", "f"))) == 3
        with pytest.raises(RateLimited):
            await runtime.trigger_many("main", _items("g", "h", "i", "j"))


@pytest.mark.asyncio
async def test_a_blocked_batch_waits_for_all_its_places_in_its_turn(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    points = [_point(max_concurrent=1, max_queued=2, overflow="block")]
    runtime = lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points)
    async with runtime:
        await runtime.trigger_many("main", _items("runs", "a", "b"))
        await gate.came()
        many = asyncio.ensure_future(runtime.trigger_many("main", _items("c", "d")))
        await asyncio.sleep(0)
        one = asyncio.ensure_future(runtime.trigger("main", {"who": "e"}))
        await asyncio.sleep(0)
        gate.let_go()
        await gate.came()
        assert not one.done(), "it came after the batch"
        gate.let_go()
        await gate.came()
        assert len(await many) == 2
        with pytest.raises(Overloaded):
            await runtime.trigger_many("main", _items("f", "g", "h", "i"))  # never so many
    with pytest.raises(RuntimeStopped):
        await one


@pytest.mark.asyncio
async def test_a_crash_of_the_stream_neither_tears_nor_doubles_a_batch(
    lab: Any, new_gate: Any
) -> None:
    """The message waits in the mailbox, or its commit is on the way, when the stream dies."""
    gate = new_gate()
    points = [_point(max_concurrent=3)]
    async with lab.runtime({"work": gate.wait}, nodes=[NODE], entry_points=points) as runtime:
        stream = runtime.get_stream("main")
        total = 0
        for early in (True, False, True, False):
            if early:
                stream.ref.kill()
            calls = [
                asyncio.ensure_future(runtime.trigger_many("main", _items(*"abcde")))
                for _ in range(3)
            ]
            await asyncio.sleep(0)
            if not early:
                stream.ref.kill()
            for call in calls:
                assert len(set(await call)) == 5
            total += 15
            assert _stored(runtime) == total
        await runtime._assembly.writer.ask(Barrier())
        gate.open()
        for found in runtime._assembly.store.read(lambda reader: reader.executions()):
            name = found.summary.execution_id
            result = await runtime.wait_for_completion(name, timeout=20)
            assert result.status is Status.COMPLETED
        assert runtime.get_stats()["streams"]["main"]["queued_executions"] == 0
