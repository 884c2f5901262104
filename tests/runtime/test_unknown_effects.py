"""What a person says of an effect whose outcome is unknown, over restarts, through the facade."""

import asyncio
from typing import Any

import pytest

from greenroom import InvalidAnswer, NodeSpec
from greenroom.protocol.questions import AnswerOutcome

pytestmark = pytest.mark.asyncio

ORDER = NodeSpec(id="order", max_retries=3, backoff_initial_s=0)


class Shop:
    """Pays once, then loses the line while it ships, as often as it is told to."""

    def __init__(self, lost: int = 1) -> None:
        self.calls: list[str] = []
        self._lost = lost

    def pay(self) -> str:
        self.calls.append("pay")
        return "paid"

    def ship(self) -> str:
        self.calls.append("ship")
        if self._lost:
            self._lost -= 1
            raise ConnectionError("the line is dead")
        return "parcel"

    async def order(self, ctx: Any) -> Any:
        await ctx.step("pay", self.pay)
        parcel = await ctx.effect("ship", self.ship, policy="once", on_unknown="ask")
        return {"parcel": parcel, "attempt": ctx.attempt}


async def ask(lab: Any, shop: Shop) -> tuple[str, str]:
    """Let it become unknown, and stop the runtime; returns the ids of execution and question."""
    async with lab.runtime({"order": shop.order}, [ORDER]) as runtime:
        execution = await runtime.trigger("main", {})
        stream = await question_of(runtime)
        assert (stream.node_id, stream.effect, stream.to) == ("order", "ship/1", "")
        return execution, stream.id


async def question_of(runtime: Any) -> Any:
    """Wait for the question."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    runtime.subscribe_to_events(
        "client_input_requested", lambda _: loop.call_soon_threadsafe(asked.set)
    )
    if not runtime.pending_questions():
        async with asyncio.timeout(20):
            await asked.wait()
    (question,) = runtime.pending_questions()
    return question


@pytest.mark.parametrize(
    ("said", "parcel", "calls"),
    [
        ({"outcome": "happened", "result": "found it"}, "found it", ["pay", "ship"]),
        ({"outcome": "call_again"}, "parcel", ["pay", "ship", "ship"]),
    ],
)
async def test_the_node_goes_on_with_what_a_person_says(
    lab: Any, said: Any, parcel: str, calls: list[str]
) -> None:
    shop = Shop()
    execution, question = await ask(lab, shop)
    async with lab.runtime({"order": shop.order}, [ORDER]) as runtime:
        with pytest.raises(InvalidAnswer):
            await runtime.answer(question, {"outcome": "perhaps"})
        assert await runtime.answer(question, said, by="ann") is AnswerOutcome.ACCEPTED
        assert await runtime.answer(question, said) is AnswerOutcome.DUPLICATE
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.success, result.error
    assert result.output == {"parcel": parcel, "attempt": 2}
    assert shop.calls == calls


async def test_a_person_may_let_it_fail_and_it_is_not_asked_again(lab: Any) -> None:
    shop = Shop()
    execution, question = await ask(lab, shop)
    async with lab.runtime({"order": shop.order}, [ORDER]) as runtime:
        await runtime.answer(question, {"outcome": "fail"})
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.status == "failed"
        assert "a person gave it up" in result.error
        assert runtime.pending_questions() == []
    assert shop.calls == ["pay", "ship"]


async def test_what_is_unknown_again_is_asked_again(lab: Any) -> None:
    shop = Shop(lost=2)
    execution, question = await ask(lab, shop)
    async with lab.runtime({"order": shop.order}, [ORDER]) as runtime:
        await runtime.answer(question, {"outcome": "call_again"})
        again = await question_of(runtime)
        assert again.id != question
        await runtime.answer(again.id, {"outcome": "happened", "result": 7})
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert result.output["parcel"] == 7
    assert shop.calls == ["pay", "ship", "ship"]
