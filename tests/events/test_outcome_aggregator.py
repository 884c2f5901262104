"""The aggregator on a real log: nothing lost or counted twice, and its own events."""

import functools
from typing import Any

import pytest

from greenroom.actors.system.outcome_aggregator import OutcomeAggregator, aggregator_name
from greenroom.actors.system.outcome_aggregator_handle import OutcomeAggregatorHandle
from greenroom.protocol.errors import RuntimeNotRunning, UnsupportedSetting
from greenroom.protocol.goal import Constraint, Goal, SuccessCriterion
from greenroom.protocol.new_event import new_event
from greenroom.storage.memory_store import MemoryStore

GOAL = Goal(
    id="goal",
    success_criteria=[
        SuccessCriterion(id="rate", metric="success_rate", target="90%"),
        SuccessCriterion(id="reply", metric="output_contains", target={"reply": "thanks"}),
    ],
    constraints=[Constraint(id="polite")],
)


async def start(rig: Any, goal: Goal = GOAL) -> tuple[Any, OutcomeAggregatorHandle]:
    """Start the aggregator; returns its ref and its handle."""
    handle = OutcomeAggregatorHandle(goal)
    ref = rig.system.spawn(
        functools.partial(OutcomeAggregator, goal, rig.store, rig.writer, handle),
        id="outcome_aggregator",
    )
    handle.attach(ref, rig.handle)
    await ref.ready()
    return ref, handle


async def complete(rig: Any, count: int, reply: str = "many thanks") -> None:
    """Commit the events of completed executions with two nodes each."""
    for number in range(count):
        await rig.append(
            new_event("execution_started", 1.0, stream="s", execution=f"x{number}"),
            new_event("node_completed", 1.0, stream="s", execution=f"x{number}", node="a"),
            new_event("node_completed", 1.0, stream="s", execution=f"x{number}", node="b"),
            new_event(
                "execution_completed",
                1.0,
                stream="s",
                execution=f"x{number}",
                data={"output": {"reply": reply}},
            ),
        )


@pytest.mark.asyncio
async def test_progress_counts_everything_committed_before_the_call(rig: Any) -> None:
    """From the moment the goal was first known to the store."""
    await complete(rig, 2)
    _, handle = await start(rig)
    assert (await handle.evaluate_goal_progress())["metrics"]["total_decisions"] == 0
    await complete(rig, 3)
    await rig.append(new_event("node_failed", 1.0, stream="t"))
    progress = await handle.evaluate_goal_progress()
    assert progress["overall_progress"] == 1.0
    assert progress["recommendation"] == "complete"
    assert progress["metrics"]["executions_total"] == 3
    assert progress["metrics"]["success_rate"] == pytest.approx(6 / 7)
    assert handle.get_stats() == {
        "total_decisions": 7,
        "successful_outcomes": 6,
        "failed_outcomes": 1,
        "constraint_violations": 0,
        "criteria_tracked": 2,
        "streams_seen": 2,
    }


@pytest.mark.asyncio
async def test_kills_lose_nothing_and_count_nothing_twice(rig: Any) -> None:
    """Between and during folds; what was folded is durable with its position."""
    ref, handle = await start(rig)
    for round_ in range(6):
        await complete(rig, 15)
        if round_ % 2:
            ref.kill()
        else:
            await handle.caught_up()
            ref.kill()
    await handle.caught_up()
    counted = (await handle.evaluate_goal_progress())["metrics"]
    assert counted["executions_total"] == counted["executions_started"] == 90
    assert counted["total_decisions"] == 180


@pytest.mark.asyncio
async def test_a_restart_goes_on_from_the_stored_fold(make_rig: Any) -> None:
    """With what was committed while no aggregator ran."""
    store = MemoryStore()
    for start_number in range(3):
        rig = make_rig(store)
        if start_number:
            await complete(rig, 1)
        _, handle = await start(rig)
        await complete(rig, 2)
        await handle.caught_up()
        assert handle.get_stats()["total_decisions"] == 4 + start_number * 6
        handle.detach()
        await rig.stop_async()
        store = store.reopen()
    progress = await handle.evaluate_goal_progress()
    assert progress["metrics"]["executions_total"] == 8
    with pytest.raises(RuntimeNotRunning):
        await handle.record_constraint_violation("polite")


@pytest.mark.asyncio
async def test_the_goal_is_announced_once_and_progress_only_when_it_changes(rig: Any) -> None:
    """Also over kills; its own events are no progress."""
    ref, handle = await start(rig)
    await rig.append(new_event("custom", 1.0))
    await handle.caught_up()
    assert rig.handle.get_history("goal_progress") == []
    await complete(rig, 1)
    await handle.caught_up()
    ref.kill()
    await complete(rig, 2)
    await handle.caught_up()
    await rig.append(new_event("execution_failed", 1.0, stream="s"))
    await handle.caught_up()
    await complete(rig, 30)
    await handle.caught_up()
    (achieved,) = rig.handle.get_history("goal_achieved")
    assert achieved.data == {"goal_id": "goal", "progress": 1.0}
    newest, *_, first = rig.handle.get_history("goal_progress")
    assert first.data["progress"] == 1.0
    assert newest.data["criteria_status"]["rate"]["met"]
    before = len(rig.handle.get_history("goal_progress"))
    await rig.custom(5)
    await handle.caught_up()
    await handle.caught_up()
    assert len(rig.handle.get_history("goal_progress")) == before


@pytest.mark.asyncio
async def test_progress_counts_the_hops_that_led_to_it(rig: Any) -> None:
    """So an entry point cannot start itself for ever by way of the goal."""
    _, handle = await start(rig)
    await rig.append(new_event("execution_failed", 1.0, stream="s", hops=2))
    await rig.append(new_event("execution_completed", 1.0, stream="s", hops=3))
    await handle.caught_up()
    assert rig.handle.get_history("goal_progress")[0].hops == 3
    await complete(rig, 1)
    await handle.caught_up()
    assert rig.handle.get_history("goal_progress")[0].hops == 0


@pytest.mark.asyncio
async def test_many_events_are_committed_in_parts(rig: Any) -> None:
    """The cursor moves with each part, and the numbers are whole."""
    _, handle = await start(rig)
    for _ in range(5):
        await rig.append(*[new_event("node_completed", 1.0, stream="s")] * 700)
    await handle.caught_up()
    assert handle.get_stats()["total_decisions"] == 3_500
    cursor, _ = rig.store.read(lambda reader: reader.cursor(aggregator_name("goal")))
    assert cursor >= 3_500


@pytest.mark.asyncio
async def test_a_violation_is_durable_and_counts(rig: Any) -> None:
    """As an event, and in the goal's progress."""
    _, handle = await start(rig)
    await handle.record_constraint_violation("polite", "was rude", "twice", stream_id="s")
    await complete(rig, 1)
    progress = await handle.evaluate_goal_progress()
    assert progress["recommendation"] == "adjust"
    assert progress["constraint_violations"][0]["description"] == "was rude"
    assert rig.handle.get_history("goal_achieved") == []
    assert rig.handle.get_history("constraint_violation")[0].stream_id == "s"


def test_a_goal_that_cannot_be_measured_is_refused_at_construction() -> None:
    """Before anything runs."""
    criterion = SuccessCriterion(id="c", metric="customer_delight")
    with pytest.raises(UnsupportedSetting, match="customer_delight"):
        OutcomeAggregatorHandle(Goal(id="goal", success_criteria=[criterion]))
