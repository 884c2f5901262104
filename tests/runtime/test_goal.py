"""A goal in a running agent: every kind of criterion is really measured."""

from typing import Any

import pytest

from greenroom import (
    FunctionNotFound,
    Goal,
    InvalidGraph,
    NodeContext,
    NodeSpec,
    SuccessCriterion,
    UnsupportedSetting,
)


def answer(question: str, ctx: NodeContext) -> dict[str, Any]:
    """A node whose first attempt fails for one question."""
    if question == "hard" and ctx.attempt == 1:
        raise ConnectionError("busy")
    if question == "wrong":
        raise ValueError("no answer")
    return {"reply": f"about {question}, thanks", "confidence": len(question) / 10}


NODES = [
    NodeSpec(
        id="answer",
        input_keys=["question"],
        max_retries=2,
        retry_on=["ConnectionError"],
        backoff_initial_s=0.0,
    )
]


def criterion(name: str, metric: str, target: Any = None, **fields: Any) -> SuccessCriterion:
    """A criterion of that id."""
    return SuccessCriterion(id=name, metric=metric, target=target, **fields)


GOAL = Goal(
    id="goal",
    success_criteria=[
        criterion("rate", "success_rate", "70%"),
        criterion("failures", "failure_rate", "< 50%"),
        criterion("nodes", "node_success_rate", ">= 0.6"),
        criterion("many", "executions_completed", 6),
        criterion("thanks", "output_contains", {"reply": "thanks"}),
        criterion("same", "output_equals", {"question": "hard"}),
        criterion("sure", "expression:output.confidence >= 0.4", "60%"),
        criterion("level", "expression:output.confidence", "> 0.9"),
        criterion("calm", "expression:metrics.retries == 0 and metrics.steps < 5", "50%"),
        criterion("short", "function:short", ">= 30%", weight=0.5),
        criterion("length", "function:length", "< 50"),
    ],
)


async def length(output: dict[str, Any]) -> int:
    """An async function that answers a number."""
    return len(output["reply"])


FUNCTIONS = {
    "answer": answer,
    "short": lambda output: len(output["reply"]) < 17,
    "length": length,
}


@pytest.mark.asyncio
async def test_criteria_are_measured_on_what_was_done(lab: Any) -> None:
    """Where the reference compares words of descriptions, outputs and metrics decide."""
    async with lab.runtime(FUNCTIONS, NODES, goal=GOAL) as runtime:
        for question in ("cats", "hard", "is it", "wrong"):
            await runtime.trigger_and_wait("main", {"question": question})
        progress = await runtime.get_goal_progress()
        events = runtime.event_bus.get_history("goal_progress")
    found = progress["criteria_status"]
    assert {name: one["met"] for name, one in found.items()} == {
        "rate": True,
        "failures": True,
        "nodes": True,
        "many": False,
        "thanks": True,
        "same": False,
        "sure": True,
        "level": False,
        "calm": True,
        "short": False,
        "length": True,
    }
    assert found["rate"]["progress"] == 0.75
    assert found["nodes"]["progress"] == 0.6
    assert found["many"]["progress"] == 0.5
    assert found["same"]["progress"] == pytest.approx(1 / 3)
    assert found["level"]["progress"] == pytest.approx((1.3 / 3) / 0.9)
    assert found["calm"]["progress"] == pytest.approx(2 / 3)
    assert found["short"]["progress"] == 0.0
    assert all(1 <= len(one["evidence"]) <= 5 for one in found.values())
    weights = [one.weight for one in GOAL.success_criteria]
    shares = [1.0 if one["met"] else one["progress"] for one in found.values()]
    expected = sum(map(lambda weight, share: weight * share, weights, shares)) / sum(weights)
    assert progress["overall_progress"] == pytest.approx(expected)
    assert events[0].data["progress"] == pytest.approx(expected)


@pytest.mark.asyncio
async def test_progress_and_the_goal_itself_are_events_when_they_change(lab: Any) -> None:
    """B5: the reference never says that a goal was achieved, and its progress only when asked."""
    rate = criterion("rate", "executions_completed", 2)
    goal = Goal(id="goal", success_criteria=[rate])
    async with lab.runtime(FUNCTIONS, NODES, goal=goal) as runtime:
        told = []
        for question in ("cats", "wrong", "hard", "is it"):
            await runtime.trigger_and_wait("main", {"question": question})
            await runtime.outcome_aggregator.caught_up()
            progress = runtime.event_bus.get_history("goal_progress")
            achieved = runtime.event_bus.get_history("goal_achieved")
            told.append((len(progress), progress[0].data["progress"], len(achieved)))
    assert told == [(1, 0.5, 0), (1, 0.5, 0), (2, 1.0, 1), (2, 1.0, 1)]
    assert achieved[0].data == {"goal_id": "goal", "progress": 1.0}
    assert achieved[0].seq > progress[1].seq > 0


@pytest.mark.asyncio
async def test_metrics_arrive_also_with_outputs_that_are_too_large_for_their_event(
    lab: Any,
) -> None:
    """The output is referred to, the metrics are not; without such a criterion there are none."""
    goal = Goal(
        id="goal",
        success_criteria=[
            criterion("c", "expression:len(output.text) == 9000 and metrics.steps == 1", "100%")
        ],
    )
    functions = {"write": lambda: {"text": "x" * 9_000}}
    async with lab.runtime(functions, goal=goal) as runtime:
        await runtime.trigger_and_wait("main")
        (event,) = runtime.event_bus.get_history("execution_completed")
        assert event.data["metrics"]["steps"] == 1
        assert len(event.data["output"]["text"]) == 9_000
        assert (await runtime.get_goal_progress())["criteria_status"]["c"]["met"]
    async with lab.runtime(functions, store="other") as runtime:
        await runtime.trigger_and_wait("main")
        (event,) = runtime.event_bus.get_history("execution_completed")
        assert list(event.data) == ["output"]


@pytest.mark.asyncio
async def test_restarts_neither_lose_nor_double_an_execution(lab: Any) -> None:
    """The fold, its position and its events are one commit."""
    for round_ in range(1, 4):
        async with lab.runtime(FUNCTIONS, NODES, goal=GOAL) as runtime:
            await runtime.trigger_and_wait("main", {"question": "cats"})
            await runtime.trigger_and_wait("main", {"question": "wrong"})
            if round_ == 2:
                continue  # stopped before anybody asked
            progress = await runtime.get_goal_progress()
            assert progress["metrics"]["executions_total"] == 2 * round_
            evidence = progress["criteria_status"]["length"]["evidence"]
            assert len(evidence) == round_


@pytest.mark.asyncio
async def test_a_function_that_cannot_be_asked_is_refused_at_start(lab: Any) -> None:
    """It may be registered until then."""
    goal = Goal(id="goal", success_criteria=[criterion("c", "function:judge")])
    functions = {"answer": answer}
    runtime = lab.runtime(functions, NODES, goal=goal)
    with pytest.raises(FunctionNotFound, match="judge"):
        await runtime.start()
    runtime.register_function("judge", lambda: True)
    with pytest.raises(InvalidGraph, match="criterion 'c': function 'judge' must take the output"):
        await runtime.start()
    runtime = lab.runtime(functions, NODES, goal=goal)
    runtime.register_function("judge", lambda output, strict=True: strict)
    async with runtime:
        await runtime.trigger_and_wait("main", {"question": "cats"})
        assert (await runtime.get_goal_progress())["criteria_status"]["c"]["met"]


def test_a_criterion_that_nobody_can_measure_is_refused_at_construction(lab: Any) -> None:
    """With what can be measured."""
    goal = Goal(id="goal", success_criteria=[criterion("c", "customer_delight")])
    with pytest.raises(UnsupportedSetting, match=r"function:name"):
        lab.runtime({"answer": answer}, NODES, goal=goal)
