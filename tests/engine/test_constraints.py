"""Constraints are checked in the step that closes a node run, and the record says what happened."""

from typing import Any

import pytest

from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import Dispatch, Resume
from greenroom.protocol.errors import InvalidConfig, InvalidExpression
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Status
from greenroom.protocol.goal import Constraint, Goal
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.values import decode_value

VIOLATION = EventType.CONSTRAINT_VIOLATION


def hard(check: str, **fields: Any) -> Constraint:
    """A hard constraint."""
    return Constraint(id=fields.pop("id", "rule"), check=check, **fields)


def soft(check: str, **fields: Any) -> Constraint:
    """A soft constraint."""
    return Constraint(id=fields.pop("id", "wish"), check=check, constraint_type="soft", **fields)


def names(run: Any) -> list[str]:
    """The ids of the constraints whose violations were published, in order."""
    return [decode_value(event.data)["constraint_id"] for event in run.events(VIOLATION)]


def test_a_broken_hard_constraint_ends_the_execution_and_keeps_what_was_done(start: Any) -> None:
    """Failed with the constraint and the reason; the node ended, and its output is recorded."""
    rule = hard("cost < 5", id="budget", description="spend little")
    run = start(["a", "b"], ["a>b"], {"cost": 0}, rules=[rule])
    run.succeed({"cost": 7, "label": "dear"})
    assert run.known.status is Status.FAILED
    assert run.known.error.startswith("constraint 'budget' is violated: 'cost < 5' does not hold")
    assert run.value("label") == "dear"
    assert run.last.closed
    assert [event.type for event in run.last.events] == [
        "node_completed",
        "constraint_violation",
        "execution_failed",
    ]
    event = run.events(VIOLATION)[0]
    assert (event.node, event.execution, event.stream) == ("a", "session_1", "api")
    assert event.correlation == "correlation_1"
    data = run.data(VIOLATION)
    assert (data["constraint_id"], data["constraint_type"]) == ("budget", "hard")
    assert data["description"] == "spend little"
    assert "steps=1" in data["details"]


def test_it_ends_also_what_would_have_completed_or_paused(start: Any) -> None:
    """A terminal node does not make it a success."""
    run = start(["a"], terminal=["a"], rules=[hard("output.good")])
    run.succeed({"good": False})
    assert run.known.status is Status.FAILED
    run = start(["a"], terminal=["a"], rules=[hard("output.good")])
    run.succeed({"good": True})
    assert run.known.status is Status.COMPLETED
    assert names(run) == []


def test_a_resumed_one_goes_on_behind_the_node_that_broke_it(start: Any) -> None:
    """The node had ended, so it is never run again."""
    run = start(["a", "b"], ["a>b"], {"cost": 0}, rules=[hard("cost < 5")])
    run.succeed({"cost": 7})
    assert run.token.ended is not None
    run.tick(Resume(run.encoded({"cost": 1})))
    run.tick(Dispatch())
    assert run.token.node == "b"
    run.succeed({})
    assert run.known.status is Status.COMPLETED


@pytest.mark.parametrize(
    ("check", "ends"),
    [
        ("metrics.steps < 3", 3),
        ("metrics.steps <= 3", 4),
        ("metrics.latency_ms < 15", 3),
        ("metrics.run == 1", 0),
        ("metrics['steps'] < 2", 2),
        ("'secret' not in memory", 2),
        ("output.get('n', 0) < 2", 3),
        ("result != 2", 3),
    ],
)
def test_checks_see_output_memory_and_metrics(start: Any, check: str, ends: int) -> None:
    """As the step leaves them; each node run takes 5 ms."""
    nodes = [NodeSpec(id="a", max_node_visits=0)]
    run = start(nodes, ["a>a"], max_steps=6, rules=[hard(check)])
    for number in range(6):
        if run.known.status is not Status.RUNNING:
            break
        run.succeed({"n": number, "result": number, **({"secret": 1} if number == 1 else {})})
    assert run.known.status is (Status.FAILED if ends else Status.EXHAUSTED)
    assert run.known.steps == (ends or 6)


def test_failures_and_retries_are_checked_after_a_failed_attempt(start: Any) -> None:
    """Before the attempts are used up; the attempt counts as failed, and can be taken up again."""
    nodes = [NodeSpec(id="a", max_retries=5, backoff_initial_s=0.0)]
    run = start(nodes, rules=[hard("metrics.failures < 2", id="calm")])
    run.fail()
    assert run.known.status is Status.RUNNING
    run.fail()
    assert run.known.status is Status.FAILED
    assert "constraint 'calm'" in run.known.error
    assert not run.last.closed
    assert run.known.retry_details == {"a": 2}
    assert run.token.ended is None
    assert run.token.failures == 2


def test_what_looks_at_an_output_is_not_checked_when_there_is_none(start: Any) -> None:
    """A failed attempt has no output, and must not count as one that is wrong."""
    nodes = [NodeSpec(id="a", max_retries=2, backoff_initial_s=0.0)]
    run = start(nodes, rules=[hard("output.good"), soft("result > 1")])
    run.fail()
    assert run.known.status is Status.RUNNING
    assert names(run) == []
    run.succeed({"good": True, "result": 2})
    assert run.known.status is Status.COMPLETED


def test_a_broken_soft_constraint_is_told_once_for_each_change(start: Any) -> None:
    """Not once for each step for ever."""
    nodes = [NodeSpec(id="a", max_node_visits=0)]
    run = start(nodes, ["a>a"], max_steps=9, rules=[soft("output.n < 2"), soft("true", id="x")])
    told = []
    for value in (1, 2, 3, 1, 1, 5):
        run.succeed({"n": value})
        told.append(len(names(run)))
    assert told == [0, 1, 1, 1, 1, 2]
    assert run.known.violated == ("wish",)
    assert run.known.status is Status.RUNNING


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_check_that_cannot_be_evaluated_does_not_hold(start: Any, kind: str) -> None:
    """Never a silent pass: the reason is in the event, and in the error of a hard one."""
    rule = Constraint(id="rule", check="confidence > 0.5", constraint_type=kind)
    run = start(["a"], rules=[rule])
    run.succeed({})
    assert names(run) == ["rule"]
    assert "cannot be evaluated" in run.data(VIOLATION)["details"]
    assert "there is no name 'confidence'" in run.data(VIOLATION)["details"]
    assert run.known.status is (Status.FAILED if kind == "hard" else Status.COMPLETED)
    if kind == "hard":
        assert "cannot be evaluated" in run.known.error


def test_every_broken_constraint_is_told_and_the_first_hard_one_is_the_error(start: Any) -> None:
    """In the order of the goal."""
    rules = [soft("false"), hard("true", id="kept"), hard("false", id="one"), hard("1 > 2", id="2")]
    run = start(["a"], rules=rules)
    run.succeed({})
    assert names(run) == ["wish", "one", "2"]
    assert run.known.error.startswith("constraint 'one'")


@pytest.mark.parametrize(
    "check", ["metrics.stepz < 1", "import os", "open('x')", "cost <", "x.__class__"]
)
def test_a_check_that_is_none_is_refused_before_anything_runs(graph_of: Any, check: str) -> None:
    """With the constraint's id."""
    with pytest.raises(InvalidExpression, match="constraint 'rule'"):
        compile_plan(graph_of(["a"], []), [hard(check)])


def test_what_is_no_text_is_no_check() -> None:
    """And a goal has a bounded number of rules."""
    with pytest.raises(InvalidConfig, match="check must be an expression"):
        Constraint(id="rule", check=len)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match="over 100"):
        Goal(id="goal", constraints=[Constraint(id=f"c{one}") for one in range(101)])


def test_checks_are_part_of_what_the_engine_decides_by(graph_of: Any) -> None:
    """Texts for people, and constraints without a check, are not."""
    graph = graph_of(["a"], [])
    plain = compile_plan(graph).digest
    assert compile_plan(graph, [Constraint(id="told", description="be kind")]).digest == plain
    checked = compile_plan(graph, [hard("true")]).digest
    assert compile_plan(graph, [hard("true", description="told")]).digest == checked
    others = {
        compile_plan(graph, [rule]).digest
        for rule in (hard("false"), soft("true", id="rule"), hard("true", id="other"))
    }
    assert len(others | {plain, checked}) == 5
