"""A process that dies while executions are forked and pruned leaves every fork whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = str(Path(__file__).with_name("forks_child.py"))

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("point", ["commit.before_sync", "commit.after_sync"])
def test_no_kill_between_a_fork_and_the_end_of_its_parent_loses_its_beginning(
    tmp_path: Path, point: str
) -> None:
    """At every commit: of the forks, of their first steps, of the parents' ends, which prune them
    for their number, and of the housekeeping, which prunes the last one for its age.
    """
    child = subprocess.run(
        [sys.executable, CHILD, str(tmp_path), point], capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert [one["problems"] for one in lines] == [[]] * len(lines)
    assert [one["killed"] for one in lines] == [True] * (len(lines) - 1) + [False]
    assert len(lines) > 15
    assert lines[-1]["forks"] == 20
    assert lines[-1]["left"] == 0, "nothing refers to an execution that is gone"
