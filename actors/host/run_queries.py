"""Reading runs, decisions and problems out of the store. Blocking: on a thread of the pool.

Each page is one short read transaction, so that a long search never holds old pages of the file.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar

import msgspec

from greenroom.actors.host.waiting import may_be_execution
from greenroom.protocol.decisions import Note
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.execution import TERMINAL, ExecutionState, Status
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.limits import LIST_PAGE_DEFAULT
from greenroom.protocol.patch import JournalRecord
from greenroom.protocol.runs import Decision, Position, Problem, Routers, Run, RunParts, RunReading
from greenroom.storage.reader import Reader, StoredExecution
from greenroom.storage.store import Store

_PAGE: Final = LIST_PAGE_DEFAULT
_ROUTER: Final = "router"
_LAST_NUMBER: Final = 2**32 - 1  # behind every note of a record

T = TypeVar("T", Decision, Problem)
Told = tuple[JournalRecord, list[tuple[int, Note]]]


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions are asked for, and from when; None asks for all. Wall UTC seconds."""

    session_id: str | None = None
    goal_id: str | None = None
    entry_point: str | None = None
    status: Status | None = None
    since: float | None = None
    until: float | None = None

    def takes(self, stored: StoredExecution) -> bool:
        """Whether the execution is one of those that are asked for."""
        summary = stored.summary
        return (
            self.goal_id in (None, summary.goal_id)
            and self.entry_point in (None, summary.entry_point)
            and self.status in (None, summary.status)
        )

    def may_tell(self, stored: StoredExecution) -> bool:
        """Whether anything of it can lie in the time that is asked for."""
        summary = stored.summary
        if self.until is not None and summary.accepted_at > self.until:
            return False
        ended = summary.status in TERMINAL
        return self.since is None or not ended or summary.updated_at >= self.since

    def in_time(self, at: float) -> bool:
        """Whether that moment is asked for."""
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)


def routers_of(plan: Plan) -> Routers:
    """The routers of a graph, with the nodes that each can choose."""
    return {
        node.id: tuple(
            dict.fromkeys([*node.routes.values(), *(edge.target for edge in node.edges)])
        )
        for node in plan.nodes.values()
        if node.spec.node_type == _ROUTER
    }


def find(
    store: Store,
    kind: type[T],
    asked: RunFilter,
    routers: Routers,
    matches: Callable[[T], bool],
    after: Position | None,
    limit: int,
) -> list[T]:
    """Return up to `limit` decisions or problems behind `after`: newest execution first, and those
    of one in the order in which they were made. Raises HistoryPruned when what lies behind `after`
    is gone.
    """
    found: list[T] = []
    if after is not None:
        _refuse_gap(store, after)
    for stored in _executions(store, asked, after):
        here = after if after is not None and after.ordinal == stored.ordinal else None
        for one in _told(store, stored, kind, routers, 0 if here is None else here.seq):
            if here is not None and Position.parse(one.position) <= here:
                continue
            if asked.in_time(one.timestamp.timestamp()) and matches(one):
                found.append(one)
                if len(found) == limit:
                    return found
    return found


def _refuse_gap(store: Store, after: Position) -> None:
    oldest = store.read(lambda reader: reader.oldest_record(after.ordinal))
    if after.seq + 1 < oldest:
        raise HistoryPruned(oldest)


def find_runs(
    store: Store,
    asked: RunFilter,
    routers: Routers,
    node: str | None,
    before: str | None,
    limit: int,
) -> list[Run]:
    """Return up to `limit` runs that were accepted in the time asked for, newest first."""
    below: int | None = None
    if before is not None:
        last = stored_execution(store, before) if may_be_execution(before) else None
        if last is None:
            raise InvalidInput(f"before is {before!a:.140}: there is no such run any more")
        below = last.ordinal
    found: list[Run] = []
    for stored in _newest_first(store, asked, below, since=asked.since):
        if node is not None:
            state = _state(store, stored)
            if state is None or node not in state.visits:
                continue
        run = read_run(store, stored, routers)
        if run is not None:
            found.append(run)
        if len(found) == limit:
            break
    return found


def stored_execution(store: Store, execution_id: str) -> StoredExecution | None:
    """What the store has of that id."""
    return store.read(lambda reader: reader.execution(execution_id))


def read_run(store: Store, stored: StoredExecution, routers: Routers) -> Run | None:
    """Read the whole run; None when it was pruned meanwhile."""
    reading = RunReading(stored.ordinal, stored.summary, routers)
    parts = RunParts()
    for record, noted in _records(store, stored.ordinal, stored.seq):
        parts.add(reading.told(record, noted), reading.outcome(record))
    state = _state(store, stored)
    return None if state is None else parts.run(state, reading.input)


def _state(store: Store, stored: StoredExecution) -> ExecutionState | None:
    """The state as it was listed; None when the execution was pruned meanwhile."""

    def load(reader: Reader) -> ExecutionState | None:
        if reader.execution_at(stored.ordinal) is None:
            return None
        try:
            return reader.load_state(stored.ordinal, stored.seq)
        except HistoryPruned:  # meanwhile it went on, and its journal was cut behind that
            return reader.load_state(stored.ordinal)

    return store.read(load)


def _executions(
    store: Store, asked: RunFilter, after: Position | None
) -> Iterator[StoredExecution]:
    """Those of which something may be asked for, newest first, the one of `after` included."""
    if asked.session_id is not None:
        stored = stored_execution(store, asked.session_id)
        found = iter(() if stored is None or not asked.takes(stored) else (stored,))
    else:
        found = _newest_first(store, asked, None if after is None else after.ordinal + 1)
    return (stored for stored in found if asked.may_tell(stored))


def _newest_first(
    store: Store, asked: RunFilter, below: int | None, *, since: float | None = None
) -> Iterator[StoredExecution]:
    """Those that were accepted in time, page by page."""
    while True:
        page = store.read(
            partial(
                Reader.executions,
                status=asked.status,
                entry_point=asked.entry_point,
                before_ordinal=below,
                limit=_PAGE,
                goal_id=asked.goal_id,
                since=since,
                until=asked.until,
            )
        )
        if not page:
            return
        yield from page
        below = page[-1].ordinal


def _told(
    store: Store, stored: StoredExecution, kind: type[T], routers: Routers, from_seq: int
) -> Iterator[T]:
    """What was decided or reported in an execution, in order; what lies before record `from_seq`
    may be left out.
    """
    wanted = routers if kind is Decision else {}
    reading = RunReading(stored.ordinal, stored.summary, wanted)
    if wanted:  # what a router chose is known from the records around it
        records = _records(store, stored.ordinal, stored.seq)
    else:
        records = _noted_records(store, stored.ordinal, stored.seq, from_seq)
    for record, noted in records:
        for one in reading.told(record, noted):
            if isinstance(one, kind):
                yield one


def _records(store: Store, ordinal: int, last_seq: int) -> Iterator[Told]:
    """Every record of a journal, with its notes."""

    def page_after(seq: int, reader: Reader) -> list[Told]:
        return [
            (one, reader.notes_of_record(ordinal, one.seq) if one.notes else [])
            for one in reader.journal(ordinal, seq, _PAGE)
            if one.seq <= last_seq
        ]

    seq = 0
    while page := store.read(partial(page_after, seq)):
        yield from page
        seq = page[-1][0].seq


def _noted_records(store: Store, ordinal: int, last_seq: int, from_seq: int) -> Iterator[Told]:
    """The records of a journal from `from_seq` on that have notes, with these."""

    def page_after(seq: int, reader: Reader) -> list[Told]:
        seqs = dict.fromkeys(one[0] for one in reader.notes(ordinal, seq, _LAST_NUMBER, _PAGE))
        return [
            (record, reader.notes_of_record(ordinal, one))
            for one in seqs
            if one <= last_seq and (record := reader.record(ordinal, one)) is not None
        ]

    seq = max(from_seq - 1, 0)
    while page := store.read(partial(page_after, seq)):
        yield from page
        seq = page[-1][0].seq
