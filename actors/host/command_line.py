"""The command line: `greenroom` and `python -m greenroom`.

Exit codes: 0 all is well, 1 a problem was found, 2 the command or its input cannot be used.
An error is one line on standard error; a traceback is shown with `--debug` only.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from greenroom.actors.host.checkpoint_commands import checkpoint_app
from greenroom.actors.host.demo.parent import DemoOptions, run_demo
from greenroom.actors.host.demo.report import show_report
from greenroom.actors.host.graph_command import show_graph
from greenroom.actors.host.session_commands import session_app
from greenroom.actors.host.store_arguments import AsJson, Debug, StoreFolder, existing_store
from greenroom.protocol.errors import (
    GreenroomError,
    InvalidInput,
    StoreCorrupt,
    StoreInUse,
    StoreNotFound,
    StoreTooNew,
)
from greenroom.storage.check import check as check_store

OK: Final = 0
PROBLEMS: Final = 1
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130

_BENCHMARKS: Final = "greenroom.benchmarks.suite"
_MENDED_BY_THE_CALLER: Final = (InvalidInput, StoreNotFound, StoreInUse, StoreTooNew)
# The command-line library below typer is not a dependency of its own and has been renamed before:
# its root of usage errors is reached through the one that typer exports.
_UsageProblem: Final[Any] = typer.BadParameter.__mro__[2]

_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Run, measure and check durable agents. Every command takes --help.",
)
_app.add_typer(session_app, name="sessions")
_app.add_typer(checkpoint_app, name="checkpoints")
_app.command("graph")(show_graph)


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Raises nothing: errors are written to stderr."""
    debug = "--debug" in arguments
    try:
        code = _app(list(arguments), prog_name="greenroom", standalone_mode=False)
        sys.stdout.flush()
    except _UsageProblem as error:
        return _fail(f"{error.format_message()} (see greenroom --help)", BAD_INPUT, debug)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED, debug)
    except BrokenPipeError:
        # The reader has gone, as with `| head`; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PROBLEMS
    except _MENDED_BY_THE_CALLER as error:
        return _fail(str(error), BAD_INPUT, debug)
    except GreenroomError as error:
        return _fail(str(error), PROBLEMS, debug)
    except Exception as error:  # noqa: BLE001  the border of the process
        hint = "" if debug else " (--debug shows where)"
        return _fail(f"{type(error).__name__}: {error}{hint}", PROBLEMS, debug)
    # The command-line library may turn Ctrl-C into an exit code by itself.
    return _fail("interrupted", INTERRUPTED, debug) if code == INTERRUPTED else int(code or OK)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"greenroom: {' '.join(message.split())}\n")
        sys.stderr.flush()
    return code


@_app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Debug = False,
) -> None:
    if version:
        sys.stdout.write(f"greenroom {importlib.metadata.version('greenroom')}\n")
        raise typer.Exit(OK)
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
        raise typer.Exit(OK)


@_app.command("demo")
def _demo(
    store: Annotated[
        Path | None,
        typer.Option(help="Keep the store in this new or empty folder, and do not delete it."),
    ] = None,
    payloads: Annotated[
        Path | None, typer.Option(help="Take GitHub webhook bodies, EVENT.NN.json, from here.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Run a triage agent for real: crash it, kill it, watch it recover, and prove it."""
    report = run_demo(DemoOptions(store=store, payloads=payloads, quiet=as_json))
    if as_json:
        sys.stdout.write(json.dumps(report.result()) + "\n")
    else:
        show_report(report, Console())
    return OK if report.proved else PROBLEMS


@_app.command("bench")
def _bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter rounds.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the results to this file.")
    ] = None,
    debug: Debug = False,
) -> int:
    """Measure messages, durable steps and recovery on this machine."""
    # Not imported with the rest: measuring must not slow the other commands down.
    code: int | None = importlib.import_module(_BENCHMARKS).run(quick=quick, json_file=json_file)
    return code or OK


@_app.command("check")
def _check(
    store: StoreFolder,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Read a whole store and list what is wrong with it. Changes nothing."""
    try:
        problems = check_store(existing_store(store))
    except StoreCorrupt as error:
        problems = [str(error)]
    if as_json:
        sys.stdout.write(json.dumps({"store": str(store), "problems": problems}) + "\n")
    elif problems:
        sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    else:
        sys.stdout.write(f"{store}: no problems found\n")
    return PROBLEMS if problems else OK
