"""A goal over very many events: the fold that went along equals a recount, and memory is flat.

GREENROOM_GOAL_EVENTS=1000000 makes it a million; `make test` counts fewer, because that takes a
minute.
"""

import asyncio
import functools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.kernel.specs import SupervisorSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.system.event_bus_handle import EventBusHandle
from greenroom.actors.system.event_interest import EventInterest
from greenroom.actors.system.outcome_aggregator import OutcomeAggregator
from greenroom.actors.system.outcome_aggregator_handle import OutcomeAggregatorHandle
from greenroom.actors.system.store_writer import StoreWriter
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, NewEvent
from greenroom.protocol.events import AgentEvent, EventBody
from greenroom.protocol.goal import Constraint, Goal, SuccessCriterion
from greenroom.protocol.goal_criteria import asked_of_outputs
from greenroom.protocol.goal_progress import describe, measure
from greenroom.protocol.messages import CommitNow
from greenroom.protocol.new_event import new_event
from greenroom.protocol.outcomes import Answer, OutcomeFold, fold_event
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store, StoreOptions

EVENTS = int(os.environ.get("GREENROOM_GOAL_EVENTS", "60000"))
GROUP = 2_000
GROWTH_BYTES_MAX = 16 * 1024 * 1024

GOAL = Goal(
    id="goal",
    success_criteria=[
        SuccessCriterion(id="rate", metric="success_rate", target=">= 70%"),
        SuccessCriterion(id="nodes", metric="node_success_rate", target=0.5, weight=0.3),
        SuccessCriterion(id="count", metric="executions_completed", target=EVENTS),
        SuccessCriterion(id="bugs", metric="output_equals", target={"label": "bug"}),
        SuccessCriterion(id="score", metric="expression:output.score * 2", target="< 1"),
        SuccessCriterion(id="steps", metric="expression:metrics.steps < 5", target="50%"),
    ],
    constraints=[Constraint(id="hard"), Constraint(id="soft", constraint_type="soft")],
)


def history(count: int) -> Iterator[NewEvent]:
    """Random ends of executions and of node runs, and violations; the same ones every time."""
    chance = random.Random(count)
    for number in range(count):
        kind = chance.choices(
            [
                "execution_completed",
                "execution_failed",
                "node_completed",
                "node_failed",
                "execution_started",
                "constraint_violation",
                "custom",
            ],
            [30, 10, 30, 10, 15, 1, 4],
        )[0]
        data: dict[str, Any] | None = None
        if kind == "execution_completed":
            label = chance.choice(["bug", "question"])
            output = {"label": label, "score": chance.random()}
            data = {"output": output, "metrics": {"steps": chance.randrange(10)}}
        elif kind == "constraint_violation":
            data = {"constraint_id": "soft", "description": "late"}
        stream = f"s{number % 3}"
        yield new_event(kind, 1.0, stream=stream, node="n", execution=f"x{number}", data=data)


def anonymous_bytes() -> int:
    """Memory of this process that no file is behind."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


def answers(body: EventBody, data: dict[str, Any]) -> dict[str, tuple[str, Answer]]:
    """What the criteria say of one completed execution."""
    return {
        name: (asked.wanted, asked.judge(data["output"], data["metrics"]))
        for name, asked in asked_of_outputs(GOAL).items()
        if asked.judge is not None
    }


def recount(store: Store) -> OutcomeFold:
    """The fold of the whole log, from scratch."""
    fold = OutcomeFold()
    seq = 1
    while page := store.read(functools.partial(Reader.events, from_seq=seq, limit=5_000)):
        for at, body in page:
            data = functools.partial(getattr, AgentEvent(at, body), "data")
            fold_event(fold, body, data, answers)
        seq = page[-1][0] + 1
    return fold


@pytest.mark.asyncio
@pytest.mark.timeout(900)
async def test_many_events_are_counted_as_a_recount_counts_them_in_flat_memory(
    tmp_path: Path,
) -> None:
    """The aggregator folds while the events come; it is killed and restarted on the way."""
    store = open_store(tmp_path / "store", options=StoreOptions(events_max=2 * EVENTS))
    root = SupervisorSpec("root", restarts_max=100, on_intensity="give_up")
    system = ActorSystem("goal", watchdog_limit_s=None, root=root)
    system.start()
    writer = system.spawn(functools.partial(StoreWriter, store, EventInterest()), id="store_writer")
    handle = OutcomeAggregatorHandle(GOAL)
    aggregator = system.spawn(
        functools.partial(OutcomeAggregator, GOAL, store, writer, handle), id="aggregator"
    )
    handle.attach(aggregator, EventBusHandle())
    await aggregator.ready()
    group: list[NewEvent] = []
    sizes: list[int] = []
    for number, event in enumerate(history(EVENTS), start=1):
        group.append(event)
        if len(group) == GROUP:
            commit = Commit(commit_id=number, stream="", incarnation=0, events=tuple(group))
            await writer.ask(CommitNow(commit=commit))
            group = []
            if number % (EVENTS // 10) < GROUP:
                await handle.caught_up()
                sizes.append(anonymous_bytes())
            elif number % (EVENTS // 7) < GROUP:
                aggregator.kill()
    await handle.caught_up()
    fresh = await asyncio.to_thread(recount, store)
    assert describe(GOAL, handle._fold()) == describe(GOAL, fresh)
    folded = handle._fold()
    folded.reported, folded.achieved = fresh.reported, fresh.achieved
    assert encode(folded) == encode(fresh)
    assert 0 < measure(GOAL, fresh).overall < 1
    assert sizes[-1] - sizes[len(sizes) // 3] < GROWTH_BYTES_MAX, sizes
    await system.stop_async()
    store.close()
