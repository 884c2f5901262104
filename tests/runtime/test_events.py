"""Events of whole runtimes: each status has its own, in the order of what happened."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, EventType, NodeSpec
from greenroom.protocol.errors import InvalidConfig, RuntimeNotRunning
from greenroom.protocol.execution import Status
from greenroom.protocol.limits import HOPS_MAX


async def _work() -> str:
    return "done"


@pytest.mark.asyncio
async def test_every_step_has_its_event_with_all_ids_in_order(lab: Any) -> None:
    """B5: type, stream, execution, node, correlation and seq. Subscribed before the start."""
    attempts: list[int] = []

    async def work(ctx: Any) -> dict[str, int]:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            raise ValueError("once")
        ctx.publish("custom", {"name": "mine"})
        await ctx.write("key", 5, "global")
        return {"x": 1}

    nodes = [NodeSpec(id="work", backoff_initial_s=0), NodeSpec(id="last")]
    edges = [EdgeSpec(id="e", source="work", target="last")]
    runtime = lab.runtime({"work": work, "last": _work}, nodes=nodes, edges=edges)
    got: list[Any] = []
    subscription = runtime.subscribe_to_events(list(EventType), got.append)
    async with runtime:
        result = await runtime.trigger_and_wait("main", {"a": 1}, correlation_id="cor")
        await runtime.event_bus.settled(subscription)
    mine = [event for event in got if event.execution_id == result.execution_id]
    assert [(event.type, event.node_id) for event in mine] == [
        ("execution_started", None),
        ("node_started", "work"),
        ("node_failed", "work"),
        ("node_started", "work"),
        ("custom", "work"),
        ("state_changed", "work"),
        ("node_completed", "work"),
        ("node_started", "last"),
        ("node_completed", "last"),
        ("execution_completed", None),
    ]
    assert {event.stream_id for event in mine} == {"main"}
    assert {event.correlation_id for event in mine} == {"cor"}
    numbers = [event.seq for event in got]
    assert numbers == sorted(set(numbers))
    by_type = {event.type: event.data for event in mine}
    assert by_type["execution_started"] == {"input": {"a": 1}}
    assert by_type["execution_completed"] == {"output": result.output}
    failed = by_type["node_failed"]
    assert (failed["visit"], failed["attempt"], failed["will_retry"]) == (1, 1, True)
    assert failed["error"] == "once"
    assert by_type["custom"] == {"name": "mine"}
    assert (by_type["state_changed"]["key"], by_type["state_changed"]["scope"]) == ("key", "global")
    assert mine[0].to_dict()["type"] == "execution_started"
    assert mine[0].timestamp.tzinfo is not None
    streams = [event.type for event in got if event.execution_id is None]
    assert streams[0] == "stream_started"


@pytest.mark.asyncio
async def test_each_end_has_one_event_of_its_own(lab: Any, new_gate: Any) -> None:
    """B14: cancelled, failed and exhausted are told apart in status, result and event."""
    gate = new_gate()

    async def fail() -> None:
        raise ValueError("broken")

    nodes = [
        NodeSpec(id="good"),
        NodeSpec(id="fail", max_retries=1),
        NodeSpec(id="wait"),
        NodeSpec(id="turn", max_node_visits=0),
    ]
    points = [EntryPointSpec(id=node.id, entry_node=node.id, max_concurrent=1) for node in nodes]
    runtime = lab.runtime(
        {"good": _work, "fail": fail, "wait": gate.wait, "turn": _work},
        nodes=nodes,
        edges=[EdgeSpec(id="e", source="turn", target="turn")],
        entry_points=points,
        max_steps=3,
    )
    async with runtime:
        ids = {one: (await runtime.trigger_and_wait(one)).execution_id for one in ("good", "fail")}
        ids["turn"] = (await runtime.trigger_and_wait("turn")).execution_id
        ids["wait"] = await runtime.trigger("wait")
        await gate.came()
        ids["queued"] = await runtime.trigger("wait")
        await runtime.cancel_execution("wait", ids["queued"])
        await runtime.cancel_execution("wait", ids["wait"])
        kinds = {
            name: [
                event.type
                for event in reversed(runtime.event_bus.get_history(execution_id=one))
                if event.type.startswith("execution_")
            ]
            for name, one in ids.items()
        }
        statuses = {
            name: runtime.get_execution_result("wait" if name == "queued" else name, one).status
            for name, one in ids.items()
        }
    assert kinds == {
        "good": ["execution_started", "execution_completed"],
        "fail": ["execution_started", "execution_failed"],
        "turn": ["execution_started", "execution_exhausted"],
        "wait": ["execution_started", "execution_cancelled"],
        "queued": ["execution_queued", "execution_cancelled"],
    }
    assert statuses == {
        "good": Status.COMPLETED,
        "fail": Status.FAILED,
        "turn": Status.EXHAUSTED,
        "wait": Status.CANCELLED,
        "queued": Status.CANCELLED,
    }


@pytest.mark.asyncio
async def test_a_handler_that_fails_blocks_or_publishes_delays_no_execution(
    lab: Any, new_gate: Any
) -> None:
    """B24."""
    gate = new_gate()
    runtime = lab.runtime({"work": _work})
    told: list[str] = []

    async def publish(event: Any) -> None:
        await runtime.event_bus.publish("custom", data={"about": event.execution_id})

    def broken(_: Any) -> None:
        raise ValueError("a bad handler")

    runtime.subscribe_to_events(EventType.EXECUTION_COMPLETED, gate.wait)
    runtime.subscribe_to_events(EventType.EXECUTION_COMPLETED, broken)
    publisher = runtime.subscribe_to_events(EventType.EXECUTION_COMPLETED, publish)
    listener = runtime.subscribe_to_events(
        EventType.CUSTOM, lambda event: told.append(event.data["about"])
    )
    async with runtime, asyncio.timeout(30):
        results = [await runtime.trigger_and_wait("main") for _ in range(5)]
        await runtime.event_bus.settled(publisher)
        await runtime.event_bus.settled(listener)
        assert told == [one.execution_id for one in results]
        assert gate.inside == 1, "one at a time per subscription"
        gate.open()


@pytest.mark.asyncio
async def test_one_entry_point_drives_another_once_for_each_event(lab: Any) -> None:
    got: list[Any] = []

    async def work() -> dict[str, int]:
        return {"x": 1}

    async def follow(event: dict[str, Any]) -> None:
        got.append(event)

    nodes = [NodeSpec(id="work"), NodeSpec(id="follow", input_keys=["event"])]
    points = [
        EntryPointSpec(id="main", entry_node="work"),
        EntryPointSpec(
            id="follow",
            entry_node="follow",
            trigger_type="event",
            trigger_config={"event_types": ["execution_completed"], "filter_stream": "main"},
        ),
    ]
    settings: Any = {"nodes": nodes, "entry_points": points}
    done = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    ids = []
    for _ in range(2):  # a restart in between starts nothing again and misses nothing
        runtime = lab.runtime({"work": work, "follow": follow}, **settings)
        runtime.subscribe_to_events(
            EventType.EXECUTION_COMPLETED,
            lambda _: loop.call_soon_threadsafe(done.release),
            filter_stream="follow",
        )
        async with runtime, asyncio.timeout(30):
            for _ in range(3):
                ids.append(
                    (await runtime.trigger_and_wait("main", correlation_id="c")).execution_id
                )
            for _ in range(3):
                await done.acquire()
            mine = runtime.event_bus.get_history("execution_started", stream_id="follow")
            assert {event.correlation_id for event in mine} == {"c"}
    assert [event["execution_id"] for event in got] == ids
    assert {event["type"] for event in got} == {"execution_completed"}
    assert {event["stream_id"] for event in got} == {"main"}
    assert got[0]["data"] == {"output": {"x": 1}}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.asyncio
async def test_an_entry_point_cannot_drive_itself_for_ever(lab: Any, own: bool) -> None:
    """B25: own events are excluded unless asked for, and then the chain of hops is bounded."""
    config: dict[str, Any] = {"event_types": ["execution_completed", "custom"]}
    if own:
        config["include_own_events"] = True
    point = EntryPointSpec(
        id="loop", entry_node="work", trigger_type="event", trigger_config=config
    )
    runtime = lab.runtime({"work": _work}, entry_points=[point])
    limited = asyncio.Event()
    loop = asyncio.get_running_loop()
    runtime.subscribe_to_events(
        EventType.HOP_LIMIT_REACHED, lambda _: loop.call_soon_threadsafe(limited.set)
    )
    ended = asyncio.Semaphore(0)
    runtime.subscribe_to_events(
        EventType.EXECUTION_COMPLETED, lambda _: loop.call_soon_threadsafe(ended.release)
    )
    async with runtime, asyncio.timeout(30):
        await runtime.event_bus.publish("custom", data={})
        if own:
            await limited.wait()
            (event,) = runtime.event_bus.get_history("hop_limit_reached")
            assert event.stream_id == "loop"
            assert event.data["limit"] == HOPS_MAX
        else:
            await ended.acquire()
            await runtime.event_bus.publish("custom", data={})
            await ended.acquire()
        completed = runtime.event_bus.get_history("execution_completed")
        assert len(completed) == (HOPS_MAX if own else 2)
        hops = sorted(event.hops for event in completed)
        assert hops == (list(range(1, HOPS_MAX + 1)) if own else [1, 1])


@pytest.mark.asyncio
async def test_two_entry_points_that_drive_each_other_end_too(lab: Any) -> None:
    points = [
        EntryPointSpec(
            id=one,
            entry_node="work",
            trigger_type="event",
            trigger_config={"event_types": ["execution_completed"], "filter_stream": other},
        )
        for one, other in (("ping", "pong"), ("pong", "ping"))
    ]
    runtime = lab.runtime({"work": _work}, entry_points=points)
    limited = asyncio.Event()
    loop = asyncio.get_running_loop()
    runtime.subscribe_to_events(
        EventType.HOP_LIMIT_REACHED, lambda _: loop.call_soon_threadsafe(limited.set)
    )
    async with runtime, asyncio.timeout(30):
        await runtime.trigger("ping")
        await limited.wait()
        completed = runtime.event_bus.get_history("execution_completed")
        assert len(completed) == HOPS_MAX + 1
        assert (await runtime.trigger_and_wait("pong")).success


@pytest.mark.asyncio
async def test_waiting_for_and_publishing_events_needs_a_running_runtime(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    with pytest.raises(RuntimeNotRunning):
        await runtime.event_bus.publish("custom")
    with pytest.raises(InvalidConfig, match="unknown event types 'no_such_type'"):
        runtime.subscribe_to_events("no_such_type", lambda _: None)
    async with runtime:
        waiting = asyncio.ensure_future(
            runtime.event_bus.wait_for("execution_completed", timeout=20)
        )
        await asyncio.sleep(0)
        result = await runtime.trigger_and_wait("main")
        event = await waiting
        assert event is not None
        assert event.execution_id == result.execution_id
        assert await runtime.event_bus.wait_for("custom", timeout=0) is None
