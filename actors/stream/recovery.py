"""What a stream finds when it starts: unfinished executions, each taken up where it stood.

In flight first, then queued, both in the order of acceptance; the limits of today's settings hold.
Recovered work does not count against the bound of the queue.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final, Protocol

from greenroom.actors.stream.admission_desk import AdmissionDesk
from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.parts import RecoveredCounts, StreamParts
from greenroom.actors.stream.waiting_line import Place
from greenroom.actors.system.fences import note_nodes
from greenroom.protocol.budget import counts_time
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Hold, Recover
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import TERMINAL, ExecutionState, Phase, Status
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
    are read from. What waits is counted, and looked at only when the graph lacks a node.
    """
    counts = parts.recovered = RecoveredCounts()
    counts.paused = await _count(parts, Status.PAUSED)
    counts.waiting = await _count(parts, Status.WAITING)
    async for page in _pages(stream, parts, Status.HELD):
        for found in page:
            counts.held[found.summary.execution_id] = found.summary.error or UNREADABLE
    async for page in _pages(stream, parts, Status.QUEUED):
        for found in page:
            counts.queued += 1
            desk.join(_place(found))
    await _check_waiting(stream, parts, counts)
    async for page in _pages(stream, parts, Status.RUNNING):
        for found, loaded in parts.store.read(partial(_load_all, page)):
            if loaded is None:
                counts.held[found.summary.execution_id] = UNREADABLE
            else:
                _take_up(stream, desk, parts, counts, found, loaded, process_death=process_death)


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
    """Hold those among the waiting that today's graph cannot take on.

    None is read unless the graph lacks a node at which executions may wait.
    """
    name = parts.entry_point.id
    noted = parts.store.read(lambda reader: reader.noted_nodes(name))
    nodes = set(parts.plan.nodes)
    if not nodes.issuperset(noted):
        async for page in _pages(stream, parts, Status.WAITING):
            for found, loaded in parts.store.read(partial(_load_all, page)):
                reason = UNREADABLE if loaded is None else _why_not(parts, parts.plan, loaded.state)
                if reason is None:
                    continue
                counts.waiting -= 1
                counts.held[found.summary.execution_id] = reason
                if loaded is None:
                    nodes.update(noted)  # the next start has to look and to say so again
                else:
                    _hold(stream, found, loaded, reason)
    if nodes != set(noted):
        await note_nodes(parts.writer, name, tuple(sorted(nodes)))


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
    parts: StreamParts,
    counts: RecoveredCounts,
    found: StoredExecution,
    loaded: Loaded,
    *,
    process_death: bool,
) -> None:
    state = loaded.state
    reason = _why_not(parts, parts.plan, state)
    if reason is not None:
        counts.held[found.summary.execution_id] = reason
        _hold(stream, found, loaded, reason)
        return
    live = _adopted(stream, found, loaded)
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


def _adopted(stream: Recovering, found: StoredExecution, loaded: Loaded) -> Live:
    live = Live(
        found.summary.execution_id,
        loaded.state,
        ordinal=found.ordinal,
        patch_bytes=loaded.patch_bytes,
    )
    stream.adopt(live)
    return live


def _hold(stream: Recovering, found: StoredExecution, loaded: Loaded, reason: str) -> None:
    stream.step(_adopted(stream, found, loaded), Pending(Hold(reason)))


def _why_not(parts: StreamParts, plan: Plan, state: ExecutionState) -> str | None:
    """Why the execution cannot go on under today's graph, or None."""
    for token in state.tokens.values():
        node = plan.nodes.get(token.node)
        if node is None:
            return f"node {token.node!r} is not in the graph any more"
        if node.function is not None and not parts.known_functions(node.function):
            return f"function {node.function!r} of node {token.node!r} is not registered"
    return None


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
    loaded = reader.load(found.ordinal)
    return Live(execution_id, loaded.state, ordinal=found.ordinal, patch_bytes=loaded.patch_bytes)
