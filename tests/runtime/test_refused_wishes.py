"""What people ask for and cannot get: they are told so, and what runs is not disturbed."""

import asyncio
from typing import Any

import pytest

from greenroom import EdgeSpec, NodeContext, NodeSpec, NotResumable, Status
from greenroom.actors.stream import steps
from greenroom.actors.stream.roster import Roster
from greenroom.protocol.engine.ticks import Answer
from greenroom.protocol.errors import CommitRefused, StoreCorrupt

NODES = [NodeSpec(id="ask", max_retries=1), NodeSpec(id="work", max_retries=1)]
EDGES = [EdgeSpec(id="e", source="ask", target="work")]


@pytest.mark.asyncio
async def test_an_answer_that_holds_its_execution_was_not_accepted(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its question stays open, to be answered after the resume."""

    def ask(ctx: NodeContext) -> None:
        ctx.ask("Go on?", to="ok")

    known = steps.advance

    def broken(plan: Any, state: Any, tick: Any, now: float) -> Any:
        if isinstance(tick, Answer):
            raise StoreCorrupt("a value that is none")
        return known(plan, state, tick, now)

    async with lab.runtime({"ask": ask, "work": lambda: None}, NODES, EDGES) as runtime:
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        runtime.subscribe_to_events(
            "client_input_requested", lambda event: loop.call_soon_threadsafe(asked.set)
        )
        execution = await runtime.trigger("main")
        async with asyncio.timeout(20):
            await asked.wait()
        (question,) = runtime.pending_questions()
        with monkeypatch.context() as patched:
            patched.setattr(steps, "advance", broken)
            with pytest.raises(CommitRefused):
                await runtime.answer(question.id, True)
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.status is Status.HELD
        await runtime.resume(execution)
        assert await runtime.answer(question.id, True) == "accepted"
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.status is Status.COMPLETED


@pytest.mark.asyncio
async def test_a_way_back_that_cannot_be_read_leaves_what_runs_alone(
    lab: Any, new_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node ends, and somebody is there to hear of it."""
    gate = new_gate()

    async def ask() -> None:
        await gate.wait()

    async with lab.runtime({"ask": ask, "work": lambda: None}, NODES, EDGES) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        checkpoint = await runtime.create_checkpoint(execution)
        monkeypatch.setattr(Roster, "way_on", lambda *_: None)
        with pytest.raises(NotResumable):
            await runtime.resume(execution, from_checkpoint=checkpoint.checkpoint_id)
        gate.open()
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result is not None
        assert result.status is Status.COMPLETED
