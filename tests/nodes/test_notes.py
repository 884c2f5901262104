"""Decisions and problems out of node runs: bounded, checked where they are made, buffered."""

import threading
from typing import Any

import pytest

from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.decisions import DecisionMade, Option, ProblemReported, decode_note
from greenroom.protocol.errors import InvalidInput, InvalidValue, ValueTooLarge
from greenroom.protocol.limits import NODE_NOTES_MAX
from greenroom.protocol.record_errors import TooManyNotes


def notes_of(result: Any) -> list[Any]:
    """The notes of a result, decoded."""
    assert result.error is None, result.error
    return [decode_note(raw) for raw in result.notes]


def test_ids_rise_over_visits_attempts_and_calls(rig: Any) -> None:
    """As text too, so that whoever sorts them has the order in which they were made."""
    found: list[str] = []

    def node(ctx: NodeContext) -> None:
        found.append(ctx.decide("first"))
        found.append(ctx.report_problem("minor", "second"))
        found.append(ctx.decide("third"))

    rig.node(node)
    for token_id, attempt in ((1, 1), (2, 1), (2, 2), (10, 1)):
        rig.run(token_id=token_id, attempt=attempt)
    ids = [one.removeprefix("dec_") for one in found if one.startswith("dec_")]
    assert len(set(found)) == 12
    assert ids == sorted(ids)


def test_everything_that_is_said_arrives(rig: Any) -> None:
    """Options in each of their forms; what is not said has its default."""

    def node(ctx: NodeContext) -> None:
        search = Option("search", "look it up", action_params={"q": 1}, confidence=0.9)
        decision = ctx.decide(
            "answer",
            options=[search, "guess", {"id": "ask", "cons": ["slow"]}],
            chosen=search,
            reasoning="it is new",
            decision_type="tool_selection",
            active_constraints=["polite"],
            input_context={"title": "x", "tags": ("a",)},
        )
        ctx.report_problem(
            "warning", "slow", root_cause="net", decision_id=decision, suggested_fix="cache"
        )

    rig.node(node)
    decision, problem = notes_of(rig.run(token_id=3))
    assert isinstance(decision, DecisionMade)
    assert decision.id == "dec_0000003.001.001"
    assert (decision.intent, decision.chosen, decision.reasoning) == (
        "answer",
        "search",
        "it is new",
    )
    assert [one.id for one in decision.options] == ["search", "guess", "ask"]
    assert decision.options[0].action_params == {"q": 1}
    assert [one.confidence for one in decision.options] == [0.9, 0.5, 0.5]
    assert decision.options[2].cons == ["slow"]
    assert decision.active_constraints == ["polite"]
    assert decision.input_context == {"title": "x", "tags": ["a"]}
    assert isinstance(problem, ProblemReported)
    assert problem.decision_id == decision.id
    assert (problem.severity, problem.description) == ("warning", "slow")
    assert (problem.root_cause, problem.suggested_fix) == ("net", "cache")


def test_any_thread_of_a_node_may_decide(rig: Any) -> None:
    """No call is lost, and no id is given twice."""

    def node(ctx: NodeContext) -> None:
        start = threading.Barrier(8)

        def decide() -> None:
            start.wait(20)
            for _ in range(10):
                ctx.decide("side by side")

        threads = [threading.Thread(target=decide) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    rig.node(node)
    ids = [one.id for one in notes_of(rig.run())]
    assert len(set(ids)) == 80
    assert ids == sorted(ids)


def test_a_failed_attempt_leaves_none(rig: Any) -> None:
    """As all that it had buffered."""

    def node(ctx: NodeContext) -> None:
        ctx.decide("to fail")
        raise ValueError("broken")

    rig.node(node)
    result = rig.run()
    assert result.error == "broken"
    assert result.notes == ()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"intent": ""}, InvalidInput),
        ({"intent": 5}, InvalidInput),
        ({"options": ["a", "b"], "chosen": "c"}, InvalidInput),
        ({"options": ["a", "b"]}, InvalidInput),
        ({"options": ["a", "a"], "chosen": "a"}, InvalidInput),
        ({"options": [{"name": "a"}]}, InvalidInput),
        ({"options": [{"id": "a", "confidence": 2}], "chosen": "a"}, InvalidInput),
        ({"options": [str(one) for one in range(101)], "chosen": "1"}, InvalidInput),
        ({"decision_type": "guess"}, InvalidInput),
        ({"reasoning": None}, InvalidInput),
        ({"input_context": {"x": object()}}, InvalidValue),
        ({"reasoning": "x" * 70_000}, ValueTooLarge),
    ],
)
def test_a_decision_that_cannot_be_stored_is_refused_where_it_is_made(
    rig: Any, wrong: dict[str, Any], error: type[Exception]
) -> None:
    """The node may go on without it."""
    caught: list[BaseException] = []

    def node(ctx: NodeContext) -> None:
        with pytest.raises(error) as info:
            ctx.decide(**{"intent": "pick", **wrong})
        caught.append(info.value)

    rig.node(node)
    assert notes_of(rig.run()) == []
    assert caught


@pytest.mark.parametrize("severity", ["awful", None])
def test_a_problem_has_one_of_three_severities(rig: Any, severity: Any) -> None:
    """Another one is refused with those that there are."""

    def node(ctx: NodeContext) -> None:
        with pytest.raises(InvalidInput, match="critical, warning, minor"):
            ctx.report_problem(severity, "slow")

    rig.node(node)
    assert notes_of(rig.run()) == []


def test_a_node_run_notes_a_bounded_number(rig: Any) -> None:
    """One more is a typed refusal, and those before it stay."""

    def node(ctx: NodeContext) -> None:
        for _ in range(NODE_NOTES_MAX):
            ctx.decide("pick")
        with pytest.raises(TooManyNotes):
            ctx.report_problem("minor", "one too many")

    rig.node(node)
    assert len(notes_of(rig.run())) == NODE_NOTES_MAX
