"""Resuming from a checkpoint: the state of that time comes back, and what was used up does not."""

import asyncio
from typing import Any

import pytest

from greenroom import (
    CheckpointConfig,
    CheckpointNotFound,
    EdgeSpec,
    NodeContext,
    NodeNotFound,
    NodeSpec,
    NotResumable,
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
    """Three nodes that note what they did, and under which key."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def draft(self, topic: str, ctx: NodeContext) -> str:
        self.done.append(("draft", ctx.idempotency_key))
        return f"about {topic}"

    async def check(self, ctx: NodeContext) -> bool:
        self.done.append(("check", ctx.idempotency_key))
        if await ctx.read("spoilt", False):
            raise ValueError("spoilt")
        return True

    async def send(self, ctx: NodeContext) -> str:
        def post(idempotency_key: str) -> str:
            self.done.append(("post", idempotency_key))
            return idempotency_key

        self.done.append(("send", ctx.idempotency_key))
        return await ctx.effect("post", post)

    def runtime(self, lab: Any, nodes: Any = NODES, edges: Any = EDGES, **settings: Any) -> Any:
        functions = {name: getattr(self, name) for name in ("draft", "check", "send")}
        functions = {node.id: functions[node.id] for node in nodes}
        settings.setdefault("terminal", ["send"])
        return lab.runtime(functions, nodes, edges, checkpoint_config=POLICY, **settings)

    def nodes(self) -> list[str]:
        return [node for node, _ in self.done if node != "post"]


def ids(runtime: Any, session: str, kind: str = "node_complete") -> dict[str, str]:
    """The ids of a session's checkpoints of a type, by node."""
    found = runtime.list_checkpoints(session, kind)
    return {one.current_node: one.checkpoint_id for one in reversed(found)}


@pytest.mark.asyncio
async def test_a_completed_session_goes_on_from_any_of_its_checkpoints(lab: Any) -> None:
    """Also in another process; the nodes behind the checkpoint run again, those before do not."""
    desk = Desk()
    async with desk.runtime(lab) as runtime:
        result = await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        assert result.status is Status.COMPLETED
    starts = {"draft": ["draft", "check", "send"], "check": ["check", "send"], "send": ["send"]}
    for node, expected in starts.items():
        async with desk.runtime(lab) as runtime:
            desk.done.clear()
            await runtime.resume("s", {"topic": node}, ids(runtime, "s", "node_start")[node])
            result = await runtime.wait_for_completion("s", timeout=20)
            assert (result.status, desk.nodes()) == (Status.COMPLETED, expected)
            assert result.path == ["draft", "check", "send"]
            assert result.output["text"] == "about draft"
            assert result.output["topic"] == node
    async with desk.runtime(lab) as runtime:
        session = runtime.get_session("s")
        assert (session.run, session.rewinds) == (4, 3)
        assert session.steps_executed == 3 + 2 + 1 + 0
        assert session.node_visit_counts == {"draft": 1, "check": 1, "send": 1}


@pytest.mark.asyncio
async def test_what_is_done_outside_is_done_anew_under_new_keys(lab: Any) -> None:
    """The effect that was on record is not replayed: it stood for earlier work."""
    desk = Desk()
    async with desk.runtime(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        first = dict(desk.done)
        desk.done.clear()
        await runtime.resume("s", from_checkpoint=ids(runtime, "s")["draft"])
        result = await runtime.wait_for_completion("s", timeout=20)
        again = dict(desk.done)
        assert set(again) == {"check", "send", "post"}
        assert all(again[name] != first[name] for name in again)
        assert result.output["sent"] == again["post"]
        assert (first["send"], again["send"]) == ("s/send/1", "s~1/send/1")


@pytest.mark.asyncio
async def test_a_failed_session_goes_on_from_before_what_spoilt_it(lab: Any) -> None:
    desk = Desk()
    async with desk.runtime(lab) as runtime:
        given = {"topic": "cats", "spoilt": True}
        result = await runtime.trigger_and_wait("main", given, 20, execution_id="s")
        assert result.status is Status.FAILED
        await runtime.resume("s", {"spoilt": False}, ids(runtime, "s")["draft"])
        result = await runtime.wait_for_completion("s", timeout=20)
        assert (result.status, result.error) == (Status.COMPLETED, None)
        assert result.output["spoilt"] is False
        assert (result.retry_details, result.execution_quality) == ({"check": 1}, "degraded")


@pytest.mark.asyncio
async def test_names_made_by_hand_and_of_pauses_lead_back_too(lab: Any) -> None:
    desk = Desk()
    async with desk.runtime(lab, pauses=["draft"]) as runtime:
        result = await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        assert result.status is Status.PAUSED
        by_hand = await runtime.create_checkpoint("s", "for the editor")
        (pause,) = runtime.list_checkpoints("s", "pause")
        for run, name in enumerate((by_hand, pause), start=2):
            await runtime.resume("s", {"editor": run}, name.checkpoint_id)
            result = await runtime.wait_for_completion("s", timeout=20)
            assert (result.status, result.output["editor"]) == (Status.COMPLETED, run)
            assert runtime.get_session("s").run == run
        assert desk.nodes().count("draft") == 1, "it had ended, and is not run again"


@pytest.mark.asyncio
async def test_a_checkpoint_that_leads_nowhere_is_refused_and_changes_nothing(lab: Any) -> None:
    desk = Desk()
    async with desk.runtime(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        known = ids(runtime, "s")
        before = runtime.get_session("s")
        deleted = ids(runtime, "s", "node_start")["send"]
        await runtime.delete_checkpoint("s", deleted)
        for wrong in ("cp_0000000099_pause_0000", "latest", "", deleted):
            with pytest.raises(CheckpointNotFound, match="session s has no checkpoint"):
                await runtime.resume("s", from_checkpoint=wrong)
        with pytest.raises(NotResumable, match="nothing follows checkpoint"):
            await runtime.resume("s", from_checkpoint=known["send"])
        with pytest.raises(NotResumable, match="is completed"):
            await runtime.resume("s")
        assert runtime.get_session("s") == before
    short = [NODES[0], NODES[2]]
    edges = [EdgeSpec(id="d-s", source="draft", target="send")]
    async with desk.runtime(lab, short, edges) as runtime:
        with pytest.raises(NodeNotFound, match="'check', which graph 'graph' has not"):
            await runtime.resume("s", from_checkpoint=known["draft"])
        assert runtime.get_session("s") == before
        await runtime.resume("s", from_checkpoint=ids(runtime, "s", "node_start")["draft"])
        result = await runtime.wait_for_completion("s", timeout=20)
        assert result.path == ["draft", "send"]


@pytest.mark.asyncio
async def test_what_goes_on_by_itself_must_be_stopped_first(lab: Any, new_gate: Any) -> None:
    gate = new_gate()

    async def work() -> None:
        await gate.wait()

    async with lab.runtime({"work": work}, checkpoint_config=POLICY) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        (start,) = runtime.list_checkpoints(execution)
        with pytest.raises(NotResumable, match="is running"):
            await runtime.resume(execution, from_checkpoint=start.checkpoint_id)
        await runtime.cancel_execution("main", execution)
        await runtime.resume(execution, from_checkpoint=start.checkpoint_id)
        await gate.came()
        gate.open()
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.status is Status.COMPLETED


@pytest.mark.asyncio
async def test_a_question_is_asked_again_also_after_it_was_answered(lab: Any) -> None:
    """Both are on record, and only the new one lets the session go on."""

    def draft(topic: str, ctx: NodeContext) -> None:
        ctx.ask(f"Publish {topic}?", to="ok")

    def send() -> str:
        return "sent"

    nodes = [NodeSpec(id="draft", input_keys=["topic"]), NodeSpec(id="send")]
    edges = [EdgeSpec(id="d-s", source="draft", target="send")]
    functions = {"draft": draft, "send": send}
    async with lab.runtime(functions, nodes, edges, checkpoint_config=POLICY) as runtime:
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        runtime.subscribe_to_events(
            "client_input_requested", lambda event: loop.call_soon_threadsafe(asked.set)
        )
        await runtime.trigger("main", {"topic": "cats"}, execution_id="s")
        async with asyncio.timeout(20):
            await asked.wait()
        (first,) = runtime.pending_questions()
        await runtime.answer(first.id, True)
        result = await runtime.wait_for_completion("s", timeout=20)
        assert (result.status, result.output["ok"]) == (Status.COMPLETED, True)
        await runtime.resume("s", from_checkpoint=ids(runtime, "s")["draft"])
        assert runtime.get_session("s").status == "waiting"
        (again,) = runtime.pending_questions()
        assert (again.prompt, again.id != first.id) == (first.prompt, True)
        assert await runtime.answer(first.id, False) == "conflicting"
        assert await runtime.answer(again.id, "later") == "accepted"
        result = await runtime.wait_for_completion("s", timeout=20)
        assert (result.status, result.output["ok"]) == (Status.COMPLETED, "later")


@pytest.mark.asyncio
async def test_of_many_who_go_back_at_once_one_does(lab: Any) -> None:
    """B22: one resumer for each session; the others are told so."""
    desk = Desk()
    async with desk.runtime(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        desk.done.clear()
        told = await asyncio.gather(
            *(runtime.resume("s", None, one) for one in [ids(runtime, "s")["draft"]] * 10),
            return_exceptions=True,
        )
        assert told.count(None) >= 1
        assert all(one is None or isinstance(one, NotResumable) for one in told)
        await runtime.wait_for_completion("s", timeout=20)
        assert runtime.get_session("s").rewinds == told.count(None)
        assert desk.nodes() == ["check", "send"] * told.count(None)
