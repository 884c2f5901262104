"""Stores that are opened under a changed graph: who goes on, who is held, and who is refused."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import NodeNotFound
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.version_errors import GraphChanged
from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.asyncio

FIRST = NodeSpec(
    id="first",
    input_keys=["text"],
    output_keys=["said", "answer"],
    nullable_output_keys=["answer"],
    max_retries=2,
    backoff_initial_s=0,
)
LAST = NodeSpec(id="last", output_keys=["done"])
WAY = EdgeSpec(id="way", source="first", target="last", condition="on_success")
CHANGED = replace(FIRST, input_keys=["text", "tone"])
WHY = (
    "node 'first' had input_keys ['text'] and has ['text', 'tone']: change it back, or give a "
    "migration"
)


class Agent:
    """Two nodes; the first does what it is told, and every run of either is counted."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str, int]] = []
        self.stay = asyncio.Event()
        self.began = asyncio.Event()

    async def first(self, ctx: Any, text: str, tone: str = "") -> str:
        self.runs.append(("first", ctx.execution_id, ctx.attempt))
        self.began.set()
        if text == "sleep":
            ctx.sleep(3_600)
        elif text == "ask":
            ctx.ask("What?", to="answer")
        elif text == "stay" and ctx.attempt == 1:
            await self.stay.wait()
        elif text == "fail" and ctx.attempt <= 2:
            raise ValueError("told to")
        return text

    async def last(self, ctx: Any) -> bool:
        self.runs.append(("last", ctx.execution_id, ctx.attempt))
        return True

    def runtime(self, lab: Any, first: NodeSpec = FIRST, **options: Any) -> Any:
        functions = {"first": self.first, "last": self.last}
        return lab.runtime(functions, [first, LAST], [WAY], shutdown_timeout_s=0.0, **options)


@pytest.fixture
def begin(until: Any) -> Any:
    """Triggers an execution, and waits until it has that status."""

    async def begin(runtime: Any, text: str, status: Status) -> str:
        execution: str = await runtime.trigger("main", {"text": text})
        await until(runtime, execution, status)
        return execution

    return begin


async def test_who_waits_is_held_with_the_reason_and_released_when_the_graph_fits(
    lab: Any, begin: Any, until: Any
) -> None:
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        asleep = await begin(runtime, "sleep", Status.WAITING)
        asking = await begin(runtime, "ask", Status.WAITING)
    for _ in range(2):  # held once, and told each time
        async with agent.runtime(lab, CHANGED) as runtime:
            found = runtime.recovery
            assert set(found.held) == {asleep, asking}
            assert all(WHY in reason for reason in found.held.values())
            assert (found.waiting, found.compatible, found.released) == (0, 0, 0)
            await until(runtime, asking, Status.HELD)
    async with agent.runtime(lab) as runtime:
        found = runtime.recovery
        assert (found.held, found.released, found.total) == ({}, 2, 2)
        await until(runtime, asleep, Status.WAITING)
        await until(runtime, asking, Status.WAITING)
        await runtime.answer(f"{asking}:q1", "this")
        result = await runtime.wait_for_completion(asking, timeout=20)
    assert (result.output["answer"], result.path) == ("this", ["first", "last"])
    assert [run[0] for run in agent.runs] == ["first", "first", "last"]


async def test_what_fits_another_version_goes_on_and_moves_to_it(lab: Any, begin: Any) -> None:
    """Of two versions that fit, nobody is read; each goes on when its time has come."""
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        asking = await begin(runtime, "ask", Status.WAITING)
    async with agent.runtime(lab, replace(FIRST, max_retries=5)) as runtime:
        assert (runtime.recovery.waiting, runtime.recovery.compatible) == (1, 1)
        assert runtime.recovery.held == {}
        await runtime.answer(f"{asking}:q1", "this")
        result = await runtime.wait_for_completion(asking, timeout=20)
    assert (result.status, result.path) == (Status.COMPLETED, ["first", "last"])


async def test_a_node_in_flight_whose_keys_changed_is_held_and_not_run(
    lab: Any, until: Any
) -> None:
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        execution = await runtime.trigger("main", {"text": "stay"})
        await agent.began.wait()
    async with agent.runtime(lab, CHANGED) as runtime:
        assert WHY in runtime.recovery.held[execution]
        await until(runtime, execution, Status.HELD)
    async with agent.runtime(lab) as runtime:
        assert runtime.recovery.released == 1
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert result.path == ["first", "last"]
    assert [run[2] for run in agent.runs] == [1, 2, 1]


async def test_who_is_queued_is_held_before_its_turn(lab: Any, begin: Any, until: Any) -> None:
    agent = Agent()
    points = [EntryPointSpec(id="main", entry_node="first", max_concurrent=1)]
    async with agent.runtime(lab, entry_points=points) as runtime:
        running = await runtime.trigger("main", {"text": "stay"})
        await agent.began.wait()
        queued = await begin(runtime, "talk", Status.QUEUED)
    async with agent.runtime(lab, CHANGED, entry_points=points) as runtime:
        assert set(runtime.recovery.held) == {running, queued}
        assert runtime.recovery.queued == 0
        await until(runtime, queued, Status.HELD)
        fresh = await runtime.trigger_and_wait("main", {"text": "talk", "tone": ""}, timeout=20)
        assert fresh.success
    async with agent.runtime(lab, entry_points=points) as runtime:
        for execution in (running, queued):
            result = await runtime.wait_for_completion(execution, timeout=20)
            assert result.path == ["first", "last"]


@pytest.mark.parametrize("status", [Status.PAUSED, Status.FAILED])
async def test_who_stands_still_is_refused_when_resumed_and_left_as_it_is(
    lab: Any, status: Status, begin: Any
) -> None:
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        text = "ask" if status is Status.PAUSED else "fail"
        execution = await begin(
            runtime, text, Status.WAITING if status is Status.PAUSED else status
        )
        if status is Status.PAUSED:
            assert await runtime.pause(execution)
    before = lab.look(execution)
    async with agent.runtime(lab, CHANGED) as runtime:
        assert runtime.recovery.held == {}
        for _ in range(2):
            with pytest.raises(GraphChanged) as caught:
                await runtime.resume(execution)
            assert caught.value.reasons == (WHY,)
            assert execution in str(caught.value)
        if status is Status.PAUSED:
            assert (await runtime.answer(f"{execution}:q1", "kept")).value == "accepted"
    after = lab.look(execution)
    assert after.status is status
    assert after.tokens == before.tokens
    async with agent.runtime(lab) as runtime:
        await runtime.resume(execution)
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert (result.status, result.path) == (Status.COMPLETED, ["first", "last"])
    assert result.output.get("answer") == ("kept" if status is Status.PAUSED else None)


async def test_a_pause_or_a_cancel_of_what_does_not_fit_is_what_was_asked_for(
    lab: Any, begin: Any, until: Any
) -> None:
    """Nobody has to mend a graph to be rid of a session."""
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        execution = await begin(runtime, "ask", Status.WAITING)
    async with agent.runtime(lab, CHANGED) as runtime:
        await until(runtime, execution, Status.HELD)
        assert await runtime.cancel_execution("main", execution)
    assert lab.look(execution).status is Status.CANCELLED


async def test_a_checkpoint_of_another_version_is_refused_with_the_reasons(
    lab: Any, begin: Any
) -> None:
    agent = Agent()
    config = CheckpointConfig()
    async with agent.runtime(lab, checkpoint_config=config) as runtime:
        execution = await begin(runtime, "talk", Status.COMPLETED)
        names = {one.current_node: one.checkpoint_id for one in runtime.list_checkpoints(execution)}
    async with agent.runtime(lab, CHANGED, checkpoint_config=config) as runtime:
        with pytest.raises(GraphChanged) as caught:
            await runtime.resume(execution, from_checkpoint=names["first"])
        assert caught.value.reasons == (WHY,)
        with pytest.raises(GraphChanged):
            await runtime.fork(execution, names["first"])
    other = replace(FIRST, id="other")
    functions = {"other": agent.first, "last": agent.last}
    way = [replace(WAY, source="other")]
    async with lab.runtime(functions, [other, LAST], way, checkpoint_config=config) as runtime:
        with pytest.raises(NodeNotFound, match="put the node back, or go on from another"):
            await runtime.resume(execution, from_checkpoint=names["first"])
    assert lab.look(execution).status is Status.COMPLETED


async def test_an_entry_point_that_comes_back_does_not_hide_that_the_graph_changed(
    lab: Any, begin: Any
) -> None:
    """Its sessions were held under the new graph, and stand at the old one still."""
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        execution = await begin(runtime, "ask", Status.WAITING)
    other = [EntryPointSpec(id="other", entry_node="first")]
    async with agent.runtime(lab, CHANGED, entry_points=other) as runtime:
        assert "is not registered any more" in runtime.recovery.held[execution]
    async with agent.runtime(lab, CHANGED) as runtime:
        with pytest.raises(GraphChanged):
            await runtime.resume(execution)
    assert lab.look(execution).status is Status.HELD


async def test_what_each_digest_stands_for_is_in_the_store_before_anything_else(
    lab: Any, begin: Any
) -> None:
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        execution = await begin(runtime, "ask", Status.WAITING)
    reader = open_reader(lab.folder / "store")
    try:
        digest = reader.read(lambda view: view.load(view.execution(execution).ordinal).plan)
        plan = reader.read(lambda view: view.plan(digest))
    finally:
        reader.close()
    assert (plan.graph_id, plan.version) == ("graph", "1.0.0")
    assert plan.nodes["first"].inputs == ("text",)
    assert lab.look(execution).tokens[1].phase is Phase.ASKING
