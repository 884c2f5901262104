"""A hundred thousand executions that wait cost a start neither time nor memory."""

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, Summary
from greenroom.protocol.execution import Accepted, Ended, Phase, Status, Token
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.protocol.timers import TimerMove
from greenroom.protocol.versions import NodeVersion, PlanVersion
from greenroom.storage.lmdb_store import open_reader, open_store

pytestmark = pytest.mark.faults

WAITING = 100_000
OVERDUE = 500
GROUP = 2_000
OPEN_S_MAX = 2.0
BYTES_MAX = 50 * 1024 * 1024
EARLIER = PlanVersion(  # another version of the graph, which today's fits
    digest=b"earlier.",
    graph_id="graph",
    version="0",
    nodes={"nap": NodeVersion(node_type="function", ways=("after",))},
)
CHILD = str(Path(__file__).with_name("waiting_child.py"))


def asleep(number: int, now: float) -> Commit:
    """One execution that is accepted asleep; the first ones should have woken already."""
    name = f"e{number}"
    due = now - 1 if number < OVERDUE else now + 3_600 + number
    patch = Patch(
        accepted=Accepted(
            execution_id=name,
            entry_point="main",
            entry_node="nap",
            graph_id="graph",
            goal_id="goal",
            correlation_id=name,
            accepted_at=now,
        ),
        status=Status.WAITING,
        tokens={1: Token(node="nap", attempt=1, phase=Phase.SLEEPING, due=due, ended=Ended())},
        visits={"nap": 1},
        path=("nap",),
        steps=1,
        started_at=now,
    )
    record = JournalRecord(
        seq=1, at=now, incarnation=0, plan=EARLIER.digest, cause=Cause(tick="accept"), patch=patch
    )
    summary = Summary(
        execution_id=name,
        entry_point="main",
        goal_id="goal",
        correlation_id=name,
        status=Status.WAITING,
        accepted_at=now,
        updated_at=now,
        version=EARLIER.digest,
    )
    return Commit(
        commit_id=number,
        stream="",
        incarnation=0,
        execution_id=name,
        record=msgspec.Raw(encode(record)),
        summary=summary,
        timer=TimerMove(None, due),
    )


def test_a_hundred_thousand_waiting_are_neither_read_nor_held_by_a_start(tmp_path) -> None:
    """In a process of its own; the machine may be busy, so the fastest of five starts counts."""
    path, now = tmp_path / "store", time.time()
    store = open_store(path)
    store.note_plan(EARLIER.digest, msgspec.Raw(encode(EARLIER)))
    for first in range(0, WAITING, GROUP):
        store.commit([asleep(number, now) for number in range(first, first + GROUP)], now)
    store.mark_clean()
    store.close()
    open_s = []
    for overdue in (OVERDUE, 0, 0, 0, 0):
        done = subprocess.run(
            [sys.executable, CHILD, str(path), str(overdue)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert max(said["opened_bytes"], said["bytes"]) < BYTES_MAX, said
        open_s.append(said["open_s"])
        if overdue:
            assert (said["waiting"], said["cancelled"]) == (WAITING, True)
    assert min(open_s) < OPEN_S_MAX, open_s
    reader = open_reader(path)
    try:
        left = reader.read(lambda r: r.counts("main"))[Status.WAITING]
        assert left == WAITING - OVERDUE - 1
    finally:
        reader.close()
