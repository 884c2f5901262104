"""The README's blocks of code, and a way to run files like a reader would."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 60


class Block(NamedTuple):
    """One fenced block: its language, and its text."""

    language: str
    text: str

    @property
    def file(self) -> str:
        """The name in the first line of a block of Python: `# first_agent.py`."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def code(self) -> str:
        """What stands below the name."""
        return self.text.partition("\n")[2]


@pytest.fixture(scope="session")
def blocks(repository: Path) -> list[Block]:
    """Every fenced block of the README, in order."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    return [Block(*found) for found in _FENCE.findall(text)]


@pytest.fixture(scope="session")
def python() -> Callable[..., tuple[int, str]]:
    """Runs `python ARGUMENTS` in a folder; returns its exit code and standard output."""

    def run(folder: Path, *arguments: str | Path) -> tuple[int, str]:
        known = [path for path in (os.environ.get("PYTHONPATH"),) if path]
        # Unbuffered: a process that kills itself would take what it printed along.
        done = subprocess.run(
            [sys.executable, "-W", "error", "-u", *map(str, arguments)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *known])},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout

    return run
