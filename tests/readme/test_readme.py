"""What the README shows is what happens: each block is run as it stands, over a real store."""

import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom import AgentRuntimeConfig, EntryPointSpec, GraphSpec
from greenroom.protocol import limits

Python = Callable[..., tuple[int, str]]

MASKS = (
    (re.compile(r"'latency_ms': \d+"), "'latency_ms': 0"),
    (re.compile(r"latency_ms=\d+"), "latency_ms=0"),
)
PATH = re.compile(r"\]\((?!https?:|#)([^)]+)\)")
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.fixture
def folder(tmp_path: Path, blocks: list[Any]) -> Path:
    """A folder with every file that the README names."""
    for block in blocks:
        if block.language == "python":
            (tmp_path / Path(block.file).name).write_text(block.code, encoding="utf-8")
    return tmp_path


def _sessions(blocks: list[Any]) -> list[tuple[str, str]]:
    """(command, what it prints) of every `$ python ...` in the README, in order."""
    found: list[tuple[str, str]] = []
    for block in blocks:
        if block.language == "text":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, printed = part.partition("\n")
                found.append((command, printed))
    return found


def test_every_session_prints_what_the_readme_says(
    folder: Path, blocks: list[Any], python: Python
) -> None:
    """In the order of the README, so that stores are found as a reader finds them."""
    sessions = _sessions(blocks)
    assert sessions
    for number, (command, expected) in enumerate(sessions):
        _, *arguments = shlex.split(command)
        code, printed = python(folder, *arguments)
        for pattern, mask in MASKS:
            printed = pattern.sub(mask, printed)
        assert printed == expected, command
        killed = command in [later for later, _ in sessions[number + 1 :]]
        assert code == (-signal.SIGKILL if killed else 0), command


def test_every_block_of_python_is_run(blocks: list[Any], repository: Path) -> None:
    """Each is in a session, or is an example word for word, which has its own test."""
    run = {shlex.split(command)[1] for command, _ in _sessions(blocks)}
    for block in blocks:
        if block.language != "python":
            continue
        assert block.file.endswith(".py"), "the first line names the file"
        if block.file.startswith("examples/"):
            assert block.code == (repository / block.file).read_text(encoding="utf-8")
        else:
            assert block.file in run


def test_a_first_agent_is_about_fifteen_lines(blocks: list[Any]) -> None:
    """Lines that are not blank."""
    first = next(block for block in blocks if block.language == "python")
    assert len([line for line in first.code.splitlines() if line.strip()]) <= 16


def test_every_link_leads_somewhere(repository: Path) -> None:
    """In the README and in the pages of `docs`."""
    for page in (repository / "README.md", *(repository / "docs").glob("*.md")):
        for link in PATH.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name}: {link}"


def test_every_file_that_is_named_exists(repository: Path) -> None:
    """Paths in backticks, as in `protocol/limits.py`."""
    folders = "protocol|storage|actors|benchmarks|src|examples|docs|tests"
    named = re.compile(rf"`((?:{folders})/[\w./]*)`")
    for page in (repository / "README.md", *(repository / "docs").glob("*.md")):
        for path in named.findall(page.read_text(encoding="utf-8")):
            assert (repository / path).exists(), f"{page.name}: {path}"


def test_every_test_that_is_named_exists(repository: Path) -> None:
    """`tests/area/test_file.py::test_name` in the pages of `docs`."""
    found = 0
    for page in (repository / "docs").glob("*.md"):
        for path, name in NAMED_TEST.findall(page.read_text(encoding="utf-8")):
            text = (repository / path).read_text(encoding="utf-8")
            assert not name or f"def {name}(" in text, f"{page.name}: {path}::{name}"
            found += bool(name)
    assert found


def test_the_limits_are_those_of_the_code(repository: Path) -> None:
    """The numbers of the README's table of limits."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    config, graph = AgentRuntimeConfig(), GraphSpec(id="g", entry_node="n")
    entry = EntryPointSpec(id="e", entry_node="n")
    for line in (
        f"| {config.max_concurrent_executions} in all, {entry.max_concurrent} for each",
        f"| {entry.max_queued:,} for each entry point",
        f"| {limits.INPUT_BYTES_MAX // 2**20} MiB; depth {limits.VALUE_DEPTH_MAX} |",
        f"| {graph.max_steps}, then `exhausted` |",
        f"| the last {config.execution_result_max:,} of each",
        f"| {limits.EFFECTS_MAX:,}, with results of {limits.EFFECT_RESULTS_BYTES_MAX // 2**20} MiB",
        f"| {entry.idempotency_window_s / 3600:g} h from acceptance",
        f"delivery id {limits.DELIVERY_WINDOW_S / 3600:g} h |",
    ):
        assert line in text, line
