"""Unfinished executions whose entry point is gone: held with that reason, never dropped."""

from collections.abc import Container
from functools import partial
from typing import Final

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.live import Live
from greenroom.actors.system.fences import raise_fence
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Hold
from greenroom.protocol.execution import UNFINISHED, Status
from greenroom.protocol.messages import CommitNow, WriterMessage
from greenroom.storage.reader import Reader, StoredExecution
from greenroom.storage.store import Store

PAGE: Final = 100


async def hold_orphans(
    store: Store,
    writer: ActorRef[WriterMessage],
    entry_points: Container[str],
    plan: Plan,
    now: float,
) -> dict[str, str]:
    """Hold them, one commit each; returns {execution id: reason}, those held before included."""
    held: dict[str, str] = {}
    fences: dict[str, int] = {}
    for status in UNFINISHED:
        for stream in store.read(partial(_streams, status)):
            if stream in entry_points:
                continue
            reason = f"entry point {stream!r} is not registered any more"
            after = 0
            while page := store.read(partial(_page, status, stream, after)):
                after = page[-1].ordinal
                for found in page:
                    held[found.summary.execution_id] = reason
                    if status is Status.HELD:
                        continue
                    if stream not in fences:
                        fences[stream] = await raise_fence(writer, stream)
                    await _hold(store, writer, plan, found, fences[stream], reason, now)
    return held


def _streams(status: Status, reader: Reader) -> list[str]:
    return reader.entry_points(status)


def _page(status: Status, stream: str, after: int, reader: Reader) -> list[StoredExecution]:
    return reader.oldest(status, stream, after, PAGE)


async def _hold(
    store: Store,
    writer: ActorRef[WriterMessage],
    plan: Plan,
    found: StoredExecution,
    fence: int,
    reason: str,
    now: float,
) -> None:
    loaded = store.read(lambda reader: reader.load(found.ordinal))
    live = Live(found.summary.execution_id, state=loaded.state, ordinal=found.ordinal)
    live.version = loaded.plan  # it is where it was
    transition = advance(plan, loaded.state, Hold(reason), now)
    if transition is None:
        return
    maker = CommitMaker(found.summary.entry_point, fence, plan.digest, store)
    await writer.ask(CommitNow(commit=maker.step(0, live, transition, now)), control=True)
