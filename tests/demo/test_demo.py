"""The demo as a user runs it: one command, a real kill, and numbers that add up."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from greenroom.storage.check import check
from greenroom.storage.lmdb_store import open_store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(110)]

PUBLIC_PAYLOADS = Path(__file__).parents[3] / "shared" / "data" / "github-webhooks"


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "greenroom", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )


def _numbers(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_json_gives_one_object_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    store = tmp_path / "store"
    told = _numbers(_run("--json", "--store", str(store)))
    assert told["lost"] == 0
    assert told["repeated_steps"] == 0
    assert told["accepted"] == told["completed"] >= 24
    assert told["rejected"] >= 3
    assert told["duplicates"] >= 4
    assert told["stream_restarts"] >= 1
    assert told["recovered"] >= 5
    assert told["elapsed_s"] < 20
    assert check(store) == []


def test_a_pipe_gets_a_plain_report(tmp_path: Path) -> None:
    done = _run()
    assert done.returncode == 0, done.stderr + done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "PROVED" in done.stdout
    assert done.stderr.splitlines()[0].startswith("1/6 ")
    assert len(done.stderr.splitlines()) == 6


@pytest.mark.skipif(not PUBLIC_PAYLOADS.is_dir(), reason="the public payloads are not here")
def test_githubs_own_examples_are_triaged_too(tmp_path: Path) -> None:
    told = _numbers(_run("--json", "--payloads", str(PUBLIC_PAYLOADS)))
    assert told["accepted"] == told["completed"] >= 76
    assert told["lost"] == told["repeated_steps"] == 0


def test_a_store_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with_store = open_store(tmp_path / "store")
    try:
        done = _run("--json", "--store", str(tmp_path / "store"))
    finally:
        with_store.close()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "is in use by process" in done.stderr


def test_the_demo_runs_again_on_the_store_that_it_kept(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    first, second = (_numbers(_run("--json", "--store", store)) for _ in range(2))
    assert first["lost"] == second["lost"] == 0
    assert second["repeated_steps"] == 0
