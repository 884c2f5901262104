"""Bars, and answers that are missing."""

from typing import Any

import pytest

from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.events import EventBody
from greenroom.protocol.goal import Goal, SuccessCriterion
from greenroom.protocol.goal_criteria import (
    answer_of,
    asked_of_outputs,
    functions_of,
    needs_metrics,
)
from greenroom.protocol.goal_progress import measure
from greenroom.protocol.goal_targets import Target, parse_target
from greenroom.protocol.outcomes import OutcomeFold, fold_event


def goal_of(metric: str, target: Any = None) -> Goal:
    """A goal with the one criterion "c"."""
    criterion = SuccessCriterion(id="c", metric=metric, target=target)
    return Goal(id="goal", success_criteria=[criterion])


def completed(goal: Goal, *outputs: dict[str, Any]) -> OutcomeFold:
    """The fold of completed executions x0, x1, ... with these outputs."""
    fold = OutcomeFold()
    asked = asked_of_outputs(goal)["c"]
    judge = asked.judge
    assert judge is not None
    for number, output in enumerate(outputs):
        body = EventBody(type="execution_completed", at=1.0, execution=f"x{number}")
        answer = judge(output, {})
        fold_event(fold, body, dict, lambda _, __, a=answer: {"c": (asked.wanted, a)})
    return fold


@pytest.mark.parametrize(
    ("written", "sign", "number"),
    [
        (None, ">=", 0.8),
        (3, ">=", 3.0),
        ("3", ">=", 3.0),
        (">= 0.8", ">=", 0.8),
        ("<5", "<", 5.0),
        (" <= 5.5 ", "<=", 5.5),
        ("95%", ">=", 0.95),
        ("< 5 %", "<", 0.05),
        ("=7", "==", 7.0),
        ("!= 0", "!=", 0.0),
        ("> -1e3", ">", -1000.0),
        (".5", ">=", 0.5),
    ],
)
def test_a_target_is_read_as_it_is_written(written: Any, sign: str, number: float) -> None:
    """Numbers, percentages and comparisons."""
    found = parse_target(written, 0.8)
    assert (found.sign, found.number) == (sign, pytest.approx(number))


@pytest.mark.parametrize(
    "written", ["", "many", "> ", "5 > 3", "1e999", True, float("inf"), [3], "9" * 100, "<> 4"]
)
def test_what_is_no_target_is_refused(written: Any) -> None:
    """With what would be right."""
    with pytest.raises(InvalidConfig, match="use a number"):
        parse_target(written, 0.8)


@pytest.mark.parametrize(
    ("target", "value", "met", "progress"),
    [
        (Target(">=", 4.0), 1.0, False, 0.25),
        (Target(">=", 4.0), 4.0, True, 1.0),
        (Target(">", 4.0), 4.0, False, 1.0),
        (Target(">=", 4.0), -1.0, False, 0.0),
        (Target("<", 4.0), 8.0, False, 0.5),
        (Target("<", 4.0), 3.0, True, 1.0),
        (Target("<=", -1.0), 1.0, False, 0.0),
        (Target("==", 4.0), 3.0, False, 0.0),
        (Target("!=", 4.0), 4.0, False, 0.0),
        (Target(">=", 0.0), -0.5, False, 0.0),
    ],
)
def test_progress_says_how_near_a_value_is(
    target: Target, value: float, met: bool, progress: float
) -> None:
    """From 0 to 1, whichever way is better."""
    assert target.met(value) is met
    assert target.progress(value) == pytest.approx(progress)


def test_an_answer_that_is_missing_counts_as_none_and_says_why() -> None:
    """Never a silent pass, and never a silent gap."""
    goal = goal_of("expression:output.score > 0.5", "50%")
    fold = completed(goal, {"score": 1}, {}, {"score": "high"})
    status = measure(goal, fold).criteria["c"]
    assert status.progress == pytest.approx(1 / 3)
    assert not status.met
    assert fold.tallies["c"].failed == 2
    assert status.evidence[0] == "execution x0: holds"
    assert "no answer" in status.evidence[1]
    assert "has no key 'score'" in status.evidence[1]
    assert "TypeError" in status.evidence[2]


@pytest.mark.parametrize("value", [None, "yes", [1], float("nan"), float("inf")])
def test_an_answer_is_a_bool_or_a_number(value: Any) -> None:
    """Anything else is none, and says so."""
    answer = answer_of(value)
    assert answer.failed
    assert answer.value == 0.0
    assert "neither a bool nor a number" in answer.said


def test_a_bar_may_be_moved_without_starting_again() -> None:
    """What was asked of outputs is the same."""
    old = goal_of("expression:output.n", "> 5")
    fold = completed(old, {"n": 4})
    assert not measure(old, fold).criteria["c"].met
    assert measure(goal_of("expression:output.n", "> 3"), fold).criteria["c"].met
    assert measure(goal_of("expression:output.m", "> 3"), fold).criteria["c"].progress == 0.0


def test_evidence_is_kept_for_the_newest_five() -> None:
    """Also of what does not hold."""
    goal = goal_of("expression:output.n % 2 == 0")
    status = measure(goal, completed(goal, *({"n": n} for n in range(9)))).criteria["c"]
    assert [one.split(": ")[1] for one in status.evidence] == [
        "holds",
        "does not hold",
        "holds",
        "does not hold",
        "holds",
    ]
    assert status.evidence[-1] == "execution x8: holds"


def test_what_criteria_need_is_known_beforehand() -> None:
    """Only then events carry metrics, and functions are looked for."""
    assert needs_metrics(goal_of("expression:metrics.steps < 5"))
    assert not needs_metrics(goal_of("expression:output.steps < 5"))
    assert not needs_metrics(goal_of("success_rate"))
    assert functions_of(goal_of("function:polite")) == {"c": "polite"}
    assert functions_of(goal_of("success_rate")) == {}
