"""Who may import whom, and what no module may use.

Each rule is a function from a module to its breaches.
"""

import ast
import sys
from collections.abc import Callable, Iterator

import pytest

LAYERS = ("protocol", "storage", "actors", "benchmarks")
MAY_IMPORT = {
    "protocol": {"protocol"},
    "storage": {"protocol", "storage"},
    "actors": {"protocol", "storage", "actors"},
    "benchmarks": {"protocol", "storage", "actors", "benchmarks"},
}
# The top of the actors: the command line runs the benchmarks and uses the public names.
TOP_OF_ACTORS = "actors/host/"
OWNERS = {
    "pykka": ("actors/", "benchmarks/"),
    "lmdb": ("storage/", "benchmarks/"),
}
CONCURRENCY = {"_thread", "concurrent", "multiprocessing", "queue", "threading"}
MAY_BE_CONCURRENT = ("actors/kernel/", "actors/nodes/", "storage/", "benchmarks/")
IMPURE = {
    *CONCURRENCY,
    *("asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "selectors", "shutil"),
    *("signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "time", "urllib"),
}
# The type `uuid.UUID` is data; making one reads the clock or the random device.
IMPURE_NAMES = {f"uuid.uuid{version}" for version in (1, 4, 6, 7, 8)}
UNSAFE_LOADERS = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
CONDITIONS_LIBRARY = "simpleeval"

Rule = Callable[[str, ast.Module], Iterator[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported; `from a import b` gives both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _roots(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and first part of the name of everything imported, once per statement."""
    yield from sorted({(line, name.partition(".")[0]) for line, name in _imports(tree)})


def imports_go_one_way(path: str, tree: ast.Module) -> Iterator[str]:
    """protocol <- storage <- actors <- benchmarks, and the public names only at the top."""
    layer = path.partition("/")[0]
    allowed = MAY_IMPORT[layer] | ({"benchmarks"} if path.startswith(TOP_OF_ACTORS) else set())
    for line, name in _imports(tree):
        parts = name.split(".")
        if parts[0] != "greenroom":
            continue
        if len(parts) > 1 and parts[1] in LAYERS:
            if parts[1] not in allowed:
                yield f"{path}:{line}: {layer} imports greenroom.{parts[1]}"
        elif len(parts) > 1 and not path.startswith((TOP_OF_ACTORS, "benchmarks/")):
            yield f"{path}:{line}: {name} is the public face; import the module that defines it"


def kernel_stands_alone(path: str, tree: ast.Module) -> Iterator[str]:
    """The kernel knows no other package of the actors."""
    if not path.startswith("actors/kernel/"):
        return
    for line, name in _imports(tree):
        inside = name == "greenroom.actors.kernel" or name.startswith("greenroom.actors.kernel.")
        if name.startswith("greenroom.actors.") and not inside:
            yield f"{path}:{line}: the kernel imports {name}"


def libraries_have_one_home(path: str, tree: ast.Module) -> Iterator[str]:
    """pykka only in the actors, LMDB only in the storage; the benchmarks' floor needs both."""
    for line, root in _roots(tree):
        if root in OWNERS and not path.startswith(OWNERS[root]):
            yield f"{path}:{line}: {root} belongs to {OWNERS[root][0]}"


def threads_have_one_home(path: str, tree: ast.Module) -> Iterator[str]:
    """Threads, queues and locks live where their hazards are known."""
    for line, root in _roots(tree):
        if root in CONCURRENCY and not path.startswith(MAY_BE_CONCURRENT):
            yield f"{path}:{line}: {root} is for {', '.join(MAY_BE_CONCURRENT)} only"


def protocol_is_pure(path: str, tree: ast.Module) -> Iterator[str]:
    """The protocol needs the standard library and msgspec: no I/O, clock, thread or randomness."""
    if not path.startswith("protocol/"):
        return
    for line, root in _roots(tree):
        if root in IMPURE:
            yield f"{path}:{line}: {root} is I/O, a clock, a thread or randomness"
        elif root not in {*sys.stdlib_module_names, "greenroom", "msgspec", CONDITIONS_LIBRARY}:
            yield f"{path}:{line}: {root} is a dependency that the protocol may not have"
    for line, name in _imports(tree):
        if name in IMPURE_NAMES:
            yield f"{path}:{line}: {name} is a clock or randomness"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in {"open", "print", "input"}:
            yield f"{path}:{node.lineno}: {called}() is I/O"
        if called in IMPURE_NAMES:
            yield f"{path}:{node.lineno}: {called}() is a clock or randomness"
        if called.split(".")[-2:] in (
            ["datetime", "now"],
            ["datetime", "utcnow"],
            ["date", "today"],
        ):
            yield f"{path}:{node.lineno}: {called}() reads the clock; take the time as an argument"


def imports_are_absolute(path: str, tree: ast.Module) -> Iterator[str]:
    """No relative imports, and never a folder's bare name, which works in a clone only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{path}:{node.lineno}: relative import"
    for line, root in _roots(tree):
        if root in {*LAYERS, "tests"}:
            yield f"{path}:{line}: import greenroom.{root}, not {root}"


def imports_stand_at_the_top(path: str, tree: ast.Module) -> Iterator[str]:
    """No imports in functions: they hide a cycle, and fail in use instead of at the start."""
    found: set[int] = set()
    for function in ast.walk(tree):
        if isinstance(function, Function):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found.add(node.lineno)
    yield from (f"{path}:{line}: import in a function" for line in sorted(found))


def package_files_are_empty(path: str, tree: ast.Module) -> Iterator[str]:
    """`__init__.py` holds a docstring only, so that importing a module imports nothing else."""
    if not path.endswith("/__init__.py"):
        return
    if ast.get_docstring(tree) is None:
        yield f"{path}:1: the package has no docstring"
    for node in tree.body[1:] if ast.get_docstring(tree) else tree.body:
        yield f"{path}:{node.lineno}: only a docstring may stand here"


def nothing_runs_data(path: str, tree: ast.Module) -> Iterator[str]:
    """Stored bytes and users' text are never code: no pickle and its like, no eval or exec."""
    for line, root in _roots(tree):
        if root in UNSAFE_LOADERS:
            yield f"{path}:{line}: {root} runs what it reads"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in {"eval", "exec"}:
            yield f"{path}:{node.lineno}: builtin {node.id}"


RULES: tuple[Rule, ...] = (
    imports_go_one_way,
    kernel_stands_alone,
    libraries_have_one_home,
    threads_have_one_home,
    protocol_is_pure,
    imports_are_absolute,
    imports_stand_at_the_top,
    package_files_are_empty,
    nothing_runs_data,
)

BREACHES: tuple[tuple[Rule, str, str], ...] = (
    (imports_go_one_way, "protocol/a.py", "from greenroom.storage.store import Store"),
    (imports_go_one_way, "protocol/a.py", "import greenroom.actors.kernel.actor"),
    (imports_go_one_way, "storage/a.py", "from greenroom.actors.host import facade"),
    (imports_go_one_way, "storage/a.py", "from greenroom import actors"),
    (imports_go_one_way, "actors/stream/a.py", "import greenroom.benchmarks.floor"),
    (imports_go_one_way, "actors/stream/a.py", "from greenroom import AgentRuntime"),
    (kernel_stands_alone, "actors/kernel/a.py", "from greenroom.actors.stream import turns"),
    (kernel_stands_alone, "actors/kernel/a.py", "from greenroom.actors import host"),
    (libraries_have_one_home, "storage/a.py", "import pykka"),
    (libraries_have_one_home, "protocol/a.py", "from pykka.messages import ProxyCall"),
    (libraries_have_one_home, "actors/stream/a.py", "import lmdb"),
    (threads_have_one_home, "actors/host/a.py", "import threading"),
    (threads_have_one_home, "actors/stream/a.py", "from queue import Queue"),
    (threads_have_one_home, "protocol/a.py", "import concurrent.futures"),
    (protocol_is_pure, "protocol/a.py", "import time"),
    (protocol_is_pure, "protocol/a.py", "from os import path"),
    (protocol_is_pure, "protocol/a.py", "import rich"),
    (protocol_is_pure, "protocol/a.py", "from uuid import uuid4"),
    (protocol_is_pure, "protocol/a.py", "import uuid\nuuid.uuid1()"),
    (protocol_is_pure, "protocol/a.py", "open('x')"),
    (protocol_is_pure, "protocol/a.py", "datetime.datetime.now(tz)"),
    (imports_are_absolute, "actors/a.py", "from .stream import turns"),
    (imports_are_absolute, "actors/a.py", "import storage.store"),
    (imports_are_absolute, "actors/a.py", "from protocol.ids import new_id"),
    (imports_stand_at_the_top, "actors/a.py", "def f():\n    import json"),
    (
        imports_stand_at_the_top,
        "actors/a.py",
        "class A:\n  async def f(self):\n    from a import b",
    ),
    (package_files_are_empty, "actors/__init__.py", '"""Actors."""\nimport json'),
    (package_files_are_empty, "actors/__init__.py", ""),
    (package_files_are_empty, "actors/__init__.py", "x = 1"),
    (nothing_runs_data, "storage/a.py", "import pickle"),
    (nothing_runs_data, "storage/a.py", "from marshal import loads"),
    (nothing_runs_data, "actors/a.py", "eval(condition)"),
    (nothing_runs_data, "actors/a.py", "run = exec"),
)

PERMITTED: tuple[tuple[str, str], ...] = (
    (
        "protocol/a.py",
        "import msgspec\nfrom greenroom.protocol.ids import new_id\nfrom uuid import UUID",
    ),
    ("protocol/a.py", "from datetime import datetime\nmoment = datetime.fromisoformat(text)"),
    ("storage/a.py", "import lmdb\nimport threading\nfrom greenroom.protocol.errors import Fenced"),
    ("actors/kernel/a.py", "import pykka\nimport queue\nfrom greenroom.actors.kernel import fence"),
    ("actors/nodes/a.py", "from concurrent.futures import ThreadPoolExecutor"),
    ("actors/host/a.py", "from greenroom import __version__\nimport greenroom.benchmarks.run"),
    ("actors/a.py", "evaluator.eval(condition)"),
    ("actors/__init__.py", '"""Actors."""'),
    ("benchmarks/a.py", "import lmdb\nimport pykka\nfrom greenroom import AgentRuntime"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_packages_keep_the_rule(rule: Rule, layer_sources: dict[str, str]) -> None:
    """No module of the four folders breaks the rule."""
    breaches = [
        breach
        for path, text in layer_sources.items()
        for breach in rule(path, ast.parse(text, filename=path))
    ]
    assert not breaches, f"{rule.__doc__}\n" + "\n".join(breaches)


def test_every_folder_is_looked_at(layer_sources: dict[str, str]) -> None:
    """A rule that reads no files would hold for ever."""
    assert {path.partition("/")[0] for path in layer_sources} == set(LAYERS)


def test_one_module_alone_evaluates_conditions(layer_sources: dict[str, str]) -> None:
    """The library that evaluates users' text is behind one door."""
    doors = [
        path
        for path, text in layer_sources.items()
        if CONDITIONS_LIBRARY in {root for _, root in _roots(ast.parse(text))}
    ]
    assert len(doors) <= 1, doors


def test_public_names_are_only_re_exported(all_sources: dict[str, str]) -> None:
    """`greenroom/__init__.py` imports and names; it does nothing of its own on import."""
    path = "src/greenroom/__init__.py"
    tree = ast.parse(all_sources[path])
    allowed = ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign
    strange = [f"{path}:{node.lineno}" for node in tree.body[1:] if not isinstance(node, allowed)]
    assert not strange


@pytest.mark.parametrize(("rule", "path", "text"), BREACHES)
def test_the_rule_bites(rule: Rule, path: str, text: str) -> None:
    """A breach is found, and reported with its file and line."""
    found = list(rule(path, ast.parse(text)))
    assert found
    assert all(breach.startswith(f"{path}:") for breach in found)


def test_every_rule_has_a_breach_that_it_finds() -> None:
    """A rule without a proof that it bites is not added."""
    assert {rule.__name__ for rule, _, _ in BREACHES} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(("path", "text"), PERMITTED)
def test_the_rules_leave_proper_code_alone(path: str, text: str) -> None:
    """What the layers are meant to do is no breach of any rule."""
    assert [breach for rule in RULES for breach in rule(path, ast.parse(text))] == []
