"""A process that dies during a commit loses nothing acknowledged and leaves nothing by halves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.protocol.execution import Status
from greenroom.storage.check import check, verify_pages
from greenroom.storage.lmdb_store import open_store

CHILD = str(Path(__file__).with_name("child.py"))

pytestmark = pytest.mark.faults


def stored_groups(path: Path) -> int:
    """Reopen, check everything, and return how many whole groups are there."""
    assert verify_pages(path) == []
    store = open_store(path)
    try:
        assert check(store) == []
        found = store.read(lambda reader: reader.executions(limit=10_000))
        assert {one.summary.status for one in found} <= {Status.COMPLETED}
        assert {one.seq for one in found} <= {3}
        assert store.read(lambda reader: reader.last_event()) == 3 * len(found)
        return len(found)
    finally:
        store.close()


@pytest.mark.parametrize("reach", [1, 2, 7])
@pytest.mark.parametrize(
    ("failpoint", "extra"), [("commit.before_sync", 0), ("commit.after_sync", 1)]
)
def test_a_kill_at_a_boundary_keeps_what_was_synced(tmp_path, failpoint, extra, reach) -> None:
    path = tmp_path / "store"
    # Opening commits the epoch, which passes the second boundary once.
    reach_in_child = reach + extra
    child = subprocess.run(
        [sys.executable, CHILD, "commit", str(path), failpoint, str(reach_in_child)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == -9, child.stderr
    acked = [json.loads(line) for line in child.stdout.splitlines()][1:]
    assert [one["acked"] for one in acked] == list(range(1, reach))
    assert all(one["kinds"] == ["applied"] * 3 for one in acked)
    assert stored_groups(path) == reach - 1 + extra


def test_a_kill_at_any_moment_keeps_what_was_acknowledged(tmp_path) -> None:
    """The parent kills the child while it runs, several times over the same store."""
    for acks in (1, 5, 23):
        path = tmp_path / f"store{acks}"
        child = subprocess.Popen(
            [sys.executable, CHILD, "commit", str(path), "never", "1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(acks + 1):
            child.stdout.readline()
        child.kill()
        rest, _ = child.communicate()
        acked = acks + sum(1 for line in rest.splitlines() if line.endswith("}"))
        assert stored_groups(path) in (acked, acked + 1)
