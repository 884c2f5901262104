"""Commands, exit codes, and errors of one line."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.actors.host import command_line
from greenroom.actors.host.command_line import BAD_INPUT, OK, PROBLEMS, run
from greenroom.storage.lmdb_store import open_store

VERSION = importlib.metadata.version("greenroom")


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert written.err.startswith("greenroom: ")
    return written.err


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    open_store(path).close()
    return path


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["--nothing"], "No such option: --nothing"),
        (["check"], "Missing argument"),
        (["demo", "--payloads"], "--payloads"),
        (["demo", "extra"], "extra"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == BAD_INPUT
    assert why in _one_line(capsys)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == OK
    assert capsys.readouterr().out == f"greenroom {VERSION}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["demo", "--help"], ["check", "--help"]])
def test_help_is_given_on_standard_output(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == OK
    written = capsys.readouterr()
    assert "Usage" in written.out
    assert written.err == ""


def test_a_sound_store_is_said_to_be_so(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(store)]) == OK
    assert "no problems found" in capsys.readouterr().out
    assert run(["check", str(store), "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {"store": str(store), "problems": []}


def test_problems_are_listed_one_a_line_and_exit_1(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the check itself finds is tried with the store; here only how it is told."""
    monkeypatch.setattr(command_line, "check_store", lambda path: ["first", "second"])
    assert run(["check", str(store)]) == PROBLEMS
    assert capsys.readouterr().out == "first\nsecond\n"
    assert run(["check", "--json", str(store)]) == PROBLEMS
    assert json.loads(capsys.readouterr().out)["problems"] == ["first", "second"]


def test_a_store_that_is_not_there_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(tmp_path / "nothing")]) == BAD_INPUT
    assert "nothing" in _one_line(capsys)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_plain_file_in_place_of_a_store_is_bad_input(
    tmp_path: Path, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no store")
    assert run(["check", str(tmp_path / "file" / inside)]) == BAD_INPUT
    assert str(tmp_path / "file" / inside) in _one_line(capsys)


@pytest.mark.parametrize("size", [0, 5_000, 20_000])
def test_a_store_that_was_cut_off_is_a_problem(
    store: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(store / "data.mdb", size)
    assert run(["check", str(store)]) == PROBLEMS
    written = capsys.readouterr()
    assert written.err == ""
    assert f"data.mdb has {size} " in written.out or "is not a store" in written.out
    assert written.out.count("\n") == 1


def test_a_file_that_is_no_store_is_a_problem(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "data.mdb").write_bytes(b"not a database" * 1000)
    assert run(["check", str(store)]) == PROBLEMS
    assert "data.mdb" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_bad_payload_file_is_bad_input_and_nothing_is_started(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "payloads"
    folder.mkdir()
    (folder / "issues.00.json").write_text(content)
    store = tmp_path / "store"
    assert run(["demo", "--payloads", str(folder), "--store", str(store)]) == BAD_INPUT
    assert "issues.00.json" in _one_line(capsys)
    assert not store.exists()


def test_a_file_as_store_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["demo", "--store", str(tmp_path / "file")]) == BAD_INPUT
    assert "is not a folder" in _one_line(capsys)


@pytest.mark.parametrize("folder", ["/proc/x", "/proc", "/dev/null/x"])
def test_a_store_folder_that_cannot_be_made_is_bad_input_before_the_first_stage(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--store", folder]) == BAD_INPUT
    assert folder in _one_line(capsys)


def test_a_traceback_is_shown_with_debug_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(tmp_path / "nothing"), "--debug"]) == BAD_INPUT
    written = capsys.readouterr().err
    assert "Traceback" in written
    assert written.splitlines()[-1].startswith("greenroom: ")


def test_a_fault_of_ours_is_one_line_too(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> list[str]:
        raise ZeroDivisionError("on\ntwo lines")

    monkeypatch.setattr(command_line, "check_store", fail)
    assert run(["check", str(store)]) == PROBLEMS
    assert "ZeroDivisionError: on two lines (--debug shows where)" in _one_line(capsys)


def test_an_interrupt_exits_130(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "check_store", interrupt)
    assert run(["check", str(store)]) == 130
    assert "interrupted" in _one_line(capsys)


@pytest.mark.parametrize(
    "way", [["-m", "greenroom"], ["-c", "import greenroom.__main__ as m; m.main()"]]
)
def test_the_module_runs_as_a_program(way: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *way, "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"greenroom {VERSION}\n", "")


def test_a_reader_that_goes_away_is_no_traceback(store: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m greenroom check {store} | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
