"""`greenroom checkpoints`: the named positions of a session, also while another process writes."""

import sys
from functools import partial
from typing import Annotated

import typer

from greenroom.actors.host.checkpoint_reading import checkpoint_query, checkpoints_in
from greenroom.actors.host.command_output import (
    one_line,
    read_store,
    shown_time,
    write_columns,
    write_json,
)
from greenroom.actors.host.store_arguments import AsJson, Debug, StoreFolder
from greenroom.protocol.limits import LIST_PAGE_DEFAULT

checkpoint_app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="List the checkpoints of a session."
)


@checkpoint_app.callback()
def _group() -> None:
    """List the checkpoints of a session."""


@checkpoint_app.command("list")
def _list(
    store: StoreFolder,
    session: Annotated[str, typer.Argument(help="The id of the session.")],
    checkpoint_type: Annotated[
        str | None, typer.Option("--type", help="Only of this type.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = LIST_PAGE_DEFAULT,
    before: Annotated[
        str | None, typer.Option(help="The id of the last one of the page before.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the checkpoints of a session, newest first. Changes nothing."""
    query = checkpoint_query(session, checkpoint_type, limit, before)
    found = read_store(store, partial(checkpoints_in, query))
    if as_json:
        write_json({"session_id": session, "checkpoints": found})
        return
    if not found:
        sys.stdout.write("no checkpoints found\n")
        return
    rows = [("CHECKPOINT", "NODE", "MADE", "DESCRIPTION")]
    rows += [
        (one.checkpoint_id, one.current_node, shown_time(one.created_at), one_line(one.description))
        for one in found
    ]
    write_columns(rows)
