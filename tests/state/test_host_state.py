"""State for hosts: scopes, isolation, durability, and the events of its changes."""

from typing import Any

import pytest

from greenroom.actors.system.state_manager_handle import StateManagerHandle
from greenroom.protocol.codec import decode_event
from greenroom.protocol.commit import StateKey, StateWrite
from greenroom.protocol.errors import (
    InvalidInput,
    InvalidValue,
    IsolationError,
    KeyNotAllowed,
    RuntimeNotRunning,
)
from greenroom.protocol.events import EventType
from greenroom.protocol.isolation import StateScope
from greenroom.protocol.shared_state import state_changed_events
from greenroom.protocol.values import decode_value

GLOBAL, STREAM = StateScope.GLOBAL, StateScope.STREAM
pytestmark = pytest.mark.asyncio


async def test_a_write_is_in_the_store_when_it_returns(rig: Any) -> None:
    await rig.handle.write("k", {"a": [1]})
    raw, version = rig.store.read(lambda reader: reader.state_get(StateKey("global", "", "k")))
    assert decode_value(raw) == {"a": [1]}
    assert version > 0
    assert await rig.handle.read("k") == {"a": [1]}
    assert rig.handle.read_sync("missing", "default") == "default"


async def test_streams_have_state_of_their_own(rig: Any) -> None:
    await rig.handle.write("k", 1, scope=STREAM, stream_id="ep")
    assert await rig.handle.read("k", scope=STREAM, stream_id="ep") == 1
    assert await rig.handle.read("k", scope=STREAM, stream_id="other") is None
    assert await rig.handle.read("k") is None
    assert await rig.handle.read_all(scope=STREAM, stream_id="ep") == {"k": 1}


async def test_a_batch_is_one_commit_or_nothing(rig: Any) -> None:
    await rig.handle.write_batch({"a": 1, "b": 2})
    assert rig.store.stats().commits == 1
    with pytest.raises(InvalidValue) as caught:
        await rig.handle.write_batch({"c": 3, "d": {"e": object()}})
    assert caught.value.path == "$.d.e"
    assert await rig.handle.read_all() == {"a": 1, "b": 2}


async def test_compare_and_set_has_one_winner(rig: Any) -> None:
    assert await rig.handle.compare_and_set("k", None, 1)
    assert not await rig.handle.compare_and_set("k", None, 2)
    assert await rig.handle.compare_and_set("k", 1, 2)
    await rig.handle.delete("k")
    assert await rig.handle.compare_and_set("k", None, 3)


async def test_a_scope_needs_its_owner(rig: Any) -> None:
    with pytest.raises(InvalidInput, match="stream_id"):
        await rig.handle.write("k", 1, scope=STREAM)
    with pytest.raises(InvalidInput, match="create_memory"):
        await rig.handle.write("k", 1, scope=StateScope.EXECUTION)
    with pytest.raises(InvalidInput, match="use one of"):
        await rig.handle.write("k", 1, scope="nowhere")


async def test_before_the_start_there_is_nothing_and_writes_are_refused() -> None:
    handle = StateManagerHandle()
    memory = handle.create_memory("e1", "ep")
    assert await handle.read("k") is None
    assert await memory.read_all() == {}
    assert handle.get_recent_changes() == []
    assert set(handle.get_stats().values()) == {0}
    with pytest.raises(RuntimeNotRunning):
        await handle.write("k", 1)


async def test_memory_reads_the_narrowest_value(rig: Any) -> None:
    memory = rig.handle.create_memory("e1", "ep")
    await memory.write("k", "global", GLOBAL)
    assert await memory.read("k") == "global"
    await memory.write("k", "stream", STREAM)
    assert await memory.read("k") == "stream"
    await memory.write("k", "own")
    assert await memory.read("k") == "own"
    assert await memory.read("k", scope=GLOBAL) == "global"
    assert await memory.read_all() == {"k": "own"}
    assert await rig.handle.create_memory("e2", "ep").read("k") == "stream"
    assert await rig.handle.create_memory("e2", "other").read("k") == "global"


async def test_what_hosts_write_to_an_execution_is_shared_until_it_is_cleaned_up(rig: Any) -> None:
    await rig.handle.create_memory("e1", "ep").write_batch({"a": 1, "b": 2})
    memory = rig.handle.create_memory("e1", "ep")
    assert await memory.compare_and_set("a", 1, 5)
    assert not await memory.compare_and_set("a", 1, 6)
    await memory.delete("b")
    assert await memory.read_all() == {"a": 5}
    assert rig.handle.get_stats()["execution_count"] == 1
    rig.handle.cleanup_execution("e1")
    assert await memory.read_all() == {}


async def test_isolated_memory_refuses_wider_scopes(rig: Any) -> None:
    await rig.handle.write("k", 1)
    memory = rig.handle.create_memory("e1", "ep", "isolated")
    assert await memory.read("k") is None
    assert await memory.read_all() == {}
    for call in (
        memory.read("k", scope=GLOBAL),
        memory.write("k", 2, GLOBAL),
        memory.delete("k", STREAM),
        memory.compare_and_set("k", 1, 2, GLOBAL),
    ):
        with pytest.raises(IsolationError):
            await call
    with pytest.raises(IsolationError):
        memory.write_sync("k", 2, GLOBAL)


async def test_permissions_hold_for_every_method_and_empty_denies_all(rig: Any) -> None:
    memory = rig.handle.create_memory("e1", "ep")
    await memory.write_batch({"a": 1, "b": 2})
    some = memory.with_permissions(["a"], ["b"])
    assert await some.read("a") == 1
    assert await some.read_all() == {"a": 1}
    await some.write("b", 3)
    with pytest.raises(PermissionError, match=r"^Not allowed to read key: b$"):
        await some.read("b")
    with pytest.raises(KeyNotAllowed, match=r"^Not allowed to write key: a$"):
        some.write_sync("a", 1)
    with pytest.raises(PermissionError):
        await some.delete("a", GLOBAL)
    none = memory.with_permissions([], [])
    assert await none.read_all() == {}
    with pytest.raises(PermissionError):
        none.read_sync("a")


async def test_ids_and_levels_are_checked(rig: Any) -> None:
    with pytest.raises(InvalidInput):
        rig.handle.create_memory("../e", "ep")
    with pytest.raises(InvalidInput, match="use one of isolated, shared, synchronized"):
        rig.handle.create_memory("e", "ep", "strict")


async def test_a_blocking_write_on_a_loop_is_refused_not_hung(rig: Any) -> None:
    with pytest.raises(RuntimeError, match="await"):
        rig.handle.write_sync("k", 1)


async def test_changes_are_told_with_small_values_only(rig: Any) -> None:
    await rig.handle.write_batch({"small": [1], "large": "x" * 300}, scope=STREAM, stream_id="ep")
    await rig.handle.delete("small", scope=STREAM, stream_id="ep")
    deleted, large, small = rig.handle.get_recent_changes()
    assert (small["key"], small["new_value"], small["scope"], small["owner"]) == (
        *("small", [1], "stream", "ep"),
    )
    assert (large["new_bytes"], "new_value" in large) == (303, False)
    assert (deleted["old_value"], deleted["new_value"], deleted["stream_id"]) == ([1], None, "ep")
    assert rig.handle.get_recent_changes(1) == [deleted]


async def test_stats_count_what_is_there(rig: Any) -> None:
    await rig.handle.write_batch({"a": 1, "b": 2})
    await rig.handle.delete("b")
    await rig.handle.write("a", 1, scope=STREAM, stream_id="ep")
    stats = rig.handle.get_stats()
    assert (stats["global_keys"], stats["stream_count"], stats["total_changes"]) == (1, 1, 4)
    assert stats["version"] > 0


async def test_one_commit_makes_a_bounded_number_of_events(raw: Any) -> None:
    writes = [StateWrite(StateKey("global", "", f"k{n}"), raw(n)) for n in range(250)]
    events = state_changed_events(
        writes, 1.0, lambda key: None, stream="ep", execution="e1", node="n", hops=2
    )
    assert len(events) == 100
    body = decode_event(events[-1].body)
    assert decode_value(body.data)["more"] == 150
    assert (body.type, body.stream, body.execution, body.node, body.hops) == (
        *(EventType.STATE_CHANGED, "ep", "e1", "n", 2),
    )
    assert state_changed_events((), 1.0, lambda key: None) == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (None, 1, {"old_value": None, "new_value": 1}),
        ({"a": 1}, None, {"old_value": {"a": 1}, "new_value": None}),
        ("x" * 300, [2], {"old_bytes": 303, "new_value": [2]}),
        (3, "y" * 400, {"old_value": 3, "new_bytes": 403}),
    ],
)
async def test_an_event_tells_small_values_before_and_after_and_sizes_of_large_ones(
    raw: Any, old: Any, new: Any, told: dict[str, Any]
) -> None:
    key = StateKey("global", "", "k")
    before = None if old is None else raw(old)
    write = StateWrite(key, None if new is None else raw(new))
    (event,) = state_changed_events((write,), 1.0, lambda _: before)
    data = decode_value(decode_event(event.body).data)
    assert data == {"scope": "global", "owner": "", "key": "k", **told}
