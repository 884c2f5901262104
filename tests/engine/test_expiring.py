"""Questions with a deadline: the default is taken, or the node has failed."""

from typing import Any

import pytest

from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.ticks import (
    Answer,
    Dispatch,
    Due,
    Hold,
    NodeSucceeded,
    Pause,
    Resume,
)
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.questions import AskedQuestion, QuestionEnding
from greenroom.protocol.values import answer_digest

FAILED = EdgeSpec(id="f", source="ask", target="give_up", condition="on_failure")
NODES = ["ask", "send", "give_up"]
SENT = EdgeSpec(id="s", source="ask", target="send", condition="on_success")
EDGES = [SENT, FAILED]


def ask(run: Any, *questions: tuple[str, float | None, Any]) -> None:
    """Let the running node ask: (key, seconds to its deadline, default or ...)."""
    asked = tuple(
        AskedQuestion(
            prompt="?",
            to=key,
            deadline=None if wait is None else run.now + wait,
            default=None if default is ... else run.encoded({"x": default})["x"],
        )
        for key, wait, default in questions
    )
    tick = NodeSucceeded(run.token_id, run.token.visit, run.token.attempt, {}, 1, questions=asked)
    assert run.tick(tick) is not None


def answer(run: Any, number: int, value: object = 1) -> Any:
    raw = run.encoded({"x": value})["x"]
    return run.tick(
        Answer(number=number, value=raw, digest=answer_digest(raw), by=None, permit=True)
    )


def endings(run: Any) -> dict[int, QuestionEnding]:
    changes = [one for transition in run.transitions for one in transition.questions]
    return {one.number: one.closing.ending for one in changes if one.closing is not None}


@pytest.mark.parametrize("permit", [True, False])
def test_at_the_deadline_the_default_is_the_answer(start: Any, permit: bool) -> None:
    run = start(NODES, EDGES)
    ask(run, ("ok", 60.0, "by default"))
    assert due_at(run.known) == run.now + 60
    run.now += 59
    assert run.tick(Due(permit=permit)) is None
    run.now += 1
    run.tick(Due(permit=permit))
    assert run.value("ok") == "by default"
    assert (run.token.node, run.known.questions) == ("send", {})
    assert run.known.status is (Status.RUNNING if permit else Status.QUEUED)
    closing = run.last.questions[0].closing
    raw = run.encoded({"x": "by default"})["x"]
    assert (closing.ending, closing.digest) == (QuestionEnding.EXPIRED, answer_digest(raw))
    assert run.data("question_expired") == {
        "question_id": "session_1:q1", "to": "ok", "default_taken": True,
    }  # fmt: skip
    assert answer(run, 1) is None, "too late"


def test_without_a_default_the_edge_for_failures_is_taken(start: Any) -> None:
    run = start(NODES, EDGES)
    ask(run, ("ok", 60.0, ...), ("why", None, ...))
    run.now += 61
    run.tick(Due(permit=True))
    assert (run.known.status, run.known.path) == (Status.RUNNING, ["ask", "give_up"])
    assert endings(run) == {1: QuestionEnding.EXPIRED, 2: QuestionEnding.CLOSED}
    assert due_at(run.known) is None


def test_without_such_an_edge_the_execution_fails_and_a_resume_brings_the_answer(
    start: Any,
) -> None:
    run = start(["ask", "send"], [SENT])
    ask(run, ("ok", 60.0, ...))
    run.now += 60
    run.tick(Due(permit=True))
    assert run.known.status is Status.FAILED
    assert run.known.error == "question session_1:q1 of node 'ask' was not answered in time"
    run.tick(Resume(run.encoded({"ok": True})))
    run.tick(Dispatch())
    assert (run.known.path, run.value("ok")) == (["ask", "send"], True)


def test_each_question_has_a_deadline_of_its_own(start: Any) -> None:
    run = start(NODES, EDGES)
    ask(run, ("a", 60.0, 1), ("b", 30.0, 2), ("c", None, ...))
    assert due_at(run.known) == run.now + 30
    run.now += 30
    run.tick(Due(permit=True))
    assert (run.known.status, run.token.phase) == (Status.WAITING, Phase.ASKING)
    assert list(run.known.questions) == [1, 3]
    run.now += 30
    run.tick(Due(permit=True))
    assert due_at(run.known) is None
    answer(run, 3, 3)
    assert [run.value(key) for key in "abc"] == [1, 2, 3]
    assert run.token.node == "send"


@pytest.mark.parametrize("rest", [Pause("wait"), Hold("odd")])
def test_nothing_expires_at_rest_and_an_answer_still_counts(start: Any, rest: Any) -> None:
    for answered in (True, False):
        run = start(NODES, EDGES)
        ask(run, ("ok", 60.0, "by default"))
        run.tick(rest)
        run.now += 90
        assert due_at(run.known) is None
        assert run.tick(Due(permit=True)) is None
        if answered:
            answer(run, 1, "by hand")
        run.tick(Resume({}))
        if not answered:
            assert run.known.status is Status.WAITING
            run.tick(Due(permit=False))
        assert (run.known.status, run.token.node) == (Status.QUEUED, "send")
        assert run.value("ok") == ("by hand" if answered else "by default")


def test_the_deadline_of_the_execution_closes_its_questions(start: Any) -> None:
    run = start(NODES, EDGES, deadline=1_060.0)
    ask(run, ("ok", 90.0, "by default"), ("why", None, ...))
    assert due_at(run.known) == 1_060.0
    run.now = 1_060.0
    run.tick(Due(permit=True))
    assert run.known.status is Status.TIMED_OUT
    assert endings(run) == dict.fromkeys((1, 2), QuestionEnding.CLOSED)
    assert (run.known.questions, "ok" in run.known.memory) == ({}, False)


@pytest.mark.parametrize("permit", [True, False])
def test_a_router_sees_the_same_with_and_without_a_permit(start: Any, permit: bool) -> None:
    """What becomes of a failure must not depend on how much else runs."""
    router = NodeSpec(
        id="sort", node_type="router", routes={"success": "send", "failure": "give_up"}
    )
    edge = EdgeSpec(id="to-sort", source="ask", target="sort", condition="on_failure")
    run = start(["ask", "send", "give_up", router], [edge])
    ask(run, ("ok", 60.0, ...))
    run.now += 61
    run.tick(Due(permit=permit))
    assert run.known.status is (Status.RUNNING if permit else Status.QUEUED)
    assert run.token.node == "give_up"
    assert run.known.path == (["ask", "sort", "give_up"] if permit else ["ask", "sort"])
