"""`greenroom sessions check`: what a deploy would do to the sessions of a store."""

import sys
from typing import Annotated, Final

import typer

from greenroom.actors.host.command_output import one_line, read_store, write_columns, write_json
from greenroom.actors.host.graph_loading import load_graph
from greenroom.actors.host.store_arguments import AsJson, Debug, StoreFolder
from greenroom.actors.host.version_check import Outlooks, SessionCheck
from greenroom.protocol.settings import check_integer

_IDS_DEFAULT: Final = 5
_IDS_MAX: Final = 10_000
_DIGEST_CHARS: Final = 8


def check_sessions(
    store: StoreFolder,
    graph: Annotated[
        str,
        typer.Argument(help="MODULE:NAME of a graph or an agent, or a .json or .toml file."),
    ],
    ids: Annotated[int, typer.Option(help="At most so many ids for each reason.")] = _IDS_DEFAULT,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Say which unfinished sessions would go on under a graph, and which would be held, and why.

    Changes nothing, and works beside a process that uses the store. The migration of an agent is
    asked, and nothing of what it says is kept. Exits with 1 when a session would not go on.
    """
    check_integer("--ids", ids, 0, _IDS_MAX)
    check = SessionCheck(load_graph(graph), ids)
    found = read_store(store, check.run)
    if as_json:
        write_json(found)
    else:
        _write(found)
    return 1 if found.unfit else 0


def _write(found: Outlooks) -> None:
    if not found.versions:
        sys.stdout.write("no unfinished sessions\n")
        return
    rows: list[tuple[str, ...]] = [
        ("ENTRY POINT", "VERSION", "DIGEST", "SESSIONS", "FIT", "MIGRATED", "UNFIT")
    ]
    for one in found.versions:
        counts = (one.sessions, one.fit, one.migrated, one.unfit)
        named = (one.entry_point, one.version or "unknown", one.digest[:_DIGEST_CHARS])
        rows.append((*named, *map(str, counts)))
    write_columns(rows)
    for one in found.versions:
        for why in one.why:
            ids = ", ".join(why.ids)
            more = " ..." if len(why.ids) < why.sessions else ""
            sys.stdout.write(f"{one.entry_point}: {why.sessions} would not go on: {ids}{more}\n")
            sys.stdout.write("".join(f"  {one_line(reason)}\n" for reason in why.reasons))
