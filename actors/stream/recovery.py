"""What a stream finds when it starts: unfinished executions, each taken up where it stood.

In flight first, then queued, both in the order of acceptance; the limits of today's settings hold.
Recovered work does not count against the bound of the queue.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from greenroom.actors.stream.admission_desk import AdmissionDesk
from greenroom.actors.stream.live import Live, Pending
from greenroom.actors.stream.parts import RecoveredCounts, StreamParts
from greenroom.actors.stream.waiting_line import Place
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Hold, Recover
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import TERMINAL, ExecutionState, Phase, Status
from greenroom.storage.journal import Loaded
from greenroom.storage.reader import Reader, StoredExecution

logger = logging.getLogger("greenroom.stream")

PAGE: Final = 100
"""Executions loaded between two breaths of the loop."""

SUSPECT_AFTER: Final = 1  # crashes before this recovery; the one that is counted now makes two


UNREADABLE: Final = "its journal cannot be read; `greenroom check` says why"


class Recovering(Protocol):
    """What recovery asks of the stream."""

    def adopt(self, live: Live) -> None: ...
    def settle(self, live: Live) -> None: ...
    def step(self, live: Live, pending: Pending) -> None: ...
    def start_timer(self, live: Live, token_id: int, due: float) -> None: ...
    def on_slice_end(self) -> None: ...


async def recover(
    stream: Recovering, desk: AdmissionDesk, parts: StreamParts, *, process_death: bool
) -> None:
    """Take up every unfinished execution of the entry point. `parts.recovered` gets the counts."""
    counts = parts.recovered = RecoveredCounts()
    queued: list[StoredExecution] = []
    after = 0
    while True:
        page = parts.store.read(partial(_page, parts.entry_point.id, after))
        if not page:
            break
        after = page[-1][0].ordinal
        for found, loaded in page:
            if found.summary.status is Status.QUEUED:
                queued.append(found)
            elif found.summary.status is Status.PAUSED:
                counts.paused += 1
            elif loaded is not None:
                _take_up(stream, desk, parts, counts, found, loaded, process_death=process_death)
            else:
                counts.held[found.summary.execution_id] = found.summary.error or UNREADABLE
        stream.on_slice_end()
        await asyncio.sleep(0)
    for found in queued:
        summary = found.summary
        counts.queued += 1
        desk.line.join(
            Place(
                fresh=summary.updated_at == summary.accepted_at,
                key=summary.queue_key,
                ordinal=found.ordinal,
                execution_id=summary.execution_id,
                counted=False,
            )
        )


def _page(
    entry_point: str, after: int, reader: Reader
) -> Sequence[tuple[StoredExecution, Loaded | None]]:
    in_flight = (Status.RUNNING, Status.WAITING)
    return [
        (found, _loaded(found, reader) if found.summary.status in in_flight else None)
        for found in reader.unfinished(entry_point, after, PAGE)
    ]


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
    live = Live(
        found.summary.execution_id, state, ordinal=found.ordinal, patch_bytes=loaded.patch_bytes
    )
    stream.adopt(live)
    reason = _why_not(parts, parts.plan, state)
    if reason is not None:
        counts.held[live.execution_id] = reason
        stream.step(live, Pending(Hold(reason)))
        return
    in_flight = [token for token in state.tokens.values() if token.phase is Phase.RUNNING]
    for token_id, token in state.tokens.items():
        if token.phase is Phase.BACKOFF and token.due is not None:
            stream.start_timer(live, token_id, token.due)
    if not in_flight:
        counts.waiting += 1
        stream.settle(live)
        return
    counts.recovered += 1
    suspect = process_death and any(token.crashes >= SUSPECT_AFTER for token in in_flight)
    permit = not suspect and desk.take(live, state.accepted.priority)
    stream.step(live, Pending(Recover(process_death=process_death, permit=permit)))


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
