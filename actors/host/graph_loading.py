"""Finding the graph that a command is asked about: in a file, or in a module of the caller's."""

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from greenroom.actors.host.agent_builder import Agent
from greenroom.actors.nodes.migrator import Migrate
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import GreenroomError
from greenroom.protocol.graph import GraphSpec
from greenroom.protocol.loading_errors import GraphNotLoaded

_DECODERS: Final[dict[str, Any]] = {".json": msgspec.json.decode, ".toml": msgspec.toml.decode}
_NAMES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class LoadedGraph:
    """A graph, unchecked, and what came with it: an agent has entry points and functions, a plain
    graph has None for its functions, because nobody knows them. `migration` is an agent's function
    for sessions of earlier versions.
    """

    graph: GraphSpec
    entry_points: tuple[EntryPointSpec, ...] = ()
    functions: frozenset[str] | None = None
    migration: Migrate | None = None

    @property
    def entry_nodes(self) -> list[str]:
        """Where the entry points begin that are apart from the graph."""
        return [spec.entry_node for spec in self.entry_points]


def load_graph(source: str) -> LoadedGraph:
    """Return the graph that `source` names: a .json or .toml file with the fields of a GraphSpec,
    or MODULE:NAME, where the name is a GraphSpec, an Agent, or a function that returns one.

    Modules are looked for in the current folder first, as by `python -m`; importing one runs it.
    Raises GraphNotLoaded.
    """
    suffix = Path(source).suffix.lower()
    if suffix in _DECODERS:
        return LoadedGraph(_from_file(Path(source), _DECODERS[suffix]))
    module, colon, name = source.partition(":")
    if colon and module and name:
        return _as_graph(source, _named(_module(module), module, name))
    raise GraphNotLoaded(
        f"{source!a:.200} names no graph: give a .json or .toml file, or MODULE:NAME, as in "
        "agents.desk:agent"
    )


def _from_file(path: Path, decode: Any) -> GraphSpec:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise GraphNotLoaded(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        found: GraphSpec = decode(text, type=GraphSpec)
    except msgspec.ValidationError as error:
        raise GraphNotLoaded(
            f"{path} does not hold a graph: {error}; give it the fields of a GraphSpec"
        ) from error
    except (ValueError, RecursionError) as error:
        kind = path.suffix[1:].upper()
        raise GraphNotLoaded(f"{path} is not {kind}: {error}") from error
    return found


def _module(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise GraphNotLoaded(f"{name!a:.200} is a file: name the module, as in {dotted!a:.200}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise GraphNotLoaded(
                f"there is no module {missing!a:.200} in {here} or among what is installed: go to "
                "the folder that it is in, or set PYTHONPATH"
            ) from error
        raise GraphNotLoaded(f"module {name!r} cannot be imported: {error}") from error
    except SystemExit as error:
        raise GraphNotLoaded(
            f"module {name!r} ends the process when it is imported: put what it runs below "
            "if __name__ == '__main__'"
        ) from error
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise GraphNotLoaded(f"module {name!a:.200} cannot be imported: {why}") from error


def _named(module: ModuleType, module_name: str, name: str) -> object:
    found: object = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            kinds = [one for one, value in vars(module).items() if _is_graph(value)]
            there = ", ".join(kinds[:_NAMES_SHOWN]) or "none"
            raise GraphNotLoaded(
                f"module {module_name!r} has no {name!a:.200}; graphs and agents in it: {there}"
            ) from error
    return found


def _is_graph(value: object) -> bool:
    return isinstance(value, GraphSpec | Agent)


def _as_graph(source: str, found: object) -> LoadedGraph:
    if not _is_graph(found) and callable(found) and not isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise GraphNotLoaded(f"{source!a:.200} failed when it was called: {why}") from error
    if isinstance(found, Agent):
        try:
            return LoadedGraph(
                found.declared(),
                tuple(found.entry_points),
                frozenset(found.functions),
                found.migration,
            )
        except GreenroomError as error:
            raise GraphNotLoaded(f"{source!a:.200} makes no graph: {error}") from error
    if isinstance(found, GraphSpec):
        return LoadedGraph(found)
    raise GraphNotLoaded(
        f"{source!a:.200} is a {type(found).__name__}: name a GraphSpec, an Agent, or a function "
        "that takes nothing and returns one"
    )
