"""Live subscriptions: order, isolation from one another, restarts, looking back."""

import asyncio
import threading
from typing import Any

import pytest

from greenroom.actors.system.event_bus_handle import EventBusHandle
from greenroom.protocol.commit import Commit
from greenroom.protocol.errors import (
    InvalidConfig,
    InvalidInput,
    InvalidValue,
    RuntimeNotRunning,
    RuntimeStopped,
)
from greenroom.protocol.events import AgentEvent, EventType
from greenroom.protocol.limits import SUBSCRIBER_QUEUE_MAX
from greenroom.protocol.messages import CatchUp
from greenroom.protocol.new_event import new_event
from greenroom.storage.memory_store import MemoryStore


def numbers(events: list[AgentEvent]) -> list[int]:
    """The number that each event of `rig.custom` carries."""
    return [event.data["n"] for event in events]


@pytest.mark.asyncio
async def test_a_subscriber_gets_what_is_committed_later_in_the_order_of_the_log(rig: Any) -> None:
    """More events than one page; those from before it subscribed are not repeated."""
    await rig.custom(5)
    seen: list[AgentEvent] = []

    async def handler(event: AgentEvent) -> None:
        seen.append(event)

    sub_id = rig.handle.subscribe([EventType.CUSTOM], handler)
    assert sub_id == "sub_1"
    for _ in range(3):
        await rig.custom(150)
    await rig.handle.settled(sub_id)
    assert numbers(seen) == [*range(150)] * 3
    assert [event.seq for event in seen] == [*range(6, 456)]


@pytest.mark.asyncio
async def test_a_plain_handler_runs_on_another_thread_one_event_at_a_time(rig: Any) -> None:
    """It never sees itself running twice."""
    seen: list[int] = []
    threads: set[int] = set()
    running = threading.Lock()

    def handler(event: AgentEvent) -> None:
        with running:
            threads.add(threading.get_ident())
            seen.append(event.data["n"])

    sub_id = rig.handle.subscribe("custom", handler)
    await rig.custom(40)
    await rig.handle.settled(sub_id)
    assert seen == [*range(40)]
    assert threading.get_ident() not in threads


@pytest.mark.asyncio
async def test_all_given_filters_must_hold(rig: Any) -> None:
    """An empty one means any."""
    seen: list[str] = []

    async def both(event: AgentEvent) -> None:
        seen.append("both")

    async def everything(event: AgentEvent) -> None:
        seen.append("any")

    rig.handle.subscribe(["custom"], both, filter_stream="a", filter_node="n", filter_execution="x")
    every = rig.handle.subscribe(["custom"], everything, filter_stream="")
    await rig.custom(1, stream="a", node="n", execution="x")
    await rig.custom(1, stream="a", node="n", execution="y")
    await rig.custom(1, stream="b", node="n", execution="x")
    await rig.handle.settled("sub_1")
    await rig.handle.settled(every)
    assert sorted(seen) == ["any", "any", "any", "both"]


@pytest.mark.asyncio
async def test_before_the_start_one_may_subscribe_but_not_publish() -> None:
    """The getters answer with nothing."""
    handle = EventBusHandle()
    assert handle.subscribe(["custom"], print) == "sub_1"
    assert handle.get_history() == []
    assert handle.get_stats()["subscriptions"] == 1
    with pytest.raises(RuntimeNotRunning):
        await handle.publish("custom")
    await handle.settled("sub_1")


def test_subscriptions_survive_a_stop_and_get_nothing_from_before(make_rig: Any) -> None:
    """Events from before the first start, and those committed between, are not delivered."""
    store, handle = MemoryStore(), EventBusHandle()
    seen: list[int] = []
    asyncio.run(make_rig(store, handle).custom(3))
    for start in range(3):
        store = store.reopen()
        store.commit([_commit(start)], 1.0)
        rig = make_rig(store, handle)
        if start == 0:
            handle.subscribe(["custom"], lambda event: seen.append(event.seq))

        async def use(rig: Any = rig) -> None:
            await rig.custom(2)
            await handle.settled("sub_1")

        asyncio.run(use())
        rig.stop()
    assert seen == [5, 6, 8, 9, 11, 12]


def _commit(number: int) -> Commit:
    event = new_event("custom", 1.0)
    return Commit(commit_id=number, stream="earlier", incarnation=0, events=(event,))


@pytest.mark.asyncio
async def test_a_handler_may_publish_and_its_event_counts_the_hops(rig: Any) -> None:
    """The published event comes back to the same subscription."""
    seen: list[tuple[int, int]] = []

    async def handler(event: AgentEvent) -> None:
        seen.append((event.data["n"], event.hops))
        if event.data["n"] < 3:
            await rig.handle.publish("custom", data={"n": event.data["n"] + 1})

    rig.handle.subscribe(["custom"], handler)
    last = asyncio.create_task(rig.handle.wait_for("custom", timeout=30))
    await asyncio.sleep(0)
    await rig.append(new_event("custom", 1.0, data={"n": 0}, hops=2))
    await last
    while len(seen) < 4:
        await rig.handle.settled("sub_1")
    assert seen == [(0, 2), (1, 2), (2, 2), (3, 2)]


@pytest.mark.asyncio
async def test_a_failing_handler_is_counted_and_gets_the_next_event(rig: Any) -> None:
    """For async and for plain handlers."""
    seen: list[int] = []

    async def fails(event: AgentEvent) -> None:
        seen.append(event.data["n"])
        raise RuntimeError("no")

    def fails_too(event: AgentEvent) -> None:
        raise RuntimeError("no")

    rig.handle.subscribe(["custom"], fails)
    rig.handle.subscribe(["custom"], fails_too)
    await rig.custom(3)
    await rig.handle.settled("sub_1")
    await rig.handle.settled("sub_2")
    assert seen == [0, 1, 2]
    assert rig.handle.get_stats()["handler_errors"] == 6
    assert rig.handle.get_stats()["handled"] == 6


@pytest.mark.asyncio
async def test_a_slow_subscriber_delays_nobody_and_loses_its_oldest_events(rig: Any) -> None:
    """The one that hangs has one event in hand and a full queue; the other has seen all."""
    release = asyncio.Event()
    slow: list[int] = []
    fast: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()

    async def hangs(event: AgentEvent) -> None:
        loops.append(asyncio.get_running_loop())
        started.set()
        await release.wait()
        slow.append(event.seq)

    async def quick(event: AgentEvent) -> None:
        fast.append(event.seq)

    rig.handle.subscribe(["custom"], hangs)
    rig.handle.subscribe(["custom"], quick)
    await rig.custom(1)
    await rig.handle.settled("sub_2")
    assert started.wait(10)
    for _ in range(13):
        await rig.custom(100)
        await rig.handle.settled("sub_2")
    assert fast == [*range(1, 1302)]
    assert rig.handle.get_stats()["dropped"] == 1300 - SUBSCRIBER_QUEUE_MAX
    loops[0].call_soon_threadsafe(release.set)
    await rig.handle.settled("sub_1")
    assert slow == [1, *range(302, 1302)]


@pytest.mark.asyncio
async def test_nothing_is_told_while_nobody_subscribes(rig: Any) -> None:
    """The writer's only cost is one attribute."""
    assert not rig.interest.wanted
    sub_id = rig.handle.subscribe(["custom"], lambda event: None)
    await rig.handle.settled(sub_id)
    assert rig.interest.wanted
    assert rig.handle.unsubscribe(sub_id)
    assert not rig.handle.unsubscribe(sub_id)
    await rig.custom(1)
    with pytest.raises(InvalidInput, match="sub_1"):
        await rig.handle.settled(sub_id)
    await rig.bus.ask(CatchUp())
    assert not rig.interest.wanted


@pytest.mark.asyncio
async def test_no_event_follows_an_unsubscribe(rig: Any) -> None:
    """Neither those that wait nor those committed later."""
    seen: list[int] = []
    hold = threading.Event()
    begun = threading.Event()

    def handler(event: AgentEvent) -> None:
        seen.append(event.data["n"])
        begun.set()
        hold.wait(10)

    sub_id = rig.handle.subscribe(["custom"], handler)
    await rig.custom(3)
    assert await asyncio.to_thread(begun.wait, 10)
    rig.handle.unsubscribe(sub_id)
    hold.set()
    other = rig.handle.subscribe(["custom"], lambda event: None)
    await rig.custom(1)
    await rig.handle.settled(other)
    assert seen == [0]


@pytest.mark.asyncio
async def test_a_killed_bus_loses_and_repeats_nothing(rig: Any) -> None:
    """It is killed again and again while events are committed."""
    seen: list[int] = []
    rig.handle.subscribe(["custom"], lambda event: seen.append(event.seq))
    for kill in range(12):
        await rig.custom(130)
        if kill in (1, 6):
            rig.bus.kill()
    await rig.handle.settled("sub_1")
    stats = rig.handle.get_stats()
    assert seen[-1] == 12 * 130
    assert len(seen) + stats["dropped"] == 12 * 130
    assert seen == sorted(set(seen))


@pytest.mark.asyncio
async def test_wait_for_gives_the_next_event_or_none(rig: Any) -> None:
    """No replay, 0 returns at once, and nothing stays subscribed."""
    await rig.custom(1)
    assert await rig.handle.wait_for("custom", timeout=0) is None
    waiting = asyncio.create_task(rig.handle.wait_for("custom", stream_id="a", timeout=30))
    await asyncio.sleep(0)
    await rig.custom(1, stream="b")
    seq = await rig.custom(1, stream="a")
    event = await waiting
    assert event is not None
    assert (event.seq, event.stream_id) == (seq, "a")
    assert rig.handle.get_stats()["subscriptions"] == 0


@pytest.mark.asyncio
async def test_a_stop_releases_whoever_waits(rig: Any) -> None:
    """With the error that says so."""
    waiting = asyncio.create_task(rig.handle.wait_for("custom"))
    await asyncio.sleep(0)
    rig.handle.close()
    with pytest.raises(RuntimeStopped):
        await waiting


@pytest.mark.asyncio
async def test_history_is_newest_first_and_bounded(rig: Any) -> None:
    """By type, stream and execution, over more than one page, and over max_history at most."""
    await rig.custom(600, stream="a")
    await rig.custom(600, stream="b", execution="x")
    history = rig.handle.get_history(limit=700)
    assert [event.seq for event in history] == [*range(1200, 500, -1)]
    assert [event.seq for event in rig.handle.get_history(stream_id="a", limit=10_000)] == [
        *range(600, 200, -1)
    ]
    assert len(rig.handle.get_history("custom", execution_id="x")) == 100
    assert rig.handle.get_history("goal_progress") == []
    stats = rig.handle.get_stats()
    assert stats["total_events"] == 1000
    assert stats["events_by_type"] == {"custom": 1000}


@pytest.mark.asyncio
async def test_publish_returns_the_seq_of_a_durable_event(rig: Any) -> None:
    """Small and large data come back as they were given."""
    first = await rig.handle.publish("custom", stream_id="s", data={"a": 1}, correlation_id="c")
    large = {"text": "x" * 10_000}
    second = await rig.handle.publish(EventType.CUSTOM, data=large)
    assert (first, second) == (1, 2)
    newest, oldest = rig.handle.get_history()
    assert (oldest.stream_id, oldest.data, oldest.correlation_id) == ("s", {"a": 1}, "c")
    assert newest.data == large
    third = await rig.handle.publish(newest)
    assert rig.handle.get_history(limit=1)[0].to_dict() == {
        **newest.to_dict(),
        "seq": third,
        "timestamp": rig.handle.get_history(limit=1)[0].timestamp.isoformat(),
    }


@pytest.mark.asyncio
async def test_what_cannot_be_an_event_is_refused(rig: Any) -> None:
    """Before anything is stored."""
    with pytest.raises(InvalidConfig, match="no_such_type"):
        await rig.handle.publish("no_such_type")
    with pytest.raises(InvalidConfig, match="no_such_type"):
        rig.handle.subscribe(["no_such_type"], print)
    with pytest.raises(InvalidInput, match="cannot be called"):
        rig.handle.subscribe(["custom"], None)
    with pytest.raises(InvalidValue, match=r"\$\.data\.a"):
        await rig.handle.publish("custom", data={"a": object()})
    with pytest.raises(InvalidValue, match="must be a dict"):
        await rig.handle.publish("custom", data=[1])
    assert rig.handle.get_history() == []


@pytest.mark.asyncio
async def test_subscribers_share_no_data(rig: Any) -> None:
    """What one does to its event, the other does not see."""
    seen: list[AgentEvent] = []
    rig.handle.subscribe(["custom"], seen.append)
    rig.handle.subscribe(["custom"], seen.append)
    await rig.custom(1)
    await rig.handle.settled("sub_1")
    await rig.handle.settled("sub_2")
    seen[0].data["n"] = "changed"
    assert seen[1].data == {"n": 0}
