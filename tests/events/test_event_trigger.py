"""Event-driven entry points: exactly one execution for each matching event, whatever fails."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.actors.triggers.event_driven import SKIPPED_MAX, EventDrivenTrigger
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind, Summary
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import InvalidConfig, Overloaded, StreamUnavailable
from greenroom.protocol.event_trigger import event_execution_id, trigger_filter
from greenroom.protocol.execution import Accepted, Status
from greenroom.protocol.limits import HOPS_MAX, ID_CHARS_MAX, VALUE_BYTES_MAX
from greenroom.protocol.messages import CatchUp, CommitNow
from greenroom.protocol.new_event import new_event
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.protocol.stream_messages import Trigger
from greenroom.protocol.values import decode_value
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.memory_store import MemoryStore


def spec(**config: Any) -> EntryPointSpec:
    """The entry point "on-custom"."""
    return EntryPointSpec(
        id="on-custom",
        entry_node="first",
        trigger_type="event",
        trigger_config={"event_types": ["custom"], **config},
    )


class Desk:
    """Accepts executions as a stream does: the first record and the cursor in one commit."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig
        self.triggers: list[Trigger] = []
        self.before: list[Callable[[], Awaitable[object] | None]] = []
        self.after: list[Callable[[], Awaitable[object] | None]] = []

    async def __call__(self, trigger: Trigger) -> CommitOutcome:
        await self._run(self.before)
        outcome: CommitOutcome = await self.rig.writer.ask(CommitNow(commit=accepting(trigger)))
        if outcome.kind is OutcomeKind.APPLIED:
            self.triggers.append(trigger)
        await self._run(self.after)
        return outcome

    @staticmethod
    async def _run(steps: list[Callable[[], Awaitable[object] | None]]) -> None:
        if steps:
            waiting = steps.pop(0)()
            if waiting is not None:
                await waiting

    def seqs(self) -> list[int]:
        """The seq of each event that started an execution."""
        return [decode_value(trigger.memory["event"])["seq"] for trigger in self.triggers]


def accepting(trigger: Trigger) -> Commit:
    """The commit that accepts an execution."""
    accepted = Accepted(
        execution_id=trigger.execution_id,
        entry_point="on-custom",
        entry_node="first",
        graph_id="g",
        goal_id="goal",
        correlation_id=trigger.correlation_id or trigger.execution_id,
        accepted_at=1.0,
    )
    patch = Patch(accepted=accepted, memory=trigger.memory)
    record = JournalRecord(
        seq=1, at=1.0, incarnation=0, plan=b"", cause=Cause(tick="accepted"), patch=patch
    )
    summary = Summary(
        execution_id=trigger.execution_id,
        entry_point="on-custom",
        goal_id="goal",
        correlation_id=accepted.correlation_id,
        status=Status.QUEUED,
        accepted_at=1.0,
        updated_at=1.0,
    )
    return Commit(
        commit_id=1,
        stream="on-custom",
        incarnation=0,
        execution_id=trigger.execution_id,
        record=msgspec.Raw(encode(record)),
        summary=summary,
        cursor=trigger.cursor,
    )


async def start(rig: Any, desk: Desk, **config: Any) -> Any:
    """Start the trigger's actor; returns its ref."""
    ref = rig.system.spawn(
        functools.partial(
            EventDrivenTrigger, spec(**config), rig.store, rig.writer, rig.interest, desk
        ),
        id="trigger",
    )
    await ref.ready()
    return ref


@pytest.mark.asyncio
async def test_each_matching_event_starts_one_execution_in_order(rig: Any) -> None:
    """Events from before it was first started do not; the input is the whole event."""
    await rig.custom(3)
    desk = Desk(rig)
    ref = await start(rig, desk, filter_stream="a")
    await rig.custom(2, stream="a", correlation="c")
    await rig.custom(2, stream="b")
    await rig.append(new_event("custom", 1.0, stream="a", data={"large": "x" * 9000}, hops=3))
    await ref.ask(CatchUp())
    assert desk.seqs() == [4, 5, 8]
    first, _, last = desk.triggers
    assert first.execution_id == event_execution_id("on-custom", 4)
    assert (first.correlation_id, first.hops) == ("c", 1)
    assert last.hops == 4
    event = decode_value(last.memory["event"])
    assert event["data"] == {"large": "x" * 9000}
    assert event["type"] == "custom"
    assert rig.store.read(lambda reader: reader.cursor("trigger:on-custom"))[0] == 8


@pytest.mark.asyncio
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_at_any_moment_loses_and_doubles_nothing(rig: Any, moment: str) -> None:
    """Before the commit of each execution, and between the commit and its answer."""
    desk = Desk(rig)
    ref = await start(rig, desk)

    async def kill() -> None:
        ref.kill()
        await asyncio.Event().wait()

    for _ in range(3):
        getattr(desk, moment).append(kill)
        await rig.custom(2)
        await ref.ask(CatchUp())
    assert desk.seqs() == [1, 2, 3, 4, 5, 6]


@pytest.mark.asyncio
async def test_a_refusal_is_tried_again_until_it_is_accepted(rig: Any) -> None:
    """Full queues and streams that are down; nothing is skipped and the order is kept."""
    desk = Desk(rig)
    ref = await start(rig, desk)

    def overloaded() -> None:
        raise Overloaded("on-custom", 1, 1, 1.0)

    def down() -> None:
        raise StreamUnavailable("down")

    desk.before += [overloaded, down, overloaded]
    await rig.custom(3)
    while len(desk.triggers) < 3:
        await ref.ask(CatchUp())
    assert desk.seqs() == [1, 2, 3]


@pytest.mark.asyncio
async def test_refusals_are_tried_again_without_any_further_event(rig: Any) -> None:
    """Its own timer does it."""
    desk = Desk(rig)
    await start(rig, desk)
    accepted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def down() -> None:
        raise StreamUnavailable("down")

    desk.before += [down, down]
    desk.after.append(lambda: loop.call_soon_threadsafe(accepted.set) and None)
    await rig.custom(1)
    async with asyncio.timeout(20):
        await accepted.wait()
    assert desk.seqs() == [1]


@pytest.mark.asyncio
async def test_its_own_events_start_it_only_when_it_asks_for_them(rig: Any) -> None:
    """An event's stream says whose it is."""
    assert trigger_filter(spec()).not_stream == "on-custom"
    assert trigger_filter(spec(include_own_events=True)).not_stream is None
    desk = Desk(rig)
    ref = await start(rig, desk)
    await rig.custom(1, stream="on-custom")
    await rig.custom(1, stream="other")
    await ref.ask(CatchUp())
    assert desk.seqs() == [2]


@pytest.mark.asyncio
async def test_a_chain_that_is_too_long_ends_with_an_event_that_says_so(rig: Any) -> None:
    """The execution is not started, and such an event is not answered by another."""
    desk = Desk(rig)
    ref = await start(rig, desk, event_types=["custom", "hop_limit_reached"])
    await rig.append(new_event("custom", 1.0, stream="a", execution="x", hops=HOPS_MAX))
    await rig.append(new_event("hop_limit_reached", 1.0, stream="b", hops=HOPS_MAX))
    allowed = await rig.append(new_event("custom", 1.0, stream="a", hops=HOPS_MAX - 1))
    await ref.ask(CatchUp())
    ref.kill()
    await ref.ask(CatchUp())
    assert desk.seqs() == [allowed]
    assert desk.triggers[0].hops == HOPS_MAX
    (event,) = rig.handle.get_history("hop_limit_reached", stream_id="on-custom")
    assert event.execution_id == "x"
    assert event.hops == HOPS_MAX
    assert event.data == {
        "entry_point": "on-custom",
        "event_seq": 1,
        "event_type": "custom",
        "event_stream": "a",
        "hops": HOPS_MAX,
        "limit": HOPS_MAX,
    }


@pytest.mark.asyncio
async def test_nothing_gathers_behind_a_stream_that_does_not_answer(rig: Any) -> None:
    """While it waits it is told of no event; afterwards it finds them all."""
    desk = Desk(rig)
    ref = await start(rig, desk)
    release = asyncio.Event()
    waiting = asyncio.Event()
    loop = asyncio.get_running_loop()
    inside: list[asyncio.AbstractEventLoop] = []

    async def stall() -> None:
        inside.append(asyncio.get_running_loop())
        loop.call_soon_threadsafe(waiting.set)
        await release.wait()

    desk.before.append(stall)
    await rig.custom(1)
    await waiting.wait()
    for _ in range(50):
        await rig.custom(1)
    assert ref.stats().depth <= 1
    inside[0].call_soon_threadsafe(release.set)
    await ref.ask(CatchUp())
    assert desk.seqs() == [*range(1, 52)]


@pytest.mark.asyncio
@pytest.mark.parametrize("hops", [0, HOPS_MAX])
async def test_a_stop_waits_for_no_backlog(make_rig: Any, hops: int) -> None:
    """What was not done yet is done after the next start, once."""
    store = MemoryStore()
    rig = make_rig(store)
    desk = Desk(rig)
    ref = await start(rig, desk)
    for _ in range(3):
        await rig.append(*[new_event("custom", 1.0, hops=hops)] * 100)
    assert await ref.stop(timeout=4)
    await rig.stop_async()
    again = make_rig(store.reopen())
    other = Desk(again)
    ref = await start(again, other)
    await ref.ask(CatchUp())
    if hops:
        assert len(again.handle.get_history("hop_limit_reached", limit=1000)) == 300
    else:
        stored = again.store.read(lambda reader: reader.executions(limit=1000))
        assert len(stored) == 300
        assert not {*desk.seqs()} & {*other.seqs()}


@pytest.mark.asyncio
async def test_a_consumer_that_ended_for_good_does_not_disturb_the_writer(rig: Any) -> None:
    """It may not have had the time to say that it wants nothing more."""
    ref = await start(rig, Desk(rig))
    await ref.ask(CatchUp())
    rig.interest.add(ref)
    await ref.stop()
    rig.interest.add(ref)
    await rig.custom(1)
    await rig.custom(1)
    assert not rig.interest.wanted


@pytest.mark.asyncio
async def test_a_restart_on_disk_goes_on_where_it_stopped(make_rig: Any, tmp_path: Path) -> None:
    """With the events committed while no trigger ran."""
    seqs: list[int] = []
    for _ in range(3):
        store = open_store(tmp_path / "store")
        rig = make_rig(store)
        if seqs:
            await rig.custom(1)
        desk = Desk(rig)
        ref = await start(rig, desk)
        await rig.custom(2)
        await ref.ask(CatchUp())
        seqs += desk.seqs()
        await rig.stop_async()
        store.close()
    assert seqs == [*range(1, 9)]


@pytest.mark.asyncio
async def test_events_that_do_not_match_move_the_cursor_now_and_then(rig: Any) -> None:
    """After so many events, so that the log may be pruned behind it."""
    ref = await start(rig, Desk(rig), filter_stream="a")
    for _ in range(12):
        await rig.custom(100)
    await ref.ask(CatchUp())
    cursor, _ = rig.store.read(lambda reader: reader.cursor("trigger:on-custom"))
    assert cursor >= SKIPPED_MAX


@pytest.mark.asyncio
async def test_data_that_leaves_no_room_for_the_event_is_referred_to(rig: Any) -> None:
    """It is as large as a value may be, so the event around it would be larger."""
    desk = Desk(rig)
    ref = await start(rig, desk)
    text = "x" * (VALUE_BYTES_MAX - 20)
    await rig.append(new_event("custom", 1.0, data={"text": text}))
    await ref.ask(CatchUp())
    assert decode_value(desk.triggers[0].memory["event"])["data"]["ref"] == "event:1"


def test_settings_that_could_never_work_are_refused_at_once() -> None:
    """Unknown and missing event types, and entry points that are not event-driven."""
    with pytest.raises(InvalidConfig, match="no_such_type"):
        spec(event_types=["no_such_type"])
    with pytest.raises(InvalidConfig, match="is empty"):
        trigger_filter(spec(event_types=[]))
    with pytest.raises(InvalidConfig, match="trigger_type"):
        trigger_filter(EntryPointSpec(id="a", entry_node="b"))


def test_the_execution_id_of_an_event_is_always_a_valid_id() -> None:
    """However long the entry point's own id is."""
    long = "e" * ID_CHARS_MAX
    found = event_execution_id(long, 10**12)
    assert len(found) <= ID_CHARS_MAX
    assert found != event_execution_id(long[:-1] + "f", 10**12)
