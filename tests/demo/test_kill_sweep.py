"""The demo's own graph, killed at every commit boundary: the end is that of a run without a kill.

Each child process is killed with SIGKILL before a commit, after it and before its acknowledgement,
or after its acknowledgement, and started again on the same store.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host.demo.evidence import Evidence, entered_by, read_evidence
from greenroom.actors.host.demo.ledger import read_ledger
from greenroom.actors.host.demo.payloads import own_payloads
from greenroom.storage.check import check, verify_pages

CHILD = Path(__file__).parent / "sweep_child.py"
MOMENTS_MAX = 60


def _executions() -> dict[str, Any]:
    issue = next(one for one in own_payloads() if one.event == "issues")
    push = next(one for one in own_payloads() if one.event == "push")
    return {
        name: {"payload": one.json(), "headers": {"x-github-event": one.event}}
        for name, one in (("first-issue", issue), ("push", push), ("same-issue", issue))
    }


def _run(folder: Path, kill: tuple[str, int] | None) -> tuple[int, int]:
    """Run a child to its end; returns its exit status and its pid."""
    task = {
        "store": str(folder / "store"),
        "ledger": str(folder / "ledger"),
        "output": str(folder / "output"),
        "executions": _executions(),
        "kill": kill,
    }
    child = subprocess.Popen([sys.executable, str(CHILD), json.dumps(task)], stderr=subprocess.PIPE)
    _, told = child.communicate(timeout=90)
    assert child.returncode in (0, -9), told.decode()
    return child.returncode, child.pid


def _undisturbed(folder: Path) -> str:
    folder.mkdir()
    assert _run(folder, None)[0] == 0
    return (folder / "output").read_text()


def _nothing_repeats(folder: Path, killed: Evidence, second: int) -> None:
    entered = entered_by(second, read_ledger(folder / "ledger"))
    assert [run for run in entered if run in killed.closed] == []


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["before", "after", "entered"])
def test_a_kill_at_any_boundary_changes_no_output_and_repeats_no_finished_step(
    tmp_path: Path, moment: str
) -> None:
    """Every boundary of three executions and of the digests that their ends start."""
    wanted = _undisturbed(tmp_path / "undisturbed")
    kills = 0
    for number in range(1, MOMENTS_MAX):
        folder = tmp_path / str(number)
        folder.mkdir()
        if _run(folder, (moment, number))[0] == 0:
            break
        kills += 1
        killed = read_evidence(folder / "store")
        status, second = _run(folder, None)
        assert status == 0
        assert (folder / "output").read_text() == wanted, number
        _nothing_repeats(folder, killed, second)
        assert check(folder / "store") == []
        assert verify_pages(folder / "store") == []
    assert 15 <= kills < MOMENTS_MAX - 1
