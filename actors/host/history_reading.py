"""Reading what happened in a session: for the facade, and for the command line beside a running
process.
"""

import msgspec

from greenroom.actors.host.checkpoint_reading import session_at
from greenroom.protocol.execution import ExecutionState, Token
from greenroom.protocol.history import History, HistoryEntry, entry_of
from greenroom.protocol.limits import LIST_PAGE_MAX
from greenroom.protocol.patch import apply
from greenroom.protocol.sessions import forked_from
from greenroom.protocol.settings import check_integer
from greenroom.storage.keys import SEQ_MAX
from greenroom.storage.reader import Reader


class HistoryQuery(msgspec.Struct, frozen=True):
    """A checked request for a page of a session's history. Made by `history_query`."""

    session_id: str
    after: int
    limit: int


def history_query(session_id: str, after: int, limit: int) -> HistoryQuery:
    """Check the arguments of a listing. Raises InvalidConfig."""
    check_integer("after", after, 0, SEQ_MAX - 1)
    check_integer("limit", limit, 1, LIST_PAGE_MAX)
    return HistoryQuery(session_id, after, limit)


def history_in(query: HistoryQuery, reader: Reader) -> History:
    """Read one page: costs what it returns, and behind the first one as much as `get_session`.

    Raises ExecutionNotFound, StoreCorrupt.
    """
    session = session_at(query.session_id, reader)
    found = reader.journal(session.ordinal, query.after, query.limit + 1)
    shown = found[: query.limit]
    names: dict[int, list[str]] = {}
    if shown:
        for name in reader.checkpoints_between(session.ordinal, shown[0].seq, shown[-1].seq):
            names.setdefault(name.seq, []).append(str(name.key))
    state: ExecutionState | None = None
    entries: list[HistoryEntry] = []
    for record in shown:
        if state is None:
            state = _before(session.ordinal, record.seq, reader)
        before: dict[int, Token] = {} if state is None else state.tokens.copy()
        if state is None or state.seq + 1 != record.seq:  # the first one, or behind what was pruned
            state = reader.load_state(session.ordinal, record.seq)
        else:
            state = apply(state, record.patch, record.seq)
        entries.append(entry_of(record, before, state, names.get(record.seq, [])))
    return History(
        session_id=query.session_id,
        forked_from=forked_from(session.summary),
        entries=entries,
        after=shown[-1].seq if len(found) > query.limit else None,
    )


def _before(ordinal: int, seq: int, reader: Reader) -> ExecutionState | None:
    if seq == 1 or reader.record(ordinal, seq - 1) is None:
        return None
    return reader.load_state(ordinal, seq - 1)
