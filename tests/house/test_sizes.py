"""Limits that keep a file readable in one sitting."""

import ast
from collections.abc import Iterator

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
LINE_CHARACTERS_MAX = 100


def long_files(path: str, text: str) -> Iterator[str]:
    """Files that are to be split by idea."""
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{path}:{FILE_LINES_MAX + 1}: the file has {lines} lines, at most {FILE_LINES_MAX}"


def long_functions(path: str, text: str) -> Iterator[str]:
    """Functions, nested ones too, from `def` to their last line."""
    for node in ast.walk(ast.parse(text, filename=path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                name, limit = node.name, FUNCTION_LINES_MAX
                yield f"{path}:{node.lineno}: {name} has {lines} lines, at most {limit}"


def long_lines(path: str, text: str) -> Iterator[str]:
    """Lines wider than the limit, in characters."""
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            yield f"{path}:{number}: {len(line)} characters, at most {LINE_CHARACTERS_MAX}"


def test_no_file_is_too_long(all_sources: dict[str, str]) -> None:
    """Every module of the repository."""
    found = [breach for path, text in all_sources.items() for breach in long_files(path, text)]
    assert not found, "\n".join(found)


def test_no_function_is_too_long(all_sources: dict[str, str]) -> None:
    """Every module of the repository."""
    found = [breach for path, text in all_sources.items() for breach in long_functions(path, text)]
    assert not found, "\n".join(found)


def test_no_line_is_too_long(all_sources: dict[str, str]) -> None:
    """Every module of the repository."""
    found = [breach for path, text in all_sources.items() for breach in long_lines(path, text)]
    assert not found, "\n".join(found)


def test_tests_and_packages_are_both_looked_at(all_sources: dict[str, str]) -> None:
    """A limit on no files would hold for ever."""
    folders = {path.partition("/")[0] for path in all_sources}
    assert folders >= {"protocol", "storage", "actors", "benchmarks", "tests", "src", "setup.py"}


def test_links_are_not_followed(all_sources: dict[str, str]) -> None:
    """A module that is reached twice would be reported twice."""
    inside = {path for path in all_sources if path.startswith("src/")}
    assert inside == {"src/greenroom/__init__.py", "src/greenroom/__main__.py"}


def test_the_limit_on_files_bites() -> None:
    """One line over is found; the limit itself is fine."""
    assert list(long_files("a.py", "x = 1\n" * FILE_LINES_MAX)) == []
    (breach,) = long_files("a.py", "x = 1\n" * (FILE_LINES_MAX + 1))
    assert breach.startswith(f"a.py:{FILE_LINES_MAX + 1}: ")


def test_the_limit_on_functions_bites() -> None:
    """One line over is found, in a method as well; the limit itself is fine."""
    body = "        pass\n"
    fitting = "class A:\n    async def f(self):\n" + body * (FUNCTION_LINES_MAX - 1)
    assert list(long_functions("a.py", fitting)) == []
    (breach,) = long_functions("a.py", fitting + body)
    assert breach.startswith("a.py:2: f has ")


def test_the_limit_on_lines_bites() -> None:
    """One character over is found; the limit itself is fine."""
    fitting = "#" * LINE_CHARACTERS_MAX
    assert list(long_lines("a.py", fitting)) == []
    (breach,) = long_lines("a.py", f"x = 1\n{fitting}#\n")
    assert breach.startswith("a.py:2: ")
