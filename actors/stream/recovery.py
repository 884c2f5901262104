"""What a stream finds when it starts: unfinished executions, each taken up where it stood.

In flight first, then queued, both in the order of acceptance; the limits of today's settings hold.
Recovered work does not count against the bound of the queue.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from enum import Enum
from functools import partial
from typing import Final, Protocol

from greenroom.actors.stream.admission_desk import AdmissionDesk
from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.parts import RecoveredCounts, StreamParts
from greenroom.actors.stream.versions import Versions, in_words
from greenroom.actors.stream.waiting_line import Place
from greenroom.protocol.budget import counts_time
from greenroom.protocol.engine.ticks import Hold, Migrate, Recover, Release
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import TERMINAL, Phase, Status
from greenroom.storage.journal import Loaded
from greenroom.storage.reader import Reader, StoredExecution

logger = logging.getLogger("greenroom.stream")

PAGE: Final = 100
"""Executions loaded between two breaths of the loop."""

COUNT_PAGE: Final = 1_000
"""Entries of an index counted between two of them."""

SUSPECT_AFTER: Final = 1  # crashes before this recovery; the one that is counted now makes two


UNREADABLE: Final = "its journal cannot be read; `greenroom check` says why"


class Recovering(Protocol):
    """What recovery asks of the stream."""

    def adopt(self, live: Live) -> None: ...
    def step(self, live: Live, pending: Pending) -> None: ...
    def watch(self, live: Live) -> None: ...
    def on_slice_end(self) -> None: ...


async def recover(
    stream: Recovering, desk: AdmissionDesk, parts: StreamParts, *, process_death: bool
) -> None:
    """Take up every unfinished execution of the entry point. `parts.recovered` gets the counts.

    Only what runs is brought to memory, and last of all: its first commits change what the others
    are read from. What waits is counted, and looked at only when it stands at another version of
    the graph, some sessions of which today's does not fit.
    """
    counts = parts.recovered = RecoveredCounts()
    counts.paused = await _count(parts, Status.PAUSED)
    counts.waiting = await _count(parts, Status.WAITING)
    unfit: list[StoredExecution] = []
    async for page in _pages(stream, parts, Status.HELD):
        for found in page:
            if found.summary.unfit:
                unfit.append(found)
            else:
                counts.held[found.summary.execution_id] = found.summary.error or UNREADABLE
    async for page in _pages(stream, parts, Status.QUEUED):
        for found, loaded in parts.store.read(partial(_load_some, page, parts.versions)):
            if await _may_queue(stream, parts, found, loaded):
                counts.queued += 1
                desk.join(_place(found))
    await _check_waiting(stream, parts, counts)
    async for page in _pages(stream, parts, Status.RUNNING):
        for found, loaded in parts.store.read(partial(_load_all, page)):
            if loaded is None:
                counts.held[found.summary.execution_id] = UNREADABLE
            else:
                live = _live(found, loaded)
                if await _settle(stream, parts, live) is not Fit.HELD:
                    _take_up(stream, desk, counts, live, process_death=process_death)
    for found in unfit:
        await _look_again(stream, parts, found)


async def _pages(
    stream: Recovering, parts: StreamParts, status: Status
) -> AsyncIterator[list[StoredExecution]]:
    """Every execution of a status, oldest first; after each page the loop draws breath."""
    after = 0
    while page := parts.store.read(partial(_page, status, parts.entry_point.id, after)):
        after = page[-1].ordinal
        yield page
        stream.on_slice_end()
        await asyncio.sleep(0)


def _page(status: Status, entry_point: str, after: int, reader: Reader) -> list[StoredExecution]:
    return reader.oldest(status, entry_point, after, PAGE)


async def _count(parts: StreamParts, status: Status) -> int:
    """How many executions have a status, from the index alone."""
    after = counted = 0
    while page := parts.store.read(partial(_ordinals, status, parts.entry_point.id, after)):
        after = page[-1]
        counted += len(page)
        await asyncio.sleep(0)
    return counted


def _ordinals(status: Status, entry_point: str, after: int, reader: Reader) -> list[int]:
    return reader.ordinals(status, entry_point, after, COUNT_PAGE)


def _place(found: StoredExecution) -> Place:
    summary = found.summary
    return Place(
        fresh=summary.updated_at == summary.accepted_at,
        key=summary.queue_key,
        ordinal=found.ordinal,
        execution_id=summary.execution_id,
        counted=False,
        concurrency_key=summary.concurrency_key,
    )


async def _check_waiting(stream: Recovering, parts: StreamParts, counts: RecoveredCounts) -> None:
    """Hold or migrate those among the waiting that today's graph cannot take on as they are.

    None is read of a version of which every session fits, wherever it stands.
    """
    name = parts.entry_point.id
    for version in parts.store.read(lambda reader: reader.versions(name)):
        if version == parts.plan.digest:
            continue
        all_fit = not parts.versions.compare(version).any
        after = 0
        while page := parts.store.read(partial(_ordinals_at, name, version, after)):
            after = page[-1]
            if all_fit:
                counts.compatible += len(page)
            else:
                await _check_page(stream, parts, counts, page)
            stream.on_slice_end()
            await asyncio.sleep(0)


def _ordinals_at(entry_point: str, version: bytes, after: int, reader: Reader) -> list[int]:
    return reader.ordinals_at(entry_point, version, after, COUNT_PAGE)


async def _check_page(
    stream: Recovering, parts: StreamParts, counts: RecoveredCounts, ordinals: Sequence[int]
) -> None:
    for start in range(0, len(ordinals), PAGE):
        some = ordinals[start : start + PAGE]
        for found, loaded in parts.store.read(partial(_load_at, some)):
            if loaded is None:
                counts.waiting -= 1
                counts.held[found.summary.execution_id] = UNREADABLE
            elif await _settle(stream, parts, _live(found, loaded)) is Fit.HELD:
                counts.waiting -= 1
        stream.on_slice_end()
        await asyncio.sleep(0)


def _load_at(
    ordinals: Sequence[int], reader: Reader
) -> list[tuple[StoredExecution, Loaded | None]]:
    found = [one for ordinal in ordinals if (one := reader.execution_at(ordinal)) is not None]
    return _load_all(found, reader)


async def _may_queue(
    stream: Recovering, parts: StreamParts, found: StoredExecution, loaded: Loaded | None
) -> bool:
    """Whether it takes its place in the line now. What is held does not; what is migrated does so
    itself, when that is durable.
    """
    counts, version = parts.recovered, found.summary.version
    if version in (parts.plan.digest, b""):
        return True  # without a version it is judged when its turn comes
    if not parts.versions.compare(version).any:
        counts.compatible += 1
        return True
    if loaded is None:
        counts.held[found.summary.execution_id] = UNREADABLE
        return False
    fit = await _settle(stream, parts, _live(found, loaded))
    counts.queued += fit is Fit.MIGRATED
    return fit is Fit.AS_IT_IS


def _load_some(
    page: Sequence[StoredExecution], versions: Versions, reader: Reader
) -> list[tuple[StoredExecution, Loaded | None]]:
    """Only those are loaded that have to be looked at."""
    return [
        (found, _loaded(found, reader) if versions.must_look(found.summary.version) else None)
        for found in page
    ]


class Fit(Enum):
    """What became of an execution of another version of the graph."""

    AS_IT_IS = "it goes on as it is"
    MIGRATED = "it goes on when its migration is durable"
    HELD = "it is held"


async def _settle(stream: Recovering, parts: StreamParts, live: Live) -> Fit:
    """Let the execution fit, or hold it."""
    counts = parts.recovered
    other = live.version != parts.plan.digest
    verdict = await parts.versions.settle(live)
    if not verdict:
        counts.compatible += other
        return Fit.AS_IT_IS
    stream.adopt(live)
    if isinstance(verdict, Migrate):
        counts.migrated += 1
        stream.step(live, Pending(verdict))
        return Fit.MIGRATED
    reason = counts.held[live.execution_id] = in_words(verdict)
    stream.step(live, Pending(Hold(reason, verdict)))
    return Fit.HELD


async def _look_again(stream: Recovering, parts: StreamParts, found: StoredExecution) -> None:
    """Release what was held because it did not fit, if it fits now, or is made to."""
    counts, name = parts.recovered, found.summary.execution_id
    ((_, loaded),) = parts.store.read(partial(_load_all, (found,)))
    if loaded is None:
        counts.held[name] = UNREADABLE
        return
    live = _live(found, loaded)
    verdict = await parts.versions.settle(live)
    if verdict and not isinstance(verdict, Migrate):
        counts.held[name] = in_words(verdict)
        return
    counts.released += 1
    stream.adopt(live)
    if isinstance(verdict, Migrate):
        counts.migrated += 1
        stream.step(live, Pending(verdict))
    stream.step(live, Pending(Release()))


def _load_all(
    page: Sequence[StoredExecution], reader: Reader
) -> list[tuple[StoredExecution, Loaded | None]]:
    return [(found, _loaded(found, reader)) for found in page]


def _loaded(found: StoredExecution, reader: Reader) -> Loaded | None:
    try:
        return reader.load(found.ordinal)
    except StoreCorrupt:
        logger.exception("%s cannot be read: it stays where it is", found.summary.execution_id)
        return None


def _take_up(
    stream: Recovering,
    desk: AdmissionDesk,
    counts: RecoveredCounts,
    live: Live,
    *,
    process_death: bool,
) -> None:
    state = live.state
    assert state is not None, "it was loaded"
    stream.adopt(live)
    in_flight = [token for token in state.tokens.values() if token.phase is Phase.RUNNING]
    if not in_flight:
        counts.waiting += 1
        stream.watch(live)
        if counts_time(state.accepted.timeout_s, state.budget):  # the time until now does not count
            stream.step(live, Pending(Recover(process_death=process_death, permit=False)))
        return
    counts.recovered += 1
    suspect = process_death and any(token.crashes >= SUSPECT_AFTER for token in in_flight)
    permit = not suspect and desk.take(live, state.accepted.priority)
    stream.step(live, Pending(Recover(process_death=process_death, permit=permit)))


def _live(found: StoredExecution, loaded: Loaded) -> Live:
    return Live(
        found.summary.execution_id,
        loaded.state,
        ordinal=found.ordinal,
        patch_bytes=loaded.patch_bytes,
        version=loaded.plan,
    )


def load(
    execution_id: str, entry_point: str, reader: Reader, *, also_ended: bool = False
) -> Live | None:
    """An execution of this entry point, as the store has it; None when there is none, or when it
    has ended and `also_ended` is not set.
    """
    found = reader.execution(execution_id)
    if found is None or (found.summary.status in TERMINAL and not also_ended):
        return None
    if found.summary.entry_point != entry_point:
        return None
    return _live(found, reader.load(found.ordinal))
