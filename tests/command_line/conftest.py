"""Stores that another process has open for writing."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


@contextmanager
def _held_open(script: str, path: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        try:
            assert writer.stdout.readline() == "ready\n"
            yield
        finally:
            writer.stdin.close()
    assert writer.returncode == 0


@pytest.fixture(scope="session")
def held_open() -> Callable[[str, Path], AbstractContextManager[None]]:
    """Runs a script that opens the store at a path, says when it is ready, and reads its input
    until that ends.
    """
    return _held_open
