"""Forking sessions: a new session begins where another one stood, and both go on."""

import asyncio
from typing import Any

import pytest

from greenroom import (
    Budget,
    CheckpointConfig,
    CheckpointNotFound,
    EdgeSpec,
    EntryPointSpec,
    ExecutionNotFound,
    ForkedFrom,
    IdempotencyConflict,
    InvalidId,
    InvalidInput,
    NodeContext,
    NodeNotFound,
    NodeSpec,
    NotForkable,
    Overloaded,
    PositionNotFound,
    RateLimited,
    RuntimeNotRunning,
    Status,
)

POLICY = CheckpointConfig()
NODES = [
    NodeSpec(id="draft", input_keys=["topic"], output_keys=["text"], max_retries=1),
    NodeSpec(id="check", output_keys=["checked"], max_retries=1),
    NodeSpec(id="send", output_keys=["sent"], max_retries=1),
]
EDGES = [
    EdgeSpec(id="d-c", source="draft", target="check", condition="on_success"),
    EdgeSpec(id="c-s", source="check", target="send", condition="on_success"),
]


class Desk:
    """Three nodes that note what they did, and under which key; `check` waits in a gate."""

    def __init__(self, gate: Any = None) -> None:
        self.done: list[tuple[str, str]] = []
        self._gate = gate

    def draft(self, topic: str, ctx: NodeContext) -> str:
        self.done.append(("draft", ctx.idempotency_key))
        return f"about {topic}"

    async def check(self, ctx: NodeContext) -> bool:
        self.done.append(("check", ctx.idempotency_key))
        if self._gate is not None:
            await self._gate.wait(ctx.execution_id)
        return True

    async def send(self, ctx: NodeContext) -> str:
        def post(idempotency_key: str) -> str:
            self.done.append(("post", idempotency_key))
            return idempotency_key

        return await ctx.effect("post", post)

    def runtime(self, lab: Any, nodes: Any = NODES, edges: Any = EDGES, **settings: Any) -> Any:
        functions = {node.id: getattr(self, node.id) for node in nodes}
        settings.setdefault("terminal", ["send"])
        return lab.runtime(functions, nodes, edges, checkpoint_config=POLICY, **settings)


async def completed(runtime: Any, session: str) -> Any:
    result = await runtime.wait_for_completion(session, timeout=20)
    assert result.status is Status.COMPLETED
    return result


@pytest.mark.asyncio
async def test_a_fork_at_any_record_ends_as_its_parent_and_only_the_rest_is_done(lab: Any) -> None:
    """Also in another process, and the parent stays as it was."""
    desk = Desk()
    async with desk.runtime(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        before = runtime.get_session("s")
    rest = [["draft", "check", "post"], ["check", "post"], ["post"]]
    async with desk.runtime(lab) as runtime:
        for seq, expected in enumerate(rest, start=1):
            desk.done.clear()
            fork = await runtime.fork("s", seq=seq, memory={"topic": "dogs", "n": seq})
            result = await completed(runtime, fork)
            assert [node for node, _ in desk.done] == expected
            assert all(key.startswith(f"{fork}/") for _, key in desk.done), "keys are new ones"
            assert result.output["text"] == ("about dogs" if seq == 1 else "about cats")
            assert (result.output["n"], result.path) == (seq, ["draft", "check", "send"])
            session = runtime.get_session(fork)
            assert session.forked_from == ForkedFrom(session_id="s", seq=seq)
            assert session.input_data == {"topic": "dogs", "n": seq}
            assert (session.run, session.steps_executed) == (1, 3)
        listed = runtime.list_sessions().sessions
        assert [one.forked_from and one.forked_from.seq for one in listed] == [3, 2, 1, None]
        assert runtime.get_session("s") == before


@pytest.mark.asyncio
async def test_a_running_parent_goes_on_beside_its_fork(lab: Any, new_gate: Any) -> None:
    gate = new_gate()
    desk = Desk(gate)
    async with desk.runtime(lab) as runtime:
        parent = await runtime.trigger("main", {"topic": "cats"})
        await gate.came()
        here = await runtime.fork(parent)
        (name,) = runtime.list_checkpoints(parent, "node_start", limit=1)
        there = await runtime.fork(parent, name.checkpoint_id, memory={"editor": "Ada"})
        assert sorted(await gate.came(2)) == sorted([here, there])
        gate.open()
        for session in (parent, here, there):
            await completed(runtime, session)
        assert runtime.get_session(there).memory["editor"] == "Ada"
        assert "editor" not in runtime.get_session(here).memory
        checked = [key for node, key in desk.done if node == "check"]
        assert sorted(checked) == sorted(f"{one}/check/1" for one in (parent, here, there))


@pytest.mark.asyncio
async def test_the_events_of_a_fork_say_where_it_came_from(lab: Any) -> None:
    async with Desk().runtime(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        heard: list[Any] = []
        runtime.subscribe_to_events(
            ["execution_forked", "execution_started", "execution_completed"], heard.append
        )
        fork = await runtime.fork("s", seq=2, memory={"large": "x" * 10_000})
        result = await completed(runtime, fork)
        await runtime.event_bus.settled("sub_1")
        assert [one.type.value for one in heard] == [
            *("execution_forked", "execution_started", "execution_completed"),
        ]
        assert {one.execution_id for one in heard} == {fork}
        assert {one.correlation_id for one in heard} == {"s"}
        assert heard[0].data == {"session_id": "s", "seq": 2}
        assert heard[1].data["input"] == {
            "topic": "cats",
            "text": "about cats",
            "large": "x" * 10_000,
        }
        assert heard[2].data["output"] == result.output


@pytest.mark.asyncio
async def test_a_repeat_of_a_fork_is_answered_the_same_session_also_after_its_parent(
    lab: Any, new_gate: Any
) -> None:
    """Also when the parent has gone on meanwhile, and `None` would mean another position."""
    gate = new_gate()
    async with Desk(gate).runtime(lab) as runtime:
        await runtime.trigger("main", {"topic": "cats"}, execution_id="s")
        await gate.came()
        fork = await runtime.fork("s", memory={"n": 1}, idempotency_key="k")
        named = await runtime.fork("s", execution_id="mine")
        gate.open()
        for session in ("s", fork, named):
            await completed(runtime, session)
        assert await runtime.fork("s", memory={"n": 1}, idempotency_key="k") == fork
        assert await runtime.fork("s", execution_id="mine") == named == "mine"
        await runtime.delete_session("s")
        assert await runtime.fork("s", memory={"n": 1}, idempotency_key="k") == fork
        assert await runtime.fork("s", execution_id="mine") == "mine"
        with pytest.raises(IdempotencyConflict):
            await runtime.fork("s", memory={"n": 2}, idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            await runtime.fork("s", seq=1, memory={"n": 1}, idempotency_key="k")
        with pytest.raises(ExecutionNotFound):
            await runtime.fork("s", idempotency_key="other")
        with pytest.raises(InvalidInput, match="is no fork of mine"):
            await runtime.fork("mine", seq=1, execution_id=fork)


@pytest.mark.asyncio
async def test_what_cannot_be_forked_is_refused_by_what_is_wrong_with_it(lab: Any) -> None:
    async with Desk().runtime(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        (end,) = runtime.list_checkpoints("s", limit=1)
        for wrong, error, text in (
            (("s",), NotForkable, "nothing follows"),
            (("s", end.checkpoint_id), NotForkable, "nothing follows"),
            (("s", "latest"), CheckpointNotFound, "no checkpoint 'latest'"),
            (("s", 7), CheckpointNotFound, "no checkpoint 7"),
            (("s", object()), InvalidInput, "name no position"),
            (("nobody",), ExecutionNotFound, "'nobody'"),
            (("../s",), ExecutionNotFound, "no execution"),
            ((7,), InvalidId, "must be a str"),
        ):
            with pytest.raises(error, match=text):
                await runtime.fork(*wrong)
        for seq in (0, 6, -1):
            with pytest.raises(PositionNotFound, match="has records 1 to 5"):
                await runtime.fork("s", seq=seq)
        for wrong_seq in ("1", True, 1.0):
            with pytest.raises(InvalidInput, match="give the seq"):
                await runtime.fork("s", seq=wrong_seq)
        with pytest.raises(InvalidInput, match="not both"):
            await runtime.fork("s", end.checkpoint_id, seq=1)
        with pytest.raises(InvalidInput, match="priority"):
            await runtime.fork("s", seq=1, priority="high")
        with pytest.raises(InvalidInput, match="memory"):
            await runtime.fork("s", seq=1, memory=[1])
        assert len(runtime.list_sessions().sessions) == 1
    with pytest.raises(RuntimeNotRunning):
        await runtime.fork("s", seq=1)
    short = [NODES[0], NODES[2]]
    edges = [EdgeSpec(id="d-s", source="draft", target="send")]
    async with Desk().runtime(lab, short, edges) as runtime:
        with pytest.raises(NodeNotFound, match="'check' after record 2, which graph 'graph' has"):
            await runtime.fork("s", seq=2)
        await completed(runtime, await runtime.fork("s", seq=1))


@pytest.mark.asyncio
async def test_a_fork_is_admitted_like_a_trigger(lab: Any, new_gate: Any) -> None:
    """Its entry point's queue is bounded for it, and its permit is one of those that there are."""
    gate = new_gate()
    main = EntryPointSpec(id="main", entry_node="draft", max_concurrent=1, max_queued=1)
    async with Desk(gate).runtime(lab, entry_points=[main]) as runtime:
        await runtime.trigger("main", {"topic": "cats"}, execution_id="s")
        await gate.came()
        queued = await runtime.fork("s")
        assert runtime.get_session(queued).status is Status.QUEUED
        with pytest.raises(Overloaded):
            await runtime.fork("s")
        gate.let_go()
        await completed(runtime, "s")
        assert await gate.came() == [queued]
        gate.open()
        await completed(runtime, queued)
        assert gate.most == 1


@pytest.mark.asyncio
async def test_the_rate_and_the_options_of_a_trigger_hold_for_a_fork(lab: Any) -> None:
    main = EntryPointSpec(id="main", entry_node="draft", rate_limit="3/h")
    async with Desk().runtime(lab, entry_points=[main]) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        fork = await runtime.fork(
            "s", seq=2, budget=Budget(steps=1), correlation_id="story", priority=3
        )
        result = await runtime.wait_for_completion(fork, timeout=20)
        assert result.status is Status.EXHAUSTED
        session = runtime.get_session(fork)
        assert (session.correlation_id, session.priority) == ("story", 3)
        again = await runtime.fork("s", seq=2, idempotency_key="k", execution_timeout=0)
        assert (await runtime.wait_for_completion(again, timeout=20)).status is Status.TIMED_OUT
        repeat = await runtime.fork("s", seq=2, idempotency_key="k", execution_timeout=0)
        assert repeat == again, "a repeat costs nothing of the rate"
        with pytest.raises(RateLimited):
            await runtime.fork("s", seq=2)


@pytest.mark.asyncio
async def test_forks_with_one_concurrency_key_run_one_at_a_time(lab: Any, new_gate: Any) -> None:
    """In the order of their acceptance, behind what began with the key before."""
    gate = new_gate()
    async with Desk(gate).runtime(lab) as runtime:
        await runtime.trigger("main", {"topic": "cats"}, execution_id="s", concurrency_key="cats")
        assert await gate.came() == ["s"]
        forks = [await runtime.fork("s", seq=2, concurrency_key="cats") for _ in range(3)]
        free = await runtime.fork("s", seq=2)
        assert await gate.came() == [free]
        for session, following in zip(["s", *forks], [*forks, None], strict=True):
            assert runtime.get_session(session).status is Status.RUNNING
            gate.let_go(2 if session == "s" else 1)
            await completed(runtime, session)
            if following is not None:
                assert await gate.came() == [following]


@pytest.mark.asyncio
async def test_a_question_is_asked_of_each_fork_and_answered_for_it_alone(lab: Any) -> None:
    def draft(topic: str, ctx: NodeContext) -> None:
        ctx.ask(f"Publish {topic}?", to="ok")

    def send() -> str:
        return "sent"

    nodes = [NodeSpec(id="draft", input_keys=["topic"]), NodeSpec(id="send")]
    edges = [EdgeSpec(id="d-s", source="draft", target="send")]
    functions = {"draft": draft, "send": send}
    async with lab.runtime(functions, nodes, edges) as runtime:
        asked: asyncio.Queue[Any] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        runtime.subscribe_to_events(
            "client_input_requested",
            lambda event: loop.call_soon_threadsafe(asked.put_nowait, event),
        )
        await runtime.trigger("main", {"topic": "cats"}, execution_id="s")
        async with asyncio.timeout(20):
            await asked.get()
        forks = [await runtime.fork("s", concurrency_key="cats") for _ in range(2)]
        assert [runtime.get_session(one).status for one in forks] == ["waiting"] * 2
        questions = runtime.pending_questions()
        assert [one.id.split(":")[0] for one in questions] == ["s", *forks]
        await runtime.answer(questions[1].id, "yes")
        assert (await completed(runtime, forks[0])).output["ok"] == "yes"
        assert len(runtime.pending_questions()) == 2
    async with lab.runtime(functions, nodes, edges) as runtime:
        await runtime.delete_session(forks[0])
        await runtime.cancel_execution("main", "s")
        await runtime.delete_session("s")
        (question,) = runtime.pending_questions()
        await runtime.answer(question.id, "no")
        assert (await completed(runtime, forks[1])).output["ok"] == "no"


@pytest.mark.asyncio
async def test_forks_of_forks_and_ways_back_in_forks_go_on_from_where_they_say(lab: Any) -> None:
    """Also of a fork that has not begun, and after all who came before it are gone."""
    desk = Desk()
    async with desk.runtime(lab, pauses=["draft"]) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="g0")
        for number in range(1, 5):
            name = f"g{number}"
            await runtime.fork(f"g{number - 1}", memory={name: number}, execution_id=name)
        for number in range(4):
            await runtime.cancel_execution("main", f"g{number}")
            await runtime.delete_session(f"g{number}")
        last = await completed(runtime, "g4")
        assert {f"g{number}": number for number in range(1, 5)}.items() <= last.output.items()
        (name, *_) = runtime.list_checkpoints("g4", "node_start")[::-1]
        await runtime.resume("g4", {"again": True}, name.checkpoint_id)
        assert (await completed(runtime, "g4")).output["again"] is True
        assert {key for node, key in desk.done if node == "check"} >= {"g4/check/1"}
        session = runtime.get_session("g4")
        assert (session.rewinds, session.run) == (1, 2)
