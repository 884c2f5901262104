"""`inject_input`: kept while the node is busy, refused when it is for nobody or for several."""

import asyncio
from typing import Any

import pytest

import greenroom
from greenroom import AmbiguousInput, InboxFull, InjectionOutcome, InvalidAnswer, Status
from greenroom.actors.stream import steps
from greenroom.protocol.limits import INBOX_MAX
from greenroom.protocol.stream_messages import AtNode

NODES = [
    greenroom.NodeSpec(id="talk", max_retries=3, backoff_initial_s=0),
    greenroom.NodeSpec(id="reply", input_keys=["said"]),
]
EDGES = [greenroom.EdgeSpec(id="e", source="talk", target="reply")]


class Talk:
    """A node that waits in a gate, then asks for a text; and one that repeats the answer."""

    def __init__(self, lab: Any, gate: Any) -> None:
        self._lab, self.gate = lab, gate
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.fails = 0

    async def talk(self, ctx: greenroom.NodeContext) -> None:
        await self.gate.wait(ctx.execution_id)
        ctx.ask("What?", to="said", schema={"type": "string"})
        if ctx.attempt <= self.fails:
            raise ConnectionError("not now")

    async def reply(self, said: str) -> str:
        return f"you said {said}"

    def runtime(self) -> greenroom.AgentRuntime:
        functions = {"talk": self.talk, "reply": self.reply}
        runtime = self._lab.runtime(functions, NODES, EDGES)
        loop = asyncio.get_running_loop()
        runtime.subscribe_to_events(
            "client_input_requested",
            lambda event: loop.call_soon_threadsafe(
                self.asked.put_nowait, event.data["question_id"]
            ),
        )
        return runtime


@pytest.fixture
def talk(lab: Any, new_gate: Any) -> Talk:
    return Talk(lab, new_gate())


async def _ended(runtime: Any, execution: str) -> str:
    result = await runtime.wait_for_completion(execution, timeout=20)
    assert result.status is Status.COMPLETED, result.error
    return str(result.output["result"])


@pytest.mark.asyncio
async def test_input_for_a_busy_node_is_kept_and_answers_what_it_asks(talk: Talk) -> None:
    talk.fails = 1
    async with talk.runtime() as runtime:
        execution = await runtime.trigger("main")
        await talk.gate.came()
        assert await runtime.inject_input("talk", "hello") is InjectionOutcome.KEPT
        talk.gate.open()
        assert await _ended(runtime, execution) == "you said hello"
        assert runtime.pending_questions() == []
        stored = runtime._assembly.store.read(lambda reader: reader.execution(execution))
        assert stored.seq == 5, "accept, inject, failure, question with answer, end"


@pytest.mark.asyncio
async def test_what_was_kept_outlives_a_restart_and_a_crash_of_the_stream(talk: Talk) -> None:
    async with talk.runtime() as runtime:
        execution = await runtime.trigger("main")
        await talk.gate.came()
        assert await runtime.inject_input("talk", 7) is InjectionOutcome.KEPT, "fits nothing yet"
        assert await runtime.inject_input("talk", "hello", execution) is InjectionOutcome.KEPT
        runtime.get_stream("main").ref.kill()
        await talk.gate.came()
        assert await runtime.pause(execution)
    talk.gate.open()
    async with talk.runtime() as runtime:
        await runtime.resume(execution)
        assert await _ended(runtime, execution) == "you said hello"


@pytest.mark.asyncio
async def test_input_for_a_node_that_waits_is_its_answer(talk: Talk) -> None:
    talk.gate.open()
    async with talk.runtime() as runtime:
        execution = await runtime.trigger("main")
        await talk.asked.get()
        with pytest.raises(InvalidAnswer):
            await runtime.inject_input("talk", 7)
        assert await runtime.inject_input("talk", "hello") is InjectionOutcome.ANSWERED
        assert await _ended(runtime, execution) == "you said hello"
        for node, named in (("talk", None), ("talk", execution), ("nowhere", None)):
            outcome = await runtime.inject_input(node, "more", named)
            assert outcome is InjectionOutcome.NOBODY_WAITS
        with pytest.raises(greenroom.ExecutionNotFound):
            await runtime.inject_input("talk", "more", "unknown")
        with pytest.raises(greenroom.InvalidValue):
            await runtime.inject_input("talk", float("nan"))


@pytest.mark.asyncio
async def test_input_that_could_be_for_several_must_say_for_which(talk: Talk) -> None:
    async with talk.runtime() as runtime:
        waits = await runtime.trigger("main")
        await talk.gate.came()
        talk.gate.let_go()
        await talk.asked.get()
        runs = await runtime.trigger("main")
        await talk.gate.came()
        with pytest.raises(AmbiguousInput) as refused:
            await runtime.inject_input("talk", "hello")
        assert sorted(refused.value.execution_ids) == sorted([waits, runs])
        assert await runtime.inject_input("talk", "one", waits) is InjectionOutcome.ANSWERED
        assert await _ended(runtime, waits) == "you said one"
        assert await runtime.inject_input("talk", "two") is InjectionOutcome.KEPT
        talk.gate.open()
        assert await _ended(runtime, runs) == "you said two"


@pytest.mark.asyncio
async def test_what_is_kept_is_bounded_and_says_so(talk: Talk) -> None:
    async with talk.runtime() as runtime:
        execution = await runtime.trigger("main")
        await talk.gate.came()
        calls = (runtime.inject_input("talk", str(n)) for n in range(INBOX_MAX))
        assert set(await asyncio.gather(*calls)) == {InjectionOutcome.KEPT}
        with pytest.raises(InboxFull) as refused:
            await runtime.inject_input("talk", "one too many")
        assert (refused.value.execution_id, refused.value.retryable) == (execution, True)
        talk.gate.open()
        assert (await _ended(runtime, execution)).startswith("you said ")


@pytest.mark.asyncio
async def test_input_that_comes_while_the_node_ends_is_never_lost(talk: Talk) -> None:
    """Whichever is first, the execution gets it, and its waiter is released."""
    seen = set()
    async with talk.runtime() as runtime:
        for turn in range(30):
            execution = await runtime.trigger("main")
            await talk.gate.came()
            talk.gate.let_go()
            for _ in range(turn % 6):
                await asyncio.sleep(0)
            seen.add(await runtime.inject_input("talk", f"turn {turn}"))
            assert InjectionOutcome.NOBODY_WAITS not in seen, f"turn {turn}"
            assert await _ended(runtime, execution) == f"you said turn {turn}"
    assert seen <= {InjectionOutcome.KEPT, InjectionOutcome.ANSWERED}


@pytest.mark.asyncio
async def test_input_finds_a_node_that_ends_while_it_is_looked_for(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talk.runtime() as runtime:
        execution = await runtime.trigger("main")
        await talk.gate.came()
        refs = runtime._assembly.streams.refs
        stream = refs["main"]

        class Late:
            """The stream, which is not asked who stands at the node before that one waits."""

            async def ask(self, message: Any) -> Any:
                if isinstance(message, AtNode):
                    talk.gate.let_go()
                    await talk.asked.get()
                return await stream.ask(message)

        with monkeypatch.context() as patched:
            patched.setitem(refs, "main", Late())
            outcome = await runtime.inject_input("talk", "hello")
        assert outcome is InjectionOutcome.ANSWERED
        assert await _ended(runtime, execution) == "you said hello"


@pytest.mark.asyncio
async def test_a_stream_that_crashes_before_its_answer_keeps_the_input_once(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is durable, nobody was told, and the next instance gets the same message."""
    known, planted = steps.apply, [True]

    def broken(state: Any, patch: Any, seq: int) -> Any:
        if patch.inbox and planted:
            planted.clear()
            raise ZeroDivisionError("planted")
        return known(state, patch, seq)

    monkeypatch.setattr(steps, "apply", broken)
    async with talk.runtime() as runtime:
        execution = await runtime.trigger("main")
        await talk.gate.came()
        assert await runtime.inject_input("talk", "hello", execution) is InjectionOutcome.KEPT
        assert planted == []
        store = runtime._assembly.store
        ordinal = store.read(lambda reader: reader.execution(execution)).ordinal
        assert len(store.read(lambda reader: reader.load_state(ordinal)).inbox) == 1
        talk.gate.open()
        assert await _ended(runtime, execution) == "you said hello"
