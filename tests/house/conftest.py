"""The files that the house rules are about."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("protocol", "storage", "actors", "benchmarks")
NOT_OURS = {
    *(".git", ".venv", "build", "dist", "greenroom.egg-info", "__pycache__"),
    *(".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
}


def _python_files(folder: Path) -> Iterator[Path]:
    """Every `.py` below a folder, once: links are not followed."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        yield from (Path(where) / name for name in sorted(names) if name.endswith(".py"))


@pytest.fixture(scope="session")
def layer_sources(repository: Path) -> dict[str, str]:
    """Text of every module of the four packages, by its path from the repository."""
    return {
        path.relative_to(repository).as_posix(): path.read_text(encoding="utf-8")
        for folder in FOLDERS
        for path in _python_files(repository / folder)
    }


@pytest.fixture(scope="session")
def all_sources(repository: Path, layer_sources: dict[str, str]) -> dict[str, str]:
    """Text of every module of the repository, tests, examples and set-up included."""
    found = dict(layer_sources)
    for folder in ("src", "tests", "examples"):
        for path in _python_files(repository / folder):
            found[path.relative_to(repository).as_posix()] = path.read_text(encoding="utf-8")
    found["setup.py"] = (repository / "setup.py").read_text(encoding="utf-8")
    return found


@pytest.fixture(scope="session")
def tracked_files(repository: Path) -> list[Path]:
    """Every file that git tracks; outside a clone, every file that is ours."""
    if shutil.which("git") and (repository / ".git").exists():
        # A checkout may belong to another user, as in a container; git would refuse to read it.
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
        listing = subprocess.run(
            command, cwd=repository, capture_output=True, text=True, check=True
        )
        names = [repository / name for name in listing.stdout.split("\0") if name]
    else:
        names = [
            Path(where) / name
            for where, _, files in os.walk(repository)
            for name in files
            if not NOT_OURS.intersection(Path(where).relative_to(repository).parts)
        ]
    return [path for path in names if path.is_file() and not path.is_symlink()]
