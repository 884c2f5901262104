"""The proof bites: a repeated step, a lost execution and a dead child would all be seen."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from greenroom.actors.host.demo import process
from greenroom.actors.host.demo.evidence import NodeRun, entered_by, read_evidence
from greenroom.actors.host.demo.ledger import LedgerLine
from greenroom.actors.host.demo.parent import DemoOptions, run_demo
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, Summary
from greenroom.protocol.errors import GreenroomError
from greenroom.protocol.execution import Accepted, Phase, Status, Token
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.storage.lmdb_store import open_store

NOBODY_SERVES = """
import json, sys
asked = json.loads(sys.stdin.readline())
sys.stderr.write("my port is wrong\\n")
sys.stderr.flush()
print(json.dumps({"number": asked["number"], "port": 1, "recovered": 0}), flush=True)
sys.stdin.read()
"""


def _running(node: str, visit: int = 1) -> Token:
    return Token(node=node, visit=visit, attempt=1, phase=Phase.RUNNING)


Write = Callable[..., None]


@pytest.fixture
def steps(tmp_path: Path) -> Write:
    """`steps(status, patch, ...)` stores one execution "run" whose journal has these patches."""

    def write(status: Status, *patches: Patch) -> None:
        store = open_store(tmp_path / "store")
        ordinal = 0
        for seq, patch in enumerate(patches, start=1):
            cause = Cause(tick="any")
            record = JournalRecord(
                seq=seq, at=1.0, incarnation=1, plan=b"p", cause=cause, patch=patch
            )
            summary = Summary(
                execution_id="run",
                entry_point="github",
                goal_id="goal",
                correlation_id="run",
                status=Status.RUNNING if seq < len(patches) else status,
                accepted_at=1.0,
                updated_at=1.0,
            )
            if seq == 1:
                store.raise_fence("github")
            outcome = store.commit(
                [
                    Commit(
                        commit_id=seq,
                        stream="github",
                        incarnation=1,
                        execution_id="run",
                        ordinal=ordinal,
                        expected_seq=seq - 1,
                        record=msgspec.Raw(encode(record)),
                        summary=summary if seq in (1, len(patches)) else None,
                    )
                ],
                1.0,
            )[0]
            assert outcome.kind == "applied", outcome
            ordinal = outcome.ordinal
        store.close()

    return write


ACCEPTED = Accepted(
    execution_id="run",
    entry_point="github",
    entry_node="a",
    graph_id="g",
    goal_id="goal",
    correlation_id="run",
    accepted_at=1.0,
)


def test_a_run_is_closed_by_the_step_that_moves_on_and_not_before(
    steps: Write, tmp_path: Path
) -> None:
    steps(
        Status.RUNNING,
        Patch(accepted=ACCEPTED, status=Status.QUEUED, tokens={1: Token(node="a", visit=0)}),
        Patch(status=Status.RUNNING, tokens={1: _running("a")}),
        Patch(tokens={1: Token(node="a", attempt=2, phase=Phase.RUNNING)}),  # run again
        Patch(tokens={1: _running("b")}),
        Patch(tokens={1: _running("a", visit=2)}),
    )
    seen = read_evidence(tmp_path / "store")
    assert seen.closed == {NodeRun("run", "a", 1), NodeRun("run", "b", 1)}
    assert seen.in_flight == {NodeRun("run", "a", 2)}
    assert seen.steps == 5
    assert seen.unfinished(frozenset({"run", "unknown"})) == {"run", "unknown"}


def test_the_last_step_closes_its_run(steps: Write, tmp_path: Path) -> None:
    steps(
        Status.COMPLETED,
        Patch(accepted=ACCEPTED, status=Status.RUNNING, tokens={1: _running("a")}),
        Patch(status=Status.COMPLETED, tokens={1: None}),
    )
    seen = read_evidence(tmp_path / "store")
    assert seen.closed == {NodeRun("run", "a", 1)}
    assert not seen.in_flight
    assert not seen.unfinished(frozenset({"run"}))
    assert seen.completed("github") == {"run"}
    assert not seen.completed("api")


def test_only_lines_of_that_process_count_and_each_counts() -> None:
    lines = [
        LedgerLine(execution="run", node="a", visit=1, pid=1),
        LedgerLine(execution="run", node="a", visit=1, pid=2),
        LedgerLine(execution="run", node="a", visit=1, pid=2),
    ]
    assert entered_by(2, lines) == [NodeRun("run", "a", 1)] * 2


def test_a_child_that_does_not_serve_ends_the_demo_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nobody_serves.py").write_text(NOBODY_SERVES)
    monkeypatch.setattr(process, "CHILD_MODULE", "nobody_serves")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(GreenroomError, match=r"did not answer .* my port is wrong"):
        run_demo(DemoOptions(quiet=True, store=tmp_path / "store"))
