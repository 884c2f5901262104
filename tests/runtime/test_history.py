"""Looking back: a session as any of its records left it, and what each of them was."""

from typing import Any

import pytest

from greenroom import (
    CheckpointConfig,
    EdgeSpec,
    ExecutionNotFound,
    InvalidConfig,
    InvalidInput,
    NodeContext,
    NodeSpec,
    PositionNotFound,
    Status,
)

NODES = [
    NodeSpec(id="draft", input_keys=["topic"], output_keys=["text"], max_retries=1),
    NodeSpec(id="check", output_keys=["checked"], max_retries=2, backoff_initial_s=0.0),
    NodeSpec(id="send", output_keys=["sent"], max_retries=1),
]
EDGES = [
    EdgeSpec(id="d-c", source="draft", target="check", condition="on_success"),
    EdgeSpec(id="c-s", source="check", target="send", condition="on_success"),
]


def draft(topic: str) -> str:
    return f"about {topic}"


async def check(ctx: NodeContext) -> bool:
    if ctx.attempt == 1:
        raise ValueError("not now")
    return True


async def send(ctx: NodeContext) -> str:
    return await ctx.effect("post", lambda idempotency_key: "posted")


def make(lab: Any, **settings: Any) -> Any:
    functions = {"draft": draft, "check": check, "send": send}
    policy = CheckpointConfig(checkpoint_on_node_start=False)
    return lab.runtime(
        functions, NODES, EDGES, terminal=["send"], checkpoint_config=policy, **settings
    )


@pytest.mark.asyncio
async def test_the_history_tells_every_record_in_plain_words(lab: Any) -> None:
    async with make(lab, pauses=["draft"]) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        await runtime.create_checkpoint("s", "for the editor")
        await runtime.resume("s", {"editor": "Ada"})
        await runtime.wait_for_completion("s", timeout=20)
        history = runtime.get_session_history("s")
        assert (history.session_id, history.forked_from, history.after) == ("s", None, None)
        told = [
            (one.seq, one.what, one.visit, one.attempt, one.status.value, one.position, one.changed)
            for one in history.entries
        ]
        assert told == [
            (1, "accepted", 0, 0, "running", ["draft"], ["topic"]),
            (2, "'draft' succeeded", 1, 1, "paused", ["draft"], ["text"]),
            (3, "resumed", 0, 0, "queued", ["check"], ["editor"]),
            (4, "got its turn at 'check'", 0, 0, "running", ["check"], []),
            (5, "'check' failed", 1, 1, "running", ["check"], []),
            (6, "'check' succeeded", 1, 2, "running", ["send"], ["checked"]),
            (7, "'send' recorded effect post/1", 1, 1, "running", ["send"], []),
            (8, "'send' succeeded", 1, 1, "completed", [], ["sent"]),
        ]
        assert [one.error for one in history.entries if one.error] == ["not now"]
        named = {one.seq: one.checkpoints for one in history.entries if one.checkpoints}
        assert named == {
            2: [f"cp_0000000002_{kind}_0000" for kind in ("manual", "node_complete", "pause")],
            6: ["cp_0000000006_node_complete_0000"],
            8: ["cp_0000000008_node_complete_0000"],
        }
        assert all(one.branch == 0 for one in history.entries)


@pytest.mark.asyncio
async def test_pages_of_a_history_join_to_the_whole_of_it(lab: Any) -> None:
    async with make(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        whole = runtime.get_session_history("s")
        for limit in (1, 2, 3, 6):
            joined: list[Any] = []
            after: int | None = 0
            while after is not None:
                page = runtime.get_session_history("s", after, limit)
                joined += page.entries
                after = page.after
            assert joined == whole.entries
        assert runtime.get_session_history("s", 99).entries == []


@pytest.mark.asyncio
async def test_the_history_of_a_fork_says_first_where_it_came_from(lab: Any) -> None:
    """Before its first step and after it, and when its parent is gone."""
    async with make(lab) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        parent = runtime.get_session("s")
        fork = await runtime.fork("s", seq=2, memory={"editor": "Ada"}, execution_id="f")
        await runtime.wait_for_completion(fork, timeout=20)
        await runtime.delete_session("s")
        history = runtime.get_session_history("f")
        assert history.forked_from is not None
        assert (history.forked_from.session_id, history.forked_from.seq) == ("s", 2)
        first = history.entries[0]
        assert (first.seq, first.what) == (1, "forked from session s after record 2")
        assert (first.changed, first.position, first.status) == (["editor"], ["check"], "queued")
        assert [one.what for one in history.entries[1:3]] == [
            *("got its turn at 'check'", "'check' succeeded"),
        ]
        then = runtime.get_session("f", seq=1)
        assert then.memory == {"topic": "cats", "text": "about cats", "editor": "Ada"}
        assert (then.path, then.current_nodes) == (["draft", "check"], ["check"])
        assert then.seq == 1 < parent.seq


@pytest.mark.asyncio
async def test_a_session_is_shown_as_each_of_its_records_left_it(lab: Any) -> None:
    """The newest record leaves what `get_session` shows anyway."""
    async with make(lab, pauses=["draft"]) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        paused = runtime.get_session("s")
        await runtime.resume("s", {"editor": "Ada"})
        await runtime.wait_for_completion("s", timeout=20)
        now = runtime.get_session("s")
        assert runtime.get_session("s", seq=now.seq) == now
        assert runtime.get_session("s", seq=2) == paused
        entries = runtime.get_session_history("s").entries
        since = None
        for before, entry in zip([None, *entries], entries, strict=False):
            then = runtime.get_session("s", seq=entry.seq)
            assert (then.seq, then.status, then.updated_at) == (entry.seq, entry.status, entry.at)
            assert then.current_nodes == entry.position
            assert set(entry.changed) <= set(then.memory)
            if before is None or before.status != entry.status:
                since = entry.at
            assert then.status_since == since
            assert then.input_data == {"topic": "cats"}
        assert runtime.get_session("s", seq=5).retry_details == {"check": 1}


@pytest.mark.asyncio
async def test_looking_where_nothing_is_says_what_there_is(lab: Any) -> None:
    runtime = make(lab)
    assert runtime.get_session("s", seq=1) is None
    assert runtime.get_session_history("s").entries == []
    async with runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, 20, execution_id="s")
        last = runtime.get_session("s").seq
        for seq in (0, -1, last + 1, 2**70):
            with pytest.raises(PositionNotFound, match=f"records 1 to {last}") as caught:
                runtime.get_session("s", seq=seq)
            assert caught.value.last == last
        with pytest.raises(InvalidInput, match="give the seq"):
            runtime.get_session("s", seq="2")
        assert runtime.get_session("nobody", seq=1) is None
        with pytest.raises(ExecutionNotFound):
            runtime.get_session_history("nobody")
        for wrong in ({"after": -1}, {"after": "x"}, {"limit": 0}, {"limit": 10**6}):
            with pytest.raises(InvalidConfig):
                runtime.get_session_history("s", **wrong)
        assert runtime.get_session("s").status is Status.COMPLETED
