"""Reading stored sessions: for the facade, and for the command line beside a running process."""

import re
from datetime import datetime
from typing import Final

import msgspec

from greenroom.actors.host.waiting import may_be_execution
from greenroom.protocol.asked import asked_status, asked_text, asked_time
from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.execution import Status
from greenroom.protocol.limits import LIST_PAGE_MAX
from greenroom.protocol.session_errors import PositionNotFound
from greenroom.protocol.sessions import Session, SessionPage, session_of, summary_of
from greenroom.protocol.settings import check_integer
from greenroom.storage.reader import Reader

_CURSOR: Final = "after-"
_PAGE: Final = 100
_CURSOR_FORM: Final = re.compile(rf"{_CURSOR}([0-9]{{1,20}})")


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request for one page of sessions. Made by `query_of`."""

    status: Status | None
    goal_id: str | None
    entry_point: str | None
    since: float | None
    until: float | None
    limit: int
    below: int | None


def query_of(
    *,
    status: Status | str | None,
    goal_id: str | None,
    entry_point: str | None,
    since: datetime | float | None,
    until: datetime | float | None,
    limit: int,
    after: str | None,
) -> SessionQuery:
    """Check the arguments of a listing. Raises InvalidConfig, InvalidInput."""
    check_integer("limit", limit, 1, LIST_PAGE_MAX)
    return SessionQuery(
        status=asked_status(status),
        goal_id=asked_text("goal_id", goal_id),
        entry_point=asked_text("entry_point", entry_point),
        since=asked_time("since", since),
        until=asked_time("until", until),
        limit=limit,
        below=None if after is None else _ordinal(after),
    )


def page_in(query: SessionQuery, reader: Reader) -> SessionPage:
    """Read one page."""
    found = reader.executions(
        query.status,
        query.entry_point,
        query.below,
        query.limit + 1,
        goal_id=query.goal_id,
        since=query.since,
        until=query.until,
    )
    shown = found[: query.limit]
    more = len(found) > query.limit
    return SessionPage(
        sessions=[summary_of(one.summary) for one in shown],
        after=f"{_CURSOR}{shown[-1].ordinal}" if more else None,
    )


def session_in(session_id: str, reader: Reader, seq: int | None = None) -> Session | None:
    """Read one session, as it stands or as its record `seq` left it; None when there is none of
    that id. Costs about what its state holds.

    Raises PositionNotFound, StoreCorrupt when its journal cannot be read.
    """
    found = reader.execution(session_id) if may_be_execution(session_id) else None
    if found is None:
        return None
    at = found.seq if seq is None else seq
    if not 1 <= at <= found.seq:
        raise PositionNotFound(session_id, at, found.seq)
    state = reader.load_state(found.ordinal, at)
    (first,) = reader.journal(found.ordinal, limit=1)
    (last,) = reader.journal(found.ordinal, at - 1, limit=1)
    summary = found.summary
    if seq is not None:
        since = _status_since(found.ordinal, at, reader)
        summary = msgspec.structs.replace(
            summary, status=state.status, error=state.error, updated_at=since
        )
    return session_of(summary, state, first.patch.memory, last.at)


def _status_since(ordinal: int, seq: int, reader: Reader) -> float:
    """When the session came into the status that record `seq` left it in. Costs the records since
    then; of those that were pruned nothing is known.
    """
    since = 0.0
    while seq > 0:
        first = max(0, seq - _PAGE)
        page = [one for one in reader.journal(ordinal, first, seq - first) if one.seq <= seq]
        for record in reversed(page):
            since = record.at
            if record.patch.status is not None:
                return since
        if not page:
            break
        seq = first
    return since


def _ordinal(after: object) -> int:
    found = _CURSOR_FORM.fullmatch(after) if isinstance(after, str) else None
    if found is None:
        raise InvalidInput(f"after is {after!a:.80}: give `after` of the page before")
    return min(int(found[1]), 2**63)
