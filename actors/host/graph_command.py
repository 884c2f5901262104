"""`greenroom graph`: what a graph declares, where its branches join, and what is wrong with it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from greenroom.actors.host.command_output import one_line
from greenroom.actors.host.graph_loading import LoadedGraph, load_graph
from greenroom.actors.host.graph_mermaid import mermaid_lines
from greenroom.actors.host.graph_text import graph_lines
from greenroom.actors.host.store_arguments import AsJson, Debug
from greenroom.protocol.engine.joins import joins
from greenroom.protocol.engine.nesting import levels_of
from greenroom.protocol.engine.unsupported import unsupported_settings
from greenroom.protocol.engine.validation import validate_graph, wrong_types
from greenroom.protocol.errors import InvalidInput


def show_graph(
    source: Annotated[
        str,
        typer.Argument(
            help="A .json or .toml file with a graph, or MODULE:NAME of a GraphSpec, an Agent, or "
            "a function that returns one.",
            metavar="FILE|MODULE:NAME",
        ),
    ],
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Write a Mermaid flowchart instead of words.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of to standard output.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Show a graph, where its branches join, and what is wrong with it: exit code 1 then."""
    if mermaid and as_json:
        raise InvalidInput("--mermaid and --json cannot be used together: leave one out")
    loaded = load_graph(source)
    problems = problems_of(loaded)
    if as_json:
        _write(_json(loaded, problems), output)
        return bool(problems)
    can_be_shown = not wrong_types(loaded.graph)
    levels = levels_of(loaded.graph)[0]
    if can_be_shown and mermaid:
        _write("".join(f"{line}\n" for line in mermaid_lines(levels, loaded.entry_points)), output)
    elif can_be_shown:
        _write("".join(f"{line}\n" for line in graph_lines(levels, loaded.entry_points)), output)
    # A chart is for a program that draws it: what is wrong must not be a part of it.
    told = sys.stderr if mermaid or output is not None else sys.stdout
    if problems:
        told.write("problems:\n" + "".join(f"  {one_line(problem)}\n" for problem in problems))
    return bool(problems)


def problems_of(loaded: LoadedGraph) -> list[str]:
    """Return all that keeps a runtime from starting with the graph."""
    problems = validate_graph(
        loaded.graph, entry_nodes=loaded.entry_nodes, functions=loaded.functions
    )
    if wrong_types(loaded.graph):
        return problems
    return problems + [str(error) for error in unsupported_settings(loaded.graph)]


def _json(loaded: LoadedGraph, problems: list[str]) -> str:
    found: dict[str, Any] = {"graph": None, "joins": {}, "problems": problems}
    if not wrong_types(loaded.graph):
        levels = levels_of(loaded.graph)[0]
        found["graph"] = msgspec.to_builtins(loaded.graph, enc_hook=repr)
        found["joins"] = {
            level.flat_id(node): None if join is None else level.flat_id(join)
            for level in levels
            for node, join in joins(level.graph).items()
        }
    return msgspec.json.encode(found).decode() + "\n"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {error.strerror or error}") from error
