"""Questions that nobody answers in time, in real runtimes and over restarts."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import greenroom
from greenroom import AnswerOutcome, QuestionEnding, Status


class Asks:
    """One node that asks as it is told, and one after it."""

    def __init__(self, lab: Any, **limits: Any) -> None:
        self._lab, self._limits = lab, limits
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.expired = asyncio.Event()

    async def ask(self, ctx: greenroom.NodeContext) -> None:
        ctx.ask("?", to="said", **self._limits)

    async def after(self, said: str) -> str:
        return f"heard {said}"

    def runtime(self) -> greenroom.AgentRuntime:
        nodes = [
            greenroom.NodeSpec(id="ask"),
            greenroom.NodeSpec(id="after", input_keys=["said"]),
        ]
        edges = [greenroom.EdgeSpec(id="e", source="ask", target="after", condition="on_success")]
        runtime = self._lab.runtime({"ask": self.ask, "after": self.after}, nodes, edges)
        loop = asyncio.get_running_loop()
        runtime.subscribe_to_events(
            "client_input_requested",
            lambda event: loop.call_soon_threadsafe(
                self.asked.put_nowait, event.data["question_id"]
            ),
        )
        runtime.subscribe_to_events(
            "question_expired", lambda _: loop.call_soon_threadsafe(self.expired.set)
        )
        return runtime


@pytest.mark.asyncio
async def test_a_default_is_taken_and_a_later_answer_is_late(lab: Any) -> None:
    asks = Asks(lab, timeout=0.05, default="nothing", schema={"type": "string"})
    async with asks.runtime() as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
        assert (result.status, result.output["result"]) == (Status.COMPLETED, "heard nothing")
        asked = await asks.asked.get()
        question = runtime.get_question(asked)
        assert (question.ending, question.has_default, question.default) == (
            QuestionEnding.EXPIRED, True, "nothing",
        )  # fmt: skip
        assert question.deadline - question.asked_at < timedelta(seconds=1)
        for value in ("nothing", "something"):
            assert await runtime.answer(asked, value) is AnswerOutcome.LATE
        assert runtime.pending_questions() == []


@pytest.mark.asyncio
async def test_without_a_default_the_execution_fails_with_the_reason(lab: Any) -> None:
    async with Asks(lab, timeout=0).runtime() as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
        assert result.status is Status.FAILED
        assert result.error == (
            f"question {result.execution_id}:q1 of node 'ask' was not answered in time"
        )


@pytest.mark.asyncio
async def test_a_deadline_outlives_a_restart(lab: Any) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    asks = Asks(lab, deadline=soon, default="nothing")
    async with asks.runtime() as runtime:
        execution = await runtime.trigger("main")
        asked = await asks.asked.get()
        assert runtime.get_question(asked).deadline == soon
    async with asks.runtime() as runtime:
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.output["result"] == "heard nothing"


@pytest.mark.asyncio
async def test_an_answer_and_the_expiry_at_once_never_both_win(lab: Any) -> None:
    asks = Asks(lab, timeout=0.01, default="nothing")
    seen = set()
    async with asks.runtime() as runtime:
        for turn in range(40):
            asks.expired.clear()
            execution = await runtime.trigger("main")
            asked = await asks.asked.get()
            if turn % 2:
                await asks.expired.wait()
            outcome = await runtime.answer(asked, "something")
            result = await runtime.wait_for_completion(execution, timeout=20)
            accepted = outcome is AnswerOutcome.ACCEPTED
            assert accepted or outcome is AnswerOutcome.LATE
            assert result.output["result"] == ("heard something" if accepted else "heard nothing")
            ending = QuestionEnding.ANSWERED if accepted else QuestionEnding.EXPIRED
            assert runtime.get_question(asked).ending is ending
            seen.add(outcome)
        assert AnswerOutcome.LATE in seen


@pytest.mark.asyncio
async def test_what_cannot_be_a_limit_fails_the_node(lab: Any) -> None:
    now = datetime.now(UTC)
    for number, (limits, why) in enumerate(
        [
            ({"default": 1}, "a default is taken at a deadline"),
            ({"timeout": -1}, "timeout takes 0 to"),
            ({"timeout": float("nan")}, "timeout takes 0 to"),
            ({"timeout": 1, "deadline": now}, "not both"),
            ({"deadline": now.replace(tzinfo=None)}, "a datetime with a time zone"),
            ({"deadline": datetime.max.replace(tzinfo=UTC)}, "too far away"),
            ({"timeout": 1, "default": "x", "schema": {"type": "integer"}}, "is not of type"),
            ({"timeout": 1, "default": object()}, "cannot be stored"),
        ]
    ):
        async with Asks(lab, **limits).runtime() as runtime:
            result = await runtime.trigger_and_wait("main", timeout=20)
            assert result.status is Status.FAILED, number
            assert why in result.error, number
