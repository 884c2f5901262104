"""What a node may call as an effect, and what is asked of its stream."""

import asyncio
import functools
from typing import Any

import pytest

from greenroom.protocol.effects import EffectOutcome, EffectPolicy
from greenroom.protocol.errors import ActorStopped, InvalidInput, InvalidValue, StateAccessError
from greenroom.protocol.values import decode_value

KEY = "e1/n/1"


def outputs(result: Any) -> dict[str, Any]:
    assert result.error is None, result.error
    return {key: decode_value(raw) for key, raw in result.outputs.items()}


def plain(key: str, idempotency_key: str = "mine") -> list[str]:
    return [key, idempotency_key]


async def waiting(idempotency_key: str, /, **keywords: Any) -> Any:
    return [idempotency_key, keywords]


class Service:
    async def __call__(self, *, idempotency_key: str) -> str:
        return idempotency_key


def test_the_key_is_filled_in_where_it_is_asked_for_and_left_open(rig: Any) -> None:
    async def node(ctx: Any) -> Any:
        return {
            "plain": await ctx.effect("a", plain, "x"),
            "own": await ctx.effect("b", plain, "x", idempotency_key="given"),
            "by position": await ctx.effect("c", plain, "x", "given"),
            "positional": await ctx.effect("d", waiting, "given", name=1, function=2),
            "partial": await ctx.effect("e", functools.partial(plain, "y")),
            "object": await ctx.step("f", Service()),
            "builtin": await ctx.step("g", max, 1, 2),
            "for": [ctx.idempotency_key, ctx.idempotency_key_for("mail")],
        }

    rig.node(node)
    assert outputs(rig.run()) == {
        "plain": ["x", f"{KEY}/a/1"],
        "own": ["x", "given"],
        "by position": ["x", "given"],
        "positional": ["given", {"name": 1, "function": 2}],
        "partial": ["y", f"{KEY}/e/1"],
        "object": f"{KEY}/f/1",
        "builtin": 2,
        "for": [KEY, f"{KEY}/mail"],
    }


def test_what_is_asked_names_the_run_and_holds_the_result(rig: Any) -> None:
    rig.node(lambda ctx: ctx.effect_sync("pay", plain, "x", policy="once"))
    assert outputs(rig.run(token_id=3, visit=2, attempt=4))["result"] == ["x", "e1/n/2/pay/1"]
    intent, result = rig.inbox.asked
    for one in (intent, result):
        assert (one.incarnation, one.execution_id, one.slot) == (7, "e1", "pay/1")
        assert (one.token_id, one.visit, one.attempt) == (3, 2, 4)
        assert one.record.policy is EffectPolicy.ONCE
    assert (intent.record.outcome, intent.record.value) == (EffectOutcome.BEGUN, None)
    assert decode_value(result.record.value) == ["x", "e1/n/2/pay/1"]


def test_a_replay_asks_nothing_and_gives_a_fresh_copy(rig: Any) -> None:
    async def node(ctx: Any) -> Any:
        first = await ctx.step("look", plain, "x")
        first.append("spoilt")
        return first

    rig.node(node)
    rig.run()
    (asked,) = rig.inbox.asked
    again = rig.run(attempt=2, effects={asked.slot: asked.record})
    assert outputs(again)["result"] == ["x", f"{KEY}/look/1", "spoilt"]
    assert len(rig.inbox.asked) == 1


@pytest.mark.parametrize(
    ("error", "arguments", "options"),
    [
        (InvalidInput, ("pay", plain, "x"), {"policy": "twice"}),
        (InvalidInput, ("pay", plain, "x"), {"on_unknown": "wait"}),
        (InvalidInput, ("pay", plain, "x"), {"on_unknown": "ask", "policy": "repeat"}),
        (InvalidInput, ("pay", "no function"), {}),
        (InvalidInput, ("no/id", plain, "x"), {}),
        (InvalidInput, (None, plain, "x"), {}),
        (InvalidValue, ("pay", plain, object()), {}),
        (TypeError, ("pay", plain), {}),
        (TypeError, ("pay", plain, "x", "y", "z"), {}),
        (TypeError, ("pay", plain, "x"), {"unknown": 1}),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_is_recorded(
    rig: Any, error: type[Exception], arguments: Any, options: Any
) -> None:
    async def node(ctx: Any) -> None:
        with pytest.raises(error):
            await ctx.effect(*arguments, **{"policy": "once", **options})

    def sync(ctx: Any) -> None:
        with pytest.raises(error):
            ctx.effect_sync(*arguments, **{"policy": "once", **options})

    rig.node(node)
    rig.node(sync, "sync")
    assert outputs(rig.run()) == {}
    assert outputs(rig.run("sync")) == {}
    assert rig.inbox.asked == []


def test_a_plain_function_on_the_loop_and_an_async_call_in_the_pool_are_refused(rig: Any) -> None:
    def inline(ctx: Any) -> None:
        with pytest.raises(StateAccessError, match="would block the event loop"):
            ctx.step_sync("look", plain, "x")

    def in_pool(ctx: Any) -> None:
        with pytest.raises(InvalidInput, match="is async"):
            ctx.step_sync("look", waiting, "x")

    rig.node(inline, inline=True)
    rig.node(in_pool, "pool")
    assert outputs(rig.run()) == {}
    assert outputs(rig.run("pool")) == {}
    assert rig.inbox.asked == []


@pytest.mark.parametrize("answer", [False, ActorStopped("down")])
def test_a_run_whose_intent_is_refused_does_not_call(rig: Any, answer: Any) -> None:
    called: list[str] = []

    async def node(ctx: Any) -> None:
        await ctx.effect("pay", called.append, "x", policy="once")

    def sync(ctx: Any) -> None:
        ctx.effect_sync("pay", called.append, "x", policy="once")

    rig.node(node)
    rig.node(sync, "sync")
    rig.inbox.answer = answer
    for name in ("n", "sync"):
        result = rig.run(name)
        assert (result.error_types[0], result.retryable) == ("StaleNodeRun", False)
    assert called == []


def test_what_a_function_raises_reaches_the_node_whatever_it_is(rig: Any) -> None:
    class Odd(BaseException):
        pass

    def call(kind: type[BaseException]) -> None:
        raise kind("why")

    def node(ctx: Any) -> list[str]:
        seen = []
        for name, kind in (("a", ValueError), ("b", Odd), ("c", StopIteration)):
            try:
                ctx.step_sync(name, functools.partial(call, kind))
            except BaseException as error:  # noqa: BLE001 - that is the question
                seen.append(type(error).__name__)
        return seen

    rig.node(node)
    assert outputs(rig.run())["result"] == ["ValueError", "Odd", "RuntimeError"]


def test_who_stops_waiting_for_a_record_does_not_take_it_back(rig: Any) -> None:
    """The call was made: its record must not be skipped because its node waits no longer."""

    async def node(ctx: Any) -> bool:
        asked = asyncio.Event()
        rig.inbox.answer, rig.inbox.on_ask = None, asked.set
        waiting = asyncio.ensure_future(ctx.step("look", waiting_for_nobody))
        await asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return rig.inbox.pending[0].cancelled()

    async def waiting_for_nobody() -> None: ...

    rig.node(node)
    assert outputs(rig.run())["result"] is False
