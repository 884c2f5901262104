"""Several nodes of one execution ask at once, or are the same node, and nothing is mixed up."""

import asyncio
from typing import Any

import pytest

from greenroom import (
    AmbiguousBranch,
    AnswerOutcome,
    EdgeSpec,
    EventType,
    NodeContext,
    NodeSpec,
    Status,
)

NODES = [NodeSpec(id="ask", max_retries=1, max_node_visits=0), NodeSpec(id="done")]
EDGES = [EdgeSpec(id="e", source="ask", target="done")]


@pytest.mark.asyncio
async def test_a_branch_is_told_the_id_that_its_question_then_has(lab: Any, new_gate: Any) -> None:
    """Also when another branch has asked since it began."""
    gate, told = new_gate(), []

    async def ask(ctx: NodeContext) -> None:
        await gate.wait()
        told.append(ctx.ask("may I?"))

    lab.plant("ask", "ask", in_branches=True)
    async with lab.runtime({"ask": ask, "done": lambda: None}, NODES, EDGES) as runtime:
        asked = asyncio.Event()
        runtime.event_bus.subscribe([EventType.CLIENT_INPUT_REQUESTED], lambda _: asked.set())
        await gate.came(2)
        gate.open()
        async with asyncio.timeout(20):
            await asked.wait()
        assert set(told) <= {"planted:q1.1", "planted:q2.1"}
        for question in runtime.pending_questions():
            assert question.id in told
            assert await runtime.answer(question.id, True) is AnswerOutcome.ACCEPTED
        result = await runtime.wait_for_completion("planted", timeout=20)
        assert result.status is Status.COMPLETED


@pytest.mark.asyncio
async def test_input_that_could_be_for_several_branches_must_say_for_which(
    lab: Any, new_gate: Any
) -> None:
    gate = new_gate()
    lab.plant("ask", "ask", in_branches=True)
    functions = {"ask": lambda: gate.wait(), "done": lambda: None}
    async with lab.runtime(functions, NODES, EDGES) as runtime:
        await gate.came(2)
        for execution_id in (None, "planted"):
            with pytest.raises(AmbiguousBranch, match="by its id") as refused:
                await runtime.inject_input("ask", "for whom?", execution_id)
            assert refused.value.execution_ids == ["planted"]
        gate.open()
        await runtime.wait_for_completion("planted", timeout=20)
