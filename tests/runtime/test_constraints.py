"""Constraints of a goal in a running agent: enforced, told, counted."""

from typing import Any

import pytest

from greenroom import Constraint, EdgeSpec, Goal, InvalidConfig, InvalidExpression, NodeSpec, Status

GOAL = Goal(
    id="goal",
    constraints=[
        Constraint(id="budget", description="spend little", check="memory.get('cost', 0) < 5"),
        Constraint(id="brief", check="metrics.steps < 2", constraint_type="soft"),
    ],
)
NODES = [
    NodeSpec(id="spend", input_keys=["price"], output_keys=["cost"]),
    NodeSpec(id="thank", output_keys=["thanks"]),
]
EDGES = [EdgeSpec(id="done", source="spend", target="thank", condition="on_success")]
FUNCTIONS = {"spend": lambda price: price, "thank": lambda: "thank you"}


@pytest.mark.asyncio
async def test_a_hard_constraint_is_enforced_and_a_soft_one_is_recorded(lab: Any) -> None:
    """Where the reference never looks at a constraint, the engine does, and the goal learns it."""
    async with lab.runtime(FUNCTIONS, NODES, EDGES, goal=GOAL) as runtime:
        cheap = await runtime.trigger_and_wait("main", {"price": 1})
        dear = await runtime.trigger_and_wait("main", {"price": 7})
        violations = runtime.event_bus.get_history("constraint_violation")
        progress = await runtime.get_goal_progress()
        run = await runtime.get_run(dear.execution_id)
    assert cheap.status is Status.COMPLETED
    assert dear.status is Status.FAILED
    assert dear.error.startswith("constraint 'budget' is violated:")
    assert dear.output == {"price": 7, "cost": 7}
    assert dear.path == ["spend"]
    assert [outcome.success for outcome in run.outcomes] == [True]
    told = [(one.execution_id, one.data["constraint_id"]) for one in reversed(violations)]
    assert told == [(cheap.execution_id, "brief"), (dear.execution_id, "budget")]
    assert all(one.stream_id == "main" and one.correlation_id for one in violations)
    assert [one["constraint_id"] for one in progress["constraint_violations"]] == [
        "brief",
        "budget",
    ]
    assert progress["recommendation"] == "adjust"


@pytest.mark.asyncio
async def test_it_can_be_taken_up_again_when_the_cause_is_gone(lab: Any) -> None:
    """Behind the node that broke it, also in a later process."""
    async with lab.runtime(FUNCTIONS, NODES, EDGES, goal=GOAL) as runtime:
        dear = await runtime.trigger_and_wait("main", {"price": 7})
    async with lab.runtime(FUNCTIONS, NODES, EDGES, goal=GOAL) as runtime:
        await runtime.resume(dear.execution_id, {"cost": 4})
        done = await runtime.wait_for_completion(dear.execution_id)
    assert done.status is Status.COMPLETED
    assert done.path == ["spend", "thank"]


def test_a_check_that_does_not_parse_is_refused_at_construction(lab: Any) -> None:
    """Before any disk is touched."""
    goal = Goal(id="goal", constraints=[Constraint(id="odd", check="cost <")])
    with pytest.raises(InvalidExpression, match="constraint 'odd'"):
        lab.runtime(FUNCTIONS, NODES, EDGES, goal=goal)


@pytest.mark.asyncio
async def test_a_check_that_names_a_function_is_refused_at_start(lab: Any) -> None:
    """It would otherwise be read as a key of memory, and never hold."""
    goal = Goal(id="goal", constraints=[Constraint(id="odd", check="thank")])
    runtime = lab.runtime(FUNCTIONS, NODES, EDGES, goal=goal)
    with pytest.raises(InvalidConfig, match="names the function 'thank'"):
        await runtime.start()
