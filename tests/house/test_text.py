"""What no tracked file may hold: the place where it was written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

# A path starts there: `https://host/work/x` and `a/root/b` are not paths of a machine.
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:root|work|home/\w+|Users/\w+)/")


def machine_paths(path: str, text: str) -> Iterator[str]:
    """Lines that name a folder of one machine."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            yield f"{path}:{number}: names the machine's folder {found[0]}"


def test_no_tracked_file_names_a_folder_of_one_machine(
    repository: Path, tracked_files: list[Path]
) -> None:
    """Every text file that git tracks; bytes that are no UTF-8 are not text."""
    found: list[str] = []
    for path in tracked_files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += machine_paths(path.relative_to(repository).as_posix(), text)
    assert not found, "\n".join(found)


def test_tracked_files_are_found(repository: Path, tracked_files: list[Path]) -> None:
    """A rule on no files would hold for ever."""
    assert {repository / "pyproject.toml", repository / "Makefile"} <= set(tracked_files)


@pytest.mark.parametrize("folder", ["root", "work", "home/ann", "Users/ann"])
@pytest.mark.parametrize("before", ["", "see ", "path = '", "(", "file="])
def test_the_rule_bites(folder: str, before: str) -> None:
    """A path in code, prose or a setting is found."""
    (breach,) = machine_paths("a.md", f"first\n{before}/{folder}/store")
    assert breach.startswith("a.md:2: ")


@pytest.mark.parametrize(
    "text", ["https://example.org/work/1", "src/root/x", "./work/x", "~/work/x"]
)
def test_addresses_and_relative_paths_are_left_alone(text: str) -> None:
    """Only an absolute path of a machine is one."""
    assert list(machine_paths("a.md", text)) == []
