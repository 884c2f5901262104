"""Questions to people: asked once, answered days later, whatever happens meanwhile."""

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest

import greenroom
from greenroom import AnswerOutcome, InvalidAnswer, QuestionEnding, Status
from greenroom.storage.check import check

BOOLEAN = {"type": "boolean"}
HISTORY = [
    *("execution_started", "client_input_requested", "execution_waiting"),
    *("question_answered", "execution_completed"),
]


class Desk:
    """An agent that writes, asks whether to publish, then publishes or drops; over one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[str] = []
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    def agent(self) -> greenroom.Agent:
        agent = greenroom.Agent("review")

        @agent.node(outputs=["draft", "ok"])
        async def write(topic: str, ctx: greenroom.NodeContext) -> dict[str, str]:
            self.runs.append("write")
            ctx.ask(f"Publish {topic}?", to="ok", schema=BOOLEAN, assignee=f"editor of {topic}")
            return {"draft": f"about {topic}"}

        @agent.node(outputs=["done"], terminal=True)
        async def publish(draft: str) -> str:
            self.runs.append("publish")
            return f"published {draft}"

        @agent.node(outputs=["done"], terminal=True)
        async def drop(draft: str) -> str:
            self.runs.append("drop")
            return f"dropped {draft}"

        agent.edge("write", "publish", when="output.ok")
        agent.edge("write", "drop", when="not output.ok")
        for name in ("api", "other"):
            agent.entry_point(name, "write", max_concurrent=1, max_queued=20_000)
        return agent

    def runtime(self, **settings: Any) -> greenroom.AgentRuntime:
        config = greenroom.AgentRuntimeConfig(execution_result_max=20_000, **settings)
        runtime = self.agent().runtime(self.folder / "store", config)
        loop = asyncio.get_running_loop()
        runtime.subscribe_to_events(
            "client_input_requested",
            lambda event: loop.call_soon_threadsafe(
                self.asked.put_nowait, event.data["question_id"]
            ),
        )
        return runtime

    async def question(self, runtime: Any, topic: str = "cats", entry: str = "api") -> str:
        """Trigger, and wait until it has asked."""
        await runtime.trigger(entry, {"topic": topic})
        async with asyncio.timeout(20):
            return await self.asked.get()


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    yield made
    if (tmp_path / "store").exists():
        assert check(tmp_path / "store") == []


def session(question_id: str) -> str:
    return question_id.rpartition(":")[0]


@pytest.mark.asyncio
async def test_an_answer_days_and_restarts_later_goes_on_behind_the_node(desk: Any) -> None:
    async with desk.runtime() as runtime:
        asked = await desk.question(runtime)
        execution = session(asked)
    async with desk.runtime() as runtime:
        assert str(runtime.recovery) == "recovered=0 queued=0 waiting=1 paused=0 held=0"
        (question,) = runtime.pending_questions()
        assert (question.id, question.session_id) == (asked, execution)
        assert (question.prompt, question.node_id, question.to) == ("Publish cats?", "write", "ok")
        assert (question.schema, question.assignee) == (BOOLEAN, "editor of cats")
        assert (question.entry_point, question.ending) == ("api", None)
        assert question.asked_at.tzinfo is not None
        assert await runtime.answer(asked, True, by="ada") is AnswerOutcome.ACCEPTED
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert (result.status, result.path) == (Status.COMPLETED, ["write", "publish"])
        assert (result.output["ok"], result.output["done"]) == (True, "published about cats")
        assert runtime.pending_questions() == []
        closed = runtime.get_question(asked)
        assert (closed.ending, closed.answered_by) == (QuestionEnding.ANSWERED, "ada")
        assert closed.closed_at >= closed.asked_at
        history = runtime.event_bus.get_history(execution_id=execution)
        kinds = [event.type.value for event in reversed(history)]
        assert [kind for kind in kinds if not kind.startswith("node_")] == HISTORY
    assert desk.runs == ["write", "publish"], "the node that asked ran once"


@pytest.mark.asyncio
async def test_every_answer_is_told_what_became_of_it(desk: Any) -> None:
    async with desk.runtime() as runtime:
        asked = await desk.question(runtime)
        with pytest.raises(InvalidAnswer) as refused:
            await runtime.answer(asked, "yes")
        assert (refused.value.path, refused.value.code) == ("$", "invalid_answer")
        assert [one.id for one in runtime.pending_questions()] == [asked], "it is open still"
        assert await runtime.answer(asked, False) is AnswerOutcome.ACCEPTED
        for _ in range(2):
            assert await runtime.answer(asked, False) is AnswerOutcome.DUPLICATE
            assert await runtime.answer(asked, True) is AnswerOutcome.CONFLICTING
        result = await runtime.wait_for_completion(session(asked), timeout=20)
        assert result.output["done"] == "dropped about cats"
    async with desk.runtime() as runtime:
        assert await runtime.answer(asked, False) is AnswerOutcome.DUPLICATE
        for unknown in (f"{session(asked)}:q2", "nobody:q1", "not a question", "", None):
            assert await runtime.answer(unknown, False) is AnswerOutcome.UNKNOWN
            assert runtime.get_question(unknown) is None
    with pytest.raises(greenroom.RuntimeNotRunning):
        await runtime.answer(asked, False)


@pytest.mark.asyncio
async def test_cancelling_closes_the_question_and_a_late_answer_changes_nothing(desk: Any) -> None:
    async with desk.runtime() as runtime:
        asked = await desk.question(runtime)
        waiting = asyncio.ensure_future(runtime.wait_for_completion(session(asked)))
        await asyncio.sleep(0)
        assert await runtime.cancel_execution("api", session(asked))
        assert (await waiting).status is Status.CANCELLED
        assert runtime.pending_questions() == []
        assert runtime.get_question(asked).ending is QuestionEnding.CLOSED
        assert await runtime.answer(asked, True) is AnswerOutcome.CLOSED
        result = runtime.get_execution_result("api", session(asked))
        assert (result.status, "ok" in result.output) == (Status.CANCELLED, False)
        assert runtime.event_bus.get_history("question_closed")[0].data == {"question_id": asked}


@pytest.mark.asyncio
async def test_an_answer_to_a_paused_execution_is_kept_until_it_is_resumed(desk: Any) -> None:
    async with desk.runtime() as runtime:
        asked = await desk.question(runtime)
        assert await runtime.pause(session(asked))
        assert [one.id for one in runtime.pending_questions()] == [asked]
        assert await runtime.answer(asked, True) is AnswerOutcome.ACCEPTED
        assert runtime.get_execution_result("api", session(asked)).status is Status.PAUSED
    async with desk.runtime() as runtime:
        await runtime.resume(session(asked))
        result = await runtime.wait_for_completion(session(asked), timeout=20)
        assert result.path == ["write", "publish"]


@pytest.mark.asyncio
async def test_a_deleted_session_takes_its_questions_along(desk: Any) -> None:
    async with desk.runtime() as runtime:
        asked = await desk.question(runtime)
        other = await desk.question(runtime, "dogs")
        assert await runtime.pause(session(asked))
        assert await runtime.delete_session(session(asked))
        assert [one.id for one in runtime.pending_questions()] == [other]
        assert runtime.get_question(asked) is None
        assert await runtime.answer(asked, True) is AnswerOutcome.UNKNOWN


@pytest.mark.asyncio
async def test_whoever_waits_for_the_end_goes_on_waiting(desk: Any) -> None:
    async with desk.runtime() as runtime:
        assert await runtime.trigger_and_wait("api", {"topic": "cats"}, timeout=0) is None
        asked = await desk.asked.get()
        assert await runtime.wait_for_completion(session(asked), timeout=0.05) is None
        assert runtime.get_execution_result("api", session(asked)) is None
        waiting = asyncio.ensure_future(runtime.wait_for_completion(session(asked)))
        await runtime.answer(asked, True)
        async with asyncio.timeout(20):
            assert (await waiting).success


@pytest.mark.asyncio
async def test_open_questions_are_listed_by_whose_they_are_page_by_page(desk: Any) -> None:
    async with desk.runtime() as runtime:
        topics = ["cats", "dogs", "cats", "owls", "cats"]
        ids = [await desk.question(runtime, topic) for topic in topics]
        other = await desk.question(runtime, "cats", "other")
        every = [*ids, other]
        assert [one.id for one in runtime.pending_questions()] == every
        assert [one.id for one in runtime.pending_questions("other")] == [other]
        cats = [one.id for one in runtime.pending_questions(assignee="editor of cats")]
        assert cats == [ids[0], ids[2], ids[4], other]
        assert [one.id for one in runtime.pending_questions("api", "editor of cats")] == cats[:3]
        assert [one.id for one in runtime.pending_questions(session_id=session(ids[1]))] == [ids[1]]
        assert runtime.pending_questions(assignee="editor") == []
        pages, last = [], None
        while page := runtime.pending_questions(limit=4, after=last):
            pages.append([one.id for one in page])
            last = page[-1].id
            await runtime.answer(last, True)
        assert pages == [every[:4], every[4:]]
        for bad in ({"limit": 0}, {"limit": 1_001}, {"after": "nobody:q1"}):
            with pytest.raises(greenroom.InvalidInput):
                runtime.pending_questions(**bad)


@pytest.mark.asyncio
async def test_of_two_answers_from_two_loops_one_counts(desk: Any) -> None:
    async with desk.runtime() as runtime:
        for turn in range(20):
            asked = await desk.question(runtime, f"turn {turn}")
            outcomes: dict[bool, AnswerOutcome] = {}
            both = threading.Barrier(2)

            def run(value: bool, asked: str = asked, into: Any = outcomes, at: Any = both) -> None:
                at.wait()
                into[value] = asyncio.run(runtime.answer(asked, value))

            await asyncio.gather(*(asyncio.to_thread(run, value) for value in (True, False)))
            assert sorted(outcomes.values()) == ["accepted", "conflicting"]
            result = await runtime.wait_for_completion(session(asked), timeout=20)
            assert outcomes[result.output["ok"]] is AnswerOutcome.ACCEPTED


@pytest.mark.asyncio
async def test_an_answer_and_a_cancel_at_once_never_both_win(desk: Any) -> None:
    seen = set()
    async with desk.runtime() as runtime:
        for turn in range(30):
            asked = await desk.question(runtime)
            calls = [runtime.answer(asked, True), runtime.cancel_execution("api", session(asked))]
            async with asyncio.timeout(20):
                if turn % 2:
                    outcome, cancelled = await asyncio.gather(*calls)
                else:
                    cancelled, outcome = await asyncio.gather(*reversed(calls))
            result = await runtime.wait_for_completion(session(asked), timeout=20)
            assert (result.status is Status.CANCELLED) == cancelled
            answered = outcome is AnswerOutcome.ACCEPTED
            assert answered or outcome is AnswerOutcome.CLOSED
            assert ("ok" in result.output) == answered
            ending = QuestionEnding.ANSWERED if answered else QuestionEnding.CLOSED
            assert runtime.get_question(asked).ending is ending
            seen.add(outcome)
        assert seen == {AnswerOutcome.ACCEPTED, AnswerOutcome.CLOSED}


@pytest.mark.asyncio
async def test_an_answer_is_one_commit_and_so_is_the_question(desk: Any) -> None:
    """Accept, ask, answer with the dispatch of what follows, end: four commits."""
    async with desk.runtime() as runtime:
        asked = await desk.question(runtime)
        before = runtime._assembly.store.stats()
        await runtime.answer(asked, True)
        await runtime.wait_for_completion(session(asked), timeout=20)
        after = runtime._assembly.store.stats()
        assert after.groups - before.groups <= 4, "a few syncs, the aggregator's included"
        stored = runtime._assembly.store.read(lambda reader: reader.execution(session(asked)))
        assert stored.seq == 4


@pytest.mark.asyncio
async def test_who_waits_for_an_answer_holds_no_permit_and_no_memory(desk: Any) -> None:
    """One execution may run at a time; a thousand wait, also after a restart."""
    async with desk.runtime() as runtime:
        ids = [await desk.question(runtime, str(n)) for n in range(1_000)]
        stats = runtime.get_stats()["streams"]["api"]
        assert (stats["active_executions"], stats["queued_executions"]) == (0, 0)
        assert _held_states() == 0
    async with desk.runtime() as runtime:
        assert runtime.recovery.waiting == 1_000
        assert _held_states() == 0
        outcomes = await asyncio.gather(*(runtime.answer(one, True) for one in ids[::10]))
        assert set(outcomes) == {AnswerOutcome.ACCEPTED}
        for one in ids[::10]:
            assert (await runtime.wait_for_completion(session(one), timeout=20)).success
        assert len(runtime.pending_questions(limit=1_000)) == 900
        assert _held_states() == 0


def _held_states() -> int:
    """Executions that a stream holds in memory."""
    gc.collect()
    streams = [one for one in gc.get_objects() if type(one).__name__ == "ExecutionStream"]
    return sum(len(one._roster) for one in streams)


@pytest.mark.asyncio
async def test_a_crash_of_the_stream_loses_no_question_and_no_answer(desk: Any) -> None:
    async with desk.runtime() as runtime:
        for turn in range(4):
            ids = [await desk.question(runtime, str(n)) for n in range(5)]
            answers = [asyncio.ensure_future(runtime.answer(one, True)) for one in ids]
            if turn % 2:
                await asyncio.sleep(0)
            runtime.get_stream("api").ref.kill()
            async with asyncio.timeout(20):
                outcomes = await asyncio.gather(*answers)
            assert {*outcomes} <= {AnswerOutcome.ACCEPTED, AnswerOutcome.DUPLICATE}
            for one in ids:
                assert (await runtime.wait_for_completion(session(one), timeout=20)).success
            await runtime.get_stream("api").ref.ready()
    assert desk.runs.count("write") == 20


@pytest.mark.asyncio
async def test_a_trigger_that_is_repeated_meanwhile_is_in_nobodys_way(desk: Any) -> None:
    """It is refused as a duplicate; what reaches the stream in between is not lost with it."""
    async with desk.runtime() as runtime:
        for turn in range(10):
            asked = await desk.question(runtime)
            execution = session(asked)
            if turn % 2:
                assert await runtime.pause(execution)
                wish = runtime.resume(execution)
            else:
                wish = runtime.answer(asked, True)
            again = runtime.trigger("api", {"topic": "cats"}, execution_id=execution)
            async with asyncio.timeout(20):
                repeated, outcome = await asyncio.gather(again, wish)
            assert repeated == execution
            if turn % 2:
                outcome = await runtime.answer(asked, True)
            assert outcome is AnswerOutcome.ACCEPTED
            assert (await runtime.wait_for_completion(execution, timeout=20)).success
        assert runtime.get_stats()["streams"]["api"]["available_slots"] == 1


@pytest.mark.asyncio
async def test_an_answer_waits_in_the_line_when_no_permit_is_free(lab: Any, new_gate: Any) -> None:
    """Woken executions come before new ones."""
    gate, order = new_gate(), []

    async def work(ctx: Any, name: str) -> None:
        if name == "asks":
            ctx.ask("?", to="said")
            return
        await gate.wait(name)

    async def after(name: str, said: Any = None) -> None:
        order.append((name, said))

    nodes = [
        greenroom.NodeSpec(id="work", input_keys=["name"]),
        greenroom.NodeSpec(id="after", input_keys=["name", "said"]),
    ]
    edges = [greenroom.EdgeSpec(id="e", source="work", target="after")]
    entry = [greenroom.EntryPointSpec(id="main", entry_node="work", max_concurrent=1)]
    functions = {"work": work, "after": after}
    async with lab.runtime(functions, nodes, edges, entry) as runtime:
        asking = await runtime.trigger("main", {"name": "asks"})
        others = [await runtime.trigger("main", {"name": name}) for name in ("first", "second")]
        await gate.came()
        (question,) = runtime.pending_questions()
        assert await runtime.answer(question.id, 1) is AnswerOutcome.ACCEPTED
        gate.open()
        for one in (asking, *others):
            assert (await runtime.wait_for_completion(one, timeout=20)).success
    assert order == [("first", None), ("asks", 1), ("second", None)]


@pytest.mark.asyncio
async def test_an_answer_to_an_entry_point_that_is_gone_says_so(lab: Any) -> None:
    async def work(ctx: Any) -> None:
        ctx.ask("?")

    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    runtime = lab.runtime({"work": work})
    runtime.subscribe_to_events(
        "client_input_requested", lambda _: loop.call_soon_threadsafe(asked.set)
    )
    async with runtime:
        await runtime.trigger("main")
        async with asyncio.timeout(20):
            await asked.wait()
    other = [greenroom.EntryPointSpec(id="other", entry_node="work")]
    async with lab.runtime({"work": work}, entry_points=other) as runtime:
        (question,) = runtime.pending_questions()
        with pytest.raises(greenroom.EntryPointNotFound):
            await runtime.answer(question.id, 1)
        with pytest.raises(greenroom.InvalidValue):
            await runtime.answer(question.id, float("nan"))
        with pytest.raises(greenroom.InvalidValue):
            await runtime.answer(question.id, 1, by="")
