"""Budgets that ask: what people are asked, what each answer does, and what else may happen then."""

from typing import Any

import msgspec
import pytest

from greenroom.protocol.budget import Budget, BudgetPart
from greenroom.protocol.codec import encode
from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.injecting import Reception, reception
from greenroom.protocol.engine.ticks import (
    Answer,
    Cancel,
    Dispatch,
    Hold,
    Pause,
    Resume,
    Rewind,
)
from greenroom.protocol.engine.transition import Finish, RunNode, StopNode
from greenroom.protocol.execution import ExecutionState, Phase, Status
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.limits import BUDGET_WALL_S_MAX, STEPS_MAX
from greenroom.protocol.questions import QuestionEnding
from greenroom.protocol.values import encode_value

LINE = (["a", "b", "c", "d"], ["a>b", "b>c", "c>d"])
ASKING = Budget(steps=2, on_breach="ask")
RETRIED = NodeSpec(id="a", max_retries=5, backoff_initial_s=0)
WHY = "its budget of steps is used up: 2 of 2, at node 'c'"


def say(run: Any, value: Any, *, permit: bool = False) -> Any:
    """Answer the one question that is open."""
    (number,) = run.known.questions
    raw = msgspec.Raw(encode_value(value))
    return run.tick(Answer(number=number, value=raw, digest=b"d", by="ann", permit=permit))


@pytest.fixture
def asked(start: Any) -> Any:
    """Two of four nodes have run, and the third needs more."""
    run = start(*LINE, budget=ASKING)
    run.succeed()
    run.succeed()
    return run


def test_it_waits_before_the_node_and_the_question_says_what_is_used_up(asked: Any) -> None:
    assert (asked.known.status, asked.known.error) == (Status.WAITING, None)
    assert (asked.token.node, asked.token.attempt, asked.token.ended) == ("c", 0, None)
    assert (asked.token.phase, asked.last.commands) == (Phase.ASKING, ())
    (change,) = asked.last.questions
    assert (change.record.node, change.record.budget, change.record.to) == ("c", "steps", "")
    assert (change.record.deadline, due_at(asked.known)) == (None, None)
    assert WHY in change.record.prompt
    assert "true: with 2 steps more" in change.record.prompt
    data = asked.data("client_input_requested")
    assert (data["budget"], data["prompt"]) == ("steps", change.record.prompt)
    assert asked.known.path == ["a", "b"]


@pytest.mark.parametrize("permit", [False, True])
@pytest.mark.parametrize(("said", "steps"), [(True, 4), (1, 3), (2.0, 4), (10**9, STEPS_MAX)])
def test_what_is_granted_is_added_and_it_goes_on_at_the_node(
    asked: Any, said: Any, steps: int, permit: bool
) -> None:
    closing = say(asked, said, permit=permit)
    assert closing.patch.budget == Budget(steps=steps, on_breach="ask")
    if not permit:
        assert (asked.known.status, asked.token.attempt) == (Status.QUEUED, 0)
        asked.dispatch()
    assert (asked.token.node, asked.token.visit, asked.token.attempt) == ("c", 1, 1)
    assert asked.known.path == ["a", "b", "c"]
    asked.succeed()
    assert asked.known.status is (Status.RUNNING if steps > 3 else Status.WAITING)
    assert asked.known.node_runs == 3


def test_it_is_asked_again_each_time_that_it_needs_more(asked: Any) -> None:
    for number in (1, 2):
        assert list(asked.known.questions) == [number]
        say(asked, 1, permit=True)
        asked.succeed()
    assert asked.known.status is Status.COMPLETED
    assert asked.known.asked == 2


@pytest.mark.parametrize("rest", [None, Pause(), Hold("odd")])
def test_a_no_ends_it_as_a_budget_that_ends_it(asked: Any, start: Any, rest: Any) -> None:
    """Also while it is paused or held: nobody has to resume it for that."""
    ending = start(*LINE, budget=Budget(steps=2))
    ending.succeed()
    ending.succeed()
    if rest is not None:
        asked.tick(rest)
    closing = say(asked, False, permit=rest is None)
    assert (asked.known.status, asked.known.error) == (Status.EXHAUSTED, ending.known.error)
    assert closing.commands == (Finish(Status.EXHAUSTED),)
    assert closing.questions[0].closing.ending is QuestionEnding.ANSWERED
    asked.tick(Resume(budget=Budget()))
    asked.dispatch()
    assert (asked.token.node, asked.token.attempt) == ("c", 1)


def test_a_retry_waits_for_the_answer_and_its_failures_stay_counted(start: Any) -> None:
    run = start([RETRIED], budget=Budget(steps=1, on_breach="ask"))
    run.fail()
    assert (run.known.status, run.token.phase, run.token.attempt) == ("waiting", Phase.ASKING, 1)
    closing = say(run, True, permit=True)
    assert closing.commands == (RunNode(run.token_id, "a", 1, 2),)
    assert (run.token.failures, run.known.budget.steps) == (1, 2)


@pytest.mark.parametrize("permit", [False, True])
def test_a_node_that_runs_is_stopped_when_the_time_is_used_up(start: Any, permit: bool) -> None:
    """It runs again in its visit; the time that an answer takes is nobody's."""
    run = start([NodeSpec(id="a", timeout_s=60.0)], budget=Budget(wall_s=10, on_breach="ask"))
    stopping = run.come_due(permit=True)
    assert stopping.commands == (StopNode(run.token_id),)
    assert (run.known.status, run.token.phase, run.token.due) == ("waiting", Phase.ASKING, None)
    (change,) = stopping.questions
    assert change.record.budget == "wall_s"
    assert "10.000 of 10 s, at node 'a'" in change.record.prompt
    run.now += 1_000.0
    say(run, 2.5, permit=permit)
    if not permit:
        run.dispatch()
    assert (run.token.visit, run.token.attempt) == (1, 2)
    assert due_at(run.known) == pytest.approx(run.now + 2.5)
    run.come_due(permit=True)
    assert (run.known.status, run.known.asked) == (Status.WAITING, 2)


def test_a_second_part_that_is_used_up_is_asked_about_as_well(start: Any) -> None:
    run = start([RETRIED], budget=Budget(steps=1, wall_s=10, on_breach="ask"))
    run.now += 10.0
    run.fail()
    assert run.known.questions[1].budget == "steps"
    again = say(run, True, permit=True)
    assert (again.commands, run.known.status) == ((), Status.WAITING)
    assert run.known.questions[2].budget == "wall_s"
    assert say(run, True, permit=True).commands == (RunNode(run.token_id, "a", 1, 2),)


@pytest.mark.parametrize("answered", ["before", "after"])
@pytest.mark.parametrize("rest", [Pause(), Hold("odd")])
def test_a_rest_keeps_the_question_and_an_answer_in_it_counts(
    asked: Any, rest: Any, answered: str
) -> None:
    asked.tick(rest)
    if answered == "before":
        say(asked, 1, permit=True)
        assert asked.known.status in (Status.PAUSED, Status.HELD)
        asked.tick(Resume())
    else:
        asked.tick(Resume())
        assert (asked.known.status, asked.token.phase) == (Status.WAITING, Phase.ASKING)
        assert list(asked.known.questions) == [1]
        say(asked, 1)
    asked.dispatch()
    assert (asked.token.node, asked.token.attempt, asked.known.asked) == ("c", 1, 1)


@pytest.mark.parametrize("more", [Budget(steps=3), ASKING])
def test_a_resume_with_another_budget_is_the_answer(asked: Any, more: Budget) -> None:
    """It closes the question; what is not enough is asked about anew."""
    asked.tick(Pause())
    resumed = asked.tick(Resume(budget=more))
    assert resumed.questions[0].closing.ending is QuestionEnding.CLOSED
    assert (asked.known.status, asked.known.questions) == (Status.QUEUED, {})
    asked.dispatch()
    enough = more.steps == 3
    assert asked.known.status is (Status.RUNNING if enough else Status.WAITING)
    assert list(asked.known.questions) == ([] if enough else [2])


def test_a_cancel_and_the_deadline_close_the_question(asked: Any, start: Any) -> None:
    asked.tick(Cancel())
    late = start(*LINE, budget=Budget(steps=1, on_breach="ask"), deadline=1_050.0)
    late.succeed()
    late.come_due(permit=True)
    for run, status in ((asked, Status.CANCELLED), (late, Status.TIMED_OUT)):
        assert (run.known.status, run.known.questions) == (status, {})
        assert run.last.questions[0].closing.ending is QuestionEnding.CLOSED


def test_a_way_back_asks_only_when_it_needs_more_again(asked: Any) -> None:
    """What is used stays used, so that is before the node runs."""
    target = msgspec.msgpack.decode(encode(asked.known), type=ExecutionState)
    asked.tick(Cancel())
    asked.tick(Rewind(target))
    assert (asked.known.status, asked.known.questions) == (Status.QUEUED, {})
    asked.dispatch()
    assert (asked.known.status, list(asked.known.questions)) == (Status.WAITING, [2])
    say(asked, 1, permit=True)
    assert (asked.token.node, asked.token.phase) == ("c", Phase.RUNNING)


def test_a_graph_without_the_node_holds_what_may_go_on(asked: Any, start: Any) -> None:
    asked.plan = start(["a", "b"]).plan
    say(asked, True, permit=True)
    assert asked.known.status is Status.HELD
    assert asked.known.budget.steps == 4


def test_input_for_the_node_is_no_answer(asked: Any) -> None:
    assert reception(asked.known, "c", 10) is Reception.KEEP


def test_a_stale_permit_runs_nothing_while_people_are_asked(asked: Any) -> None:
    assert asked.tick(Dispatch()) is None


@pytest.mark.parametrize(
    ("budget", "part", "more", "expected"),
    [
        (Budget(steps=3), "steps", 2.0, Budget(steps=5)),
        (Budget(steps=3, wall_s=1.5), "wall_s", 2, Budget(steps=3, wall_s=3.5)),
        (Budget(wall_s=1), "wall_s", 10**12, Budget(wall_s=BUDGET_WALL_S_MAX)),
    ],
)
def test_a_limit_grows_to_the_largest_that_there_is(
    budget: Budget, part: BudgetPart, more: float, expected: Budget
) -> None:
    grown = budget.extended(part, more)
    assert grown == expected
    assert msgspec.msgpack.decode(encode(grown), type=Budget) == expected
