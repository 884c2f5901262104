"""Measuring a goal: the fold of outcomes, and the criteria over it."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.codec import decode_event, encode
from greenroom.protocol.errors import InvalidConfig, UnsupportedSetting
from greenroom.protocol.events import AgentEvent, EventBody
from greenroom.protocol.goal import Constraint, Goal, SuccessCriterion
from greenroom.protocol.goal_criteria import (
    asked_of_outputs,
    check_criteria,
    unsupported_criteria,
)
from greenroom.protocol.goal_progress import describe, measure
from greenroom.protocol.new_event import new_event
from greenroom.protocol.outcomes import (
    EVIDENCE_MAX,
    VIOLATIONS_MAX,
    Answer,
    OutcomeFold,
    fold_event,
)

ENDS = ("completed", "failed", "cancelled", "timed_out", "exhausted")
decode_fold = msgspec.msgpack.Decoder(OutcomeFold).decode


def body(kind: str, **fields: Any) -> EventBody:
    """An event of the log."""
    return decode_event(new_event(kind, 1.0, **fields).body)


def ended(
    status: str, output: dict[str, Any] | None = None, number: int = 0, **metrics: int
) -> EventBody:
    """The end of an execution of stream "s"."""
    data = {"output": output, "metrics": metrics} if output is not None else None
    return body(f"execution_{status}", stream="s", execution=f"x{number}", data=data)


def fold_all(goal: Goal, *events: EventBody) -> OutcomeFold:
    """Fold events into a fresh fold."""
    fold = OutcomeFold()
    for one in events:
        add(goal, fold, one)
    return fold


def add(goal: Goal, fold: OutcomeFold, one: EventBody) -> bool:
    """Fold one event, with the answers of all criteria that need no user's function."""

    def answers(body: EventBody, data: dict[str, Any]) -> dict[str, tuple[str, Answer]]:
        output, metrics = data.get("output") or {}, data.get("metrics", {})
        return {
            name: (asked.wanted, asked.judge(output, metrics))
            for name, asked in asked_of_outputs(goal).items()
            if asked.judge is not None
        }

    return fold_event(fold, one, lambda: AgentEvent(1, one).data, answers)


def goal_of(*criteria: SuccessCriterion, **fields: Any) -> Goal:
    """A goal with these criteria."""
    return Goal(id="goal", success_criteria=list(criteria), **fields)


def criterion(metric: str, target: Any = None, **fields: Any) -> SuccessCriterion:
    """The criterion "c"."""
    return SuccessCriterion(id=fields.pop("id", "c"), metric=metric, target=target, **fields)


GOAL = goal_of(
    criterion("success_rate", "75%", id="rate", weight=0.5),
    criterion("output_equals", {"label": "bug"}, id="label"),
    criterion("executions_completed", 5, id="count"),
    criterion("expression:output.label == 'bug' and metrics.steps < 5", ">= 50%", id="quick"),
    criterion("expression:output.score", "> 0.5", id="score"),
    criterion("executions_failed", "< 3", id="failed"),
    constraints=[Constraint(id="hard"), Constraint(id="soft", constraint_type="soft")],
)

OUTPUTS = [
    None,
    {"label": "bug"},
    {"label": "bug", "score": 0.25},
    {"label": "other", "score": 7},
    {"label": "other", "score": "none"},
]
events = st.one_of(
    st.builds(
        ended,
        st.sampled_from(ENDS),
        st.sampled_from(OUTPUTS),
        st.integers(0, 9),
        steps=st.integers(1, 9),
    ),
    st.builds(
        body,
        st.sampled_from(
            ["node_completed", "node_failed", "execution_started", "node_started", "goal_progress"]
        ),
        stream=st.sampled_from(["a", "b", None]),
    ),
    st.builds(
        lambda name: body("constraint_violation", data={"constraint_id": name}),
        st.sampled_from(["hard", "soft"]),
    ),
)


def total_of(fold: OutcomeFold, criterion_id: str) -> float:
    """The sum of the answers that a criterion got."""
    return fold.tallies[criterion_id].sum if criterion_id in fold.tallies else 0.0


@given(
    st.lists(
        st.tuples(events, st.sampled_from(["go on", "commit", "crash", "commit, then crash"])),
        max_size=40,
    )
)
def test_a_fold_cut_anywhere_equals_a_recount(steps: list[tuple[EventBody, str]]) -> None:
    """At a crash what was folded since the last commit is folded again from there."""
    stored, position = encode(OutcomeFold()), 0
    fold = OutcomeFold()
    at = 0
    crashes = {index for index, (_, then) in enumerate(steps) if "crash" in then}
    while at < len(steps):
        one, then = steps[at]
        add(GOAL, fold, one)
        at += 1
        if "commit" in then:
            stored, position = encode(fold), at
        if at - 1 in crashes:
            crashes.remove(at - 1)
            fold, at = decode_fold(stored), position
    log = [one for one, _ in steps]
    assert encode(fold) == encode(fold_all(GOAL, *log))
    kinds = Counter(one.type for one in log)
    assert fold.nodes_succeeded == kinds["node_completed"]
    assert fold.nodes_failed == kinds["node_failed"]
    assert fold.started == kinds["execution_started"]
    assert sum(fold.ended.values()) == sum(kinds[f"execution_{one}"] for one in ENDS)
    assert fold.violations_total == kinds["constraint_violation"]
    completed = [AgentEvent(1, one).data for one in log if one.type == "execution_completed"]
    outputs = [one.get("output") or {} for one in completed]
    bugs = [one.get("label") == "bug" for one in outputs]
    assert total_of(fold, "label") == sum(bugs)
    quick = [one.get("metrics", {}).get("steps", 9) < 5 for one in completed]
    assert total_of(fold, "quick") == sum(a and b for a, b in zip(bugs, quick, strict=True))
    scores = [one.get("score") for one in outputs]
    numbers = [one for one in scores if isinstance(one, int | float)]
    assert total_of(fold, "score") == sum(numbers)
    if completed:
        assert fold.tallies["score"].seen == len(completed)
        assert fold.tallies["score"].failed == len(completed) - len(numbers)
    progress = measure(GOAL, fold)
    assert 0 <= progress.overall <= 1
    assert all(0 <= one.progress <= 1 for one in progress.criteria.values())


@pytest.mark.parametrize(
    ("metric", "target", "progress", "met"),
    [
        ("", None, 0.75, False),
        ("success_rate", "75%", 0.75, True),
        ("success_rate", 0.75, 0.75, True),
        ("success_rate", "76 %", 0.75, False),
        ("node_success_rate", "50%", 0.5, True),
        ("node_success_rate", None, 0.5, False),
        ("executions_completed", 3, 1.0, True),
        ("executions_completed", 6, 0.5, False),
        ("executions_completed", "6", 0.5, False),
        ("executions_completed", None, 1.0, True),
        ("executions_total", 10, 0.5, False),
        ("output_contains", "ug", 1.0, True),
        ("output_contains", {"label": "u"}, 2 / 3, False),
        ("output_contains", 7, 2 / 3, False),
        ("output_contains", "l", 2 / 3, False),
        ("output_equals", "bug", 1 / 3, False),
        ("output_equals", {"label": "bug", "n": 7}, 1 / 3, False),
        ("output_equals", {"other": 1}, 0.0, False),
        ("success_rate", ">= 75%", 0.75, True),
        ("success_rate", "> 75%", 0.75, False),
        ("success_rate", "< 0.8", 1.0, True),
        ("failure_rate", "<= 25%", 1.0, True),
        ("failure_rate", "< 20 %", 0.8, False),
        ("failure_rate", "25%", 0.25, True),
        ("executions_failed", "< 5", 1.0, True),
        ("executions_failed", "< 1", 1.0, False),
        ("executions_failed", "== 1", 1.0, True),
        ("executions_completed", "> 3", 1.0, False),
        ("executions_completed", "!= 4", 1.0, True),
        ("constraint_violations", "<= 0", 1.0, True),
        ("expression:'label' in output", "60%", 2 / 3, True),
        ("expression:output.get('label') == 'bug'", None, 1 / 3, False),
        ("expression:metrics.steps < 3", ">= 0.9", 2 / 3, False),
        ("expression:metrics.steps", "<= 2.0", 1.0, True),
        ("expression:metrics.steps", "< 1", 0.5, False),
        ("expression:metrics.steps", 4, 0.5, False),
        ("expression:output.get('label') == 'bug'", "< 0.4", 1.0, True),
    ],
)
def test_each_metric_is_really_measured(
    metric: str, target: Any, progress: float, met: bool
) -> None:
    """Three completed, one failed and one cancelled execution; one of two node runs failed."""
    goal = goal_of(criterion(metric, target))
    fold = fold_all(
        goal,
        ended("completed", {"label": "bug", "n": 7}, steps=1),
        ended("completed", {"tags": [{"name": "a bug, really"}], "n": [7]}, steps=2),
        ended("completed", {"label": "ugly"}, steps=3),
        ended("failed"),
        ended("cancelled"),
        body("node_completed"),
        body("node_failed"),
    )
    status = measure(goal, fold).criteria["c"]
    assert status.progress == pytest.approx(progress)
    assert status.met is met


def test_a_goal_of_which_nothing_is_known_has_made_no_progress() -> None:
    """Not even against a target of 0."""
    goal = goal_of(criterion("success_rate", 0))
    found = measure(goal, OutcomeFold())
    assert (found.overall, found.achieved, found.recommendation) == (0.0, False, "continue")
    assert measure(Goal(id="goal"), OutcomeFold()).overall == 0.0
    assert not measure(Goal(id="goal"), fold_all(goal, ended("completed"))).achieved


def test_weights_decide_the_overall_progress_and_the_success() -> None:
    """Criteria met count whole; nine tenths of the weight are enough."""
    goal = goal_of(
        criterion("success_rate", id="met", weight=0.9),
        criterion("executions_completed", 4, id="open", weight=0.1),
    )
    progress = measure(goal, fold_all(goal, ended("completed")))
    assert progress.overall == pytest.approx(0.9 + 0.1 * 0.25)
    assert progress.achieved
    light = goal_of(
        criterion("success_rate", id="met", weight=0.8),
        criterion("executions_completed", 4, id="open", weight=0.2),
    )
    assert not measure(light, fold_all(light, ended("completed"))).achieved


def test_a_hard_constraint_stands_in_the_way_and_a_soft_one_does_not() -> None:
    """Violations are listed in any case."""
    constraints = [Constraint(id="hard"), Constraint(id="soft", constraint_type="soft")]
    goal = goal_of(criterion("success_rate"), constraints=constraints)
    data = {"constraint_id": "soft", "description": "late", "details": "by a day"}
    soft = body("constraint_violation", data=data, stream="s")
    fold = fold_all(goal, ended("completed"), soft)
    assert measure(goal, fold).achieved
    assert measure(goal, fold).recommendation == "complete"
    assert describe(goal, fold)["constraint_violations"] == [
        {**data, "stream_id": "s", "timestamp": "1970-01-01T00:00:01+00:00"}
    ]
    add(goal, fold, body("constraint_violation", data={"constraint_id": "hard"}))
    assert not measure(goal, fold).achieved
    assert measure(goal, fold).recommendation == "adjust"


def test_many_decisions_and_little_progress_call_for_an_adjustment() -> None:
    """Below three tenths, after more than ten decisions."""
    goal = goal_of(criterion("executions_completed", 100))
    fold = fold_all(goal, *[body("node_completed")] * 10)
    assert measure(goal, fold).recommendation == "continue"
    add(goal, fold, body("node_failed"))
    assert measure(goal, fold).recommendation == "adjust"


def test_progress_has_the_documented_shape() -> None:
    """Plain data all the way down."""
    goal = goal_of(criterion("success_rate", "90%", description="works"))
    found = describe(goal, fold_all(goal, ended("completed"), body("node_completed", stream="s")))
    assert found == {
        "overall_progress": 1.0,
        "criteria_status": {
            "c": {
                "description": "works",
                "met": True,
                "progress": 1.0,
                "evidence": ["execution x0: completed"],
            }
        },
        "constraint_violations": [],
        "metrics": {
            "total_decisions": 1,
            "successful_outcomes": 1,
            "failed_outcomes": 0,
            "success_rate": 1.0,
            "streams_active": 1,
            "executions_total": 1,
            "executions_started": 0,
            "executions_by_status": {"completed": 1},
            "constraint_violations_total": 0,
        },
        "recommendation": "complete",
    }


def test_the_fold_is_bounded() -> None:
    """Whatever happens, and however often."""
    fold = OutcomeFold()
    for number in range(3_000):
        name = f"c{number}" * 1000
        violation = body("constraint_violation", data={"constraint_id": name, "details": name})
        add(GOAL, fold, violation)
        add(GOAL, fold, ended("completed", {"label": "bug"}, number))
    assert len(fold.violations) == VIOLATIONS_MAX
    assert fold.violations_total == 3_000
    assert len(fold.recent_executions) == EVIDENCE_MAX
    assert len(fold.tallies["label"].evidence) == EVIDENCE_MAX
    assert len(encode(fold)) < 1_000_000


@pytest.mark.parametrize(
    ("metric", "target", "error"),
    [
        ("llm_judge", None, UnsupportedSetting),
        ("success_rate", "many", InvalidConfig),
        ("success_rate", 90, InvalidConfig),
        ("success_rate", "900%", InvalidConfig),
        ("success_rate", "about 90%", InvalidConfig),
        ("success_rate", "> 1.5", InvalidConfig),
        ("executions_failed", "< -1", InvalidConfig),
        ("executions_failed", "=> 1", InvalidConfig),
        ("expression:", None, InvalidConfig),
        ("expression:output.", None, InvalidConfig),
        ("expression:metrics.stepz < 2", None, InvalidConfig),
        ("expression:output.x", "high", InvalidConfig),
        ("function:", None, InvalidConfig),
        ("function:polite", [1], InvalidConfig),
        ("executions_total", 0, InvalidConfig),
        ("executions_total", "50%", InvalidConfig),
        ("executions_total", True, InvalidConfig),
        ("executions_total", float("nan"), InvalidConfig),
        ("output_contains", None, InvalidConfig),
        ("output_equals", object(), InvalidConfig),
    ],
)
def test_what_could_never_be_measured_is_refused(
    metric: str, target: Any, error: type[Exception]
) -> None:
    """With the criterion's name and what would be right."""
    goal = goal_of(criterion("success_rate", id="fine"), criterion(metric, target))
    assert len(unsupported_criteria(goal)) == 1
    with pytest.raises(error, match="success criterion 'c'"):
        check_criteria(goal)


def test_a_criterion_that_was_changed_starts_again() -> None:
    """What other outputs matched says nothing about it."""
    old = goal_of(criterion("output_equals", {"label": "bug"}))
    new = goal_of(criterion("output_equals", {"label": "docs"}))
    fold = fold_all(old, ended("completed", {"label": "bug"}))
    assert measure(old, fold).criteria["c"].progress == 1.0
    assert measure(new, fold).criteria["c"].progress == 0.0
    add(new, fold, ended("completed", {"label": "docs"}))
    assert measure(new, fold).criteria["c"].progress == 1.0
