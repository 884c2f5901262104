"""Executions with a concurrency key that were taken back, after their end, to where they wait."""

import asyncio
from typing import Any

import pytest

from greenroom import CheckpointConfig, EdgeSpec, EntryPointSpec, NodeContext, NodeSpec, Status

NODES = [NodeSpec(id="ask", max_retries=1), NodeSpec(id="work", max_retries=1)]
EDGES = [EdgeSpec(id="a-w", source="ask", target="work")]


@pytest.mark.asyncio
async def test_an_answer_does_not_let_it_run_beside_who_has_its_key_now(
    lab: Any, new_gate: Any
) -> None:
    """The key was given back by the end, so it queues for it, permits or not."""
    gate = new_gate()

    def ask(ctx: NodeContext) -> None:
        if ctx.execution_id == "first":
            ctx.ask("Go on?", to="ok")

    async def work(ctx: NodeContext) -> None:
        await gate.wait(ctx.execution_id)

    points = [EntryPointSpec(id="main", entry_node="ask", max_concurrent=5)]
    async with lab.runtime(
        {"ask": ask, "work": work}, NODES, EDGES, points, checkpoint_config=CheckpointConfig()
    ) as runtime:
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        runtime.subscribe_to_events(
            "client_input_requested", lambda event: loop.call_soon_threadsafe(asked.set)
        )
        await runtime.trigger("main", {}, execution_id="first", concurrency_key="k")
        await runtime.trigger("main", {}, execution_id="second", concurrency_key="k")
        async with asyncio.timeout(20):
            await asked.wait()
        (question,) = runtime.pending_questions()
        await runtime.answer(question.id, True)
        assert await gate.came() == ["first"]
        (there,) = [
            one
            for one in runtime.list_checkpoints("first", "node_complete")
            if one.current_node == "ask"
        ]
        gate.let_go()
        assert await gate.came() == ["second"]
        await runtime.resume("first", from_checkpoint=there.checkpoint_id)
        (question,) = runtime.pending_questions()
        await runtime.answer(question.id, True)
        assert runtime.get_session("first").status is Status.QUEUED
        gate.let_go()
        assert await gate.came() == ["first"]
        assert gate.most == 1
        gate.open()
        for name in ("first", "second"):
            result = await runtime.wait_for_completion(name, timeout=20)
            assert result.status is Status.COMPLETED


@pytest.mark.asyncio
async def test_routers_that_it_passes_do_not_take_the_key_from_who_has_it(
    lab: Any, new_gate: Any
) -> None:
    """It goes on from a node that has ended, so routers are passed before it queues."""
    gate = new_gate()

    async def work(ctx: NodeContext) -> None:
        await gate.wait(ctx.execution_id)

    nodes = [
        NodeSpec(id="begin", max_retries=1),
        NodeSpec(id="which", node_type="router", routes={"default": "work"}),
        NodeSpec(id="work", max_retries=1),
    ]
    edges = [EdgeSpec(id="b-w", source="begin", target="which")]
    points = [EntryPointSpec(id="main", entry_node="begin", max_concurrent=5)]
    config = CheckpointConfig()
    functions = {"begin": lambda: None, "work": work}
    async with lab.runtime(
        functions, nodes, edges, points, pauses=["begin"], checkpoint_config=config
    ) as runtime:
        for name in ("first", "second"):
            await runtime.trigger("main", {}, execution_id=name, concurrency_key="k")
        assert (await runtime.wait_for_completion("first", timeout=20)).status is Status.PAUSED
        (there,) = runtime.list_checkpoints("first", "pause")
        await runtime.cancel_execution("main", "first")
        assert (await runtime.wait_for_completion("second", timeout=20)).status is Status.PAUSED
        await runtime.resume("second")
        assert await gate.came() == ["second"]
        await runtime.resume("first", from_checkpoint=there.checkpoint_id)
        assert runtime.get_session("first").status is Status.QUEUED
        gate.let_go()
        assert await gate.came() == ["first"]
        gate.open()
        for name in ("first", "second"):
            result = await runtime.wait_for_completion(name, timeout=20)
            assert result.status is Status.COMPLETED
