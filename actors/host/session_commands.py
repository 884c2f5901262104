"""`greenroom sessions`: what a store holds, also while another process writes to it."""

import sys
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer

from greenroom.actors.host.command_output import (
    one_line,
    read_store,
    shown_time,
    write_columns,
    write_json,
)
from greenroom.actors.host.history_reading import history_in, history_query
from greenroom.actors.host.session_reading import page_in, query_of, session_in
from greenroom.actors.host.store_arguments import AsJson, Debug, StoreFolder
from greenroom.actors.host.version_commands import check_sessions
from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.history import History
from greenroom.protocol.limits import LIST_PAGE_DEFAULT
from greenroom.protocol.people_errors import ExecutionNotFound
from greenroom.protocol.sessions import Session, SessionPage

T = TypeVar("T")
SessionId = Annotated[str, typer.Argument(help="The id of the session.")]

_VALUE_CHARS: Final = 100  # of a value of the memory; --json has them whole

session_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="List and show the sessions of a store.",
)


@session_app.command("list")
def _list(
    store: StoreFolder,
    status: Annotated[str | None, typer.Option(help="Only of this status.")] = None,
    goal: Annotated[str | None, typer.Option(help="Only of the goal with this id.")] = None,
    entry_point: Annotated[str | None, typer.Option(help="Only of this entry point.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Accepted at or after: ISO 8601, UTC unless it says so.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Accepted at or before: as --since.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = LIST_PAGE_DEFAULT,
    after: Annotated[str | None, typer.Option(help="The mark that ended the page before.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List sessions, newest first. Changes nothing."""
    query = query_of(
        status=status,
        goal_id=goal,
        entry_point=entry_point,
        since=_moment("--since", since),
        until=_moment("--until", until),
        limit=limit,
        after=after,
    )
    page = read_store(store, partial(page_in, query))
    if as_json:
        write_json(page)
    else:
        _write_page(page)


@session_app.command("show")
def _show(
    store: StoreFolder,
    session: SessionId,
    at: Annotated[int | None, typer.Option(help="As the record with this seq left it.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show one session as its last committed step left it, or an earlier one. Changes nothing."""
    found = read_store(store, partial(session_in, session, seq=at))
    if found is None:
        raise ExecutionNotFound(f"there is no session {session!a:.140} in {store}")
    if as_json:
        write_json(found)
    else:
        _write_session(found)


@session_app.command("history")
def _history(
    store: StoreFolder,
    session: SessionId,
    after: Annotated[int, typer.Option(help="Only behind the record with this seq.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.")] = LIST_PAGE_DEFAULT,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell what happened in one session, oldest first. Changes nothing."""
    found = read_store(store, partial(history_in, history_query(session, after, limit)))
    if as_json:
        write_json(found)
    else:
        _write_history(found)


session_app.command("check")(check_sessions)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{option} is {text!a:.60}: give a time as 2026-01-31T12:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _write_page(page: SessionPage) -> None:
    if not page.sessions:
        sys.stdout.write("no sessions found\n")
        return
    rows = [("SESSION", "STATUS", "ENTRY POINT", "ACCEPTED", "ERROR")]
    for one in page.sessions:
        cells = (one.session_id, one.status.value, one.entry_point, shown_time(one.accepted_at))
        rows.append((*cells, one_line(one.error or "")))
    write_columns(rows)
    if page.after is not None:
        sys.stdout.write(f"more: --after {page.after}\n")


def _write_session(session: Session) -> None:
    fields: dict[str, Any] = msgspec.structs.asdict(session)
    memory = {"input": fields.pop("input_data"), "memory": fields.pop("memory")}
    for name, value in fields.items():
        if value not in (None, {}, []):
            sys.stdout.write(f"{name}: {_shown(value)}\n")
    for name, values in memory.items():
        for key, value in values.items():
            sys.stdout.write(f"{name}.{key}: {_cut(value)}\n")


def _write_history(history: History) -> None:
    rows: list[tuple[str, ...]] = [
        ("SEQ", "TIME", "WHAT", "RUN", "STATUS", "AT", "SET", "CHECKPOINTS", "ERROR")
    ]
    for one in history.entries:
        run = f"{one.visit}.{one.attempt}" if one.attempt else ""
        branch = f" ({one.branch})" if one.branch else ""
        cells = (str(one.seq), shown_time(one.at), one_line(one.what) + branch, run)
        keys = [*one.changed, *(f"-{key}" for key in one.removed)]
        lists = (one.position, keys, one.checkpoints)
        where = (one.status.value, *(one_line(" ".join(names)) for names in lists))
        rows.append((*cells, *where, one_line(one.error or "")))
    write_columns(rows)
    if history.after is not None:
        sys.stdout.write(f"more: --after {history.after}\n")


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return shown_time(value)
    if isinstance(value, list):
        return " -> ".join(map(str, value))
    return one_line(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_CHARS else f"{text[:_VALUE_CHARS]}..."
