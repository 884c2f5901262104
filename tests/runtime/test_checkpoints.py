"""Checkpoints as hosts see them: made by themselves and by hand, listed, loaded, removed."""

import asyncio
from typing import Any

import pytest

from greenroom import (
    CheckpointConfig,
    EdgeSpec,
    ExecutionNotFound,
    InvalidConfig,
    InvalidInput,
    InvalidValue,
    NodeSpec,
    Status,
)
from greenroom.protocol.checkpoint import DISABLED_CHECKPOINT_CONFIG, MINIMAL_CHECKPOINT_CONFIG
from greenroom.storage.lmdb_store import open_reader

NODES = [
    NodeSpec(id="draft", output_keys=["text"]),
    NodeSpec(id="route", node_type="router", routes={"default": "send"}, route_on="text"),
    NodeSpec(id="send", output_keys=["sent"]),
]
EDGES = [EdgeSpec(id="e", source="draft", target="route")]


def draft() -> str:
    return "about"


def send() -> bool:
    return True


def agent(lab: Any, config: CheckpointConfig | None, **settings: Any) -> Any:
    return lab.runtime(
        {"draft": draft, "send": send},
        NODES,
        EDGES,
        terminal=["send"],
        checkpoint_config=config,
        **settings,
    )


def kinds(found: list[Any]) -> list[tuple[str, str]]:
    return [(one.checkpoint_type.value, one.current_node) for one in found]


@pytest.mark.asyncio
async def test_without_a_policy_nothing_is_named(lab: Any) -> None:
    for number, config in enumerate((None, DISABLED_CHECKPOINT_CONFIG)):
        async with agent(lab, config) as runtime:
            name = f"s{number}"
            await runtime.trigger_and_wait("main", timeout=20, execution_id=name)
            assert runtime.list_checkpoints(name) == []
            assert runtime.load_checkpoint(name) is None


@pytest.mark.asyncio
async def test_every_node_that_is_done_has_a_name_also_after_a_restart(lab: Any) -> None:
    """Router and terminal node included; each leads to the memory and the path of its time."""
    async with agent(lab, MINIMAL_CHECKPOINT_CONFIG) as runtime:
        await runtime.trigger_and_wait("main", {"topic": "cats"}, timeout=20, execution_id="s")
    async with agent(lab, None) as runtime:
        found = runtime.list_checkpoints("s")
        assert kinds(found) == [
            ("node_complete", "send"),
            ("node_complete", "route"),
            ("node_complete", "draft"),
        ]
        last, _, first = found
        loaded = runtime.load_checkpoint("s", first.checkpoint_id)
        assert loaded.shared_memory == {"topic": "cats", "text": "about"}
        assert (loaded.execution_path, loaded.next_nodes) == (["draft", "route", "send"], ["send"])
        assert (loaded.status, loaded.is_clean, loaded.run) == (Status.RUNNING, True, 1)
        newest = runtime.load_checkpoint("s")
        assert newest.checkpoint_id == last.checkpoint_id
        assert (newest.status, newest.next_nodes) == (Status.COMPLETED, [])
        assert newest.shared_memory["sent"] is True
        assert newest.created_at == runtime.get_session("s").updated_at
        assert runtime.load_checkpoint("s", "cp_0000000099_pause_0000") is None
        assert runtime.load_checkpoint("s", "latest") is None
    assert runtime.list_checkpoints("s") == [], "a stopped runtime answers nothing"
    assert runtime.load_checkpoint("s") is None


@pytest.mark.asyncio
async def test_names_made_by_hand_work_without_a_policy_and_at_the_same_moment(
    lab: Any, new_gate: Any
) -> None:
    """In a session that runs, and in one that has ended."""
    gate = new_gate()

    async def work() -> None:
        await gate.wait()

    async with lab.runtime({"work": work}) as runtime:
        execution = await runtime.trigger("main", {"topic": "cats"})
        await gate.came()
        made = await asyncio.gather(
            *(runtime.create_checkpoint(execution, f"number {n}") for n in range(5))
        )
        assert len({one.checkpoint_id for one in made}) == 5
        assert {(one.seq, one.current_node) for one in made} == {(1, "work")}
        gate.open()
        await runtime.wait_for_completion(execution, timeout=20)
        last = await runtime.create_checkpoint(execution)
        found = runtime.list_checkpoints(execution, checkpoint_type="manual")
        assert found[0] == last
        assert sorted(found[1:], key=lambda one: one.checkpoint_id) == sorted(
            made, key=lambda one: one.checkpoint_id
        )
        assert (last.seq, last.current_node, last.description) == (2, "work", "")
        assert await runtime.delete_checkpoint(execution, made[0].checkpoint_id) is True
        assert await runtime.delete_checkpoint(execution, made[0].checkpoint_id) is False
        assert runtime.load_checkpoint(execution, made[0].checkpoint_id) is None
        assert runtime.load_checkpoint(execution, made[1].checkpoint_id).description == (
            made[1].description
        )
        assert await runtime.prune_checkpoints(execution, max_age_days=1) == 0
        assert await runtime.prune_checkpoints(execution, max_age_days=0) == 5
        assert runtime.list_checkpoints(execution) == []
        assert runtime.get_execution_result("main", execution).success, "names only have left"


@pytest.mark.asyncio
async def test_a_pause_has_a_name(lab: Any, new_gate: Any) -> None:
    gate = new_gate()

    async def draft() -> str:
        await gate.wait()
        return "about"

    functions = {"draft": draft, "send": send}
    policy = CheckpointConfig(checkpoint_on_node_start=False, checkpoint_on_node_complete=False)
    async with lab.runtime(functions, NODES, EDGES, checkpoint_config=policy) as runtime:
        execution = await runtime.trigger("main")
        await gate.came()
        await runtime.pause(execution)
        (found,) = runtime.list_checkpoints(execution)
        assert kinds([found]) == [("pause", "draft")]
        loaded = runtime.load_checkpoint(execution, found.checkpoint_id)
        assert (loaded.status, loaded.next_nodes) == (Status.PAUSED, ["draft"])
        gate.open()


@pytest.mark.asyncio
async def test_a_long_session_keeps_the_names_of_its_last_visits(lab: Any) -> None:
    """A loop of 60 visits; every 10 the names before the last 5 leave, those by hand stay."""

    async def turn(count: int = 0) -> int:
        return count + 1

    nodes = [
        NodeSpec(id="turn", input_keys=["count"], output_keys=["count"], max_node_visits=0),
    ]
    edges = [
        EdgeSpec(
            id="again", source="turn", target="turn", condition="conditional",
            condition_expr="count < 60",
        )
    ]  # fmt: skip
    policy = CheckpointConfig(keep_last_n_nodes=5, prune_every_n_nodes=10)
    async with lab.runtime({"turn": turn}, nodes, edges, checkpoint_config=policy) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
        assert result.output["count"] == 60
        found = runtime.list_checkpoints(result.execution_id, "node_start")
        assert [one.seq for one in found] == [60, 59, 58, 57, 56]
        joined, before = [], None
        while page := runtime.list_checkpoints(result.execution_id, limit=3, before=before):
            joined += page
            before = page[-1].checkpoint_id
        assert joined == runtime.list_checkpoints(result.execution_id)
        assert runtime.load_checkpoint(result.execution_id, joined[-1].checkpoint_id) is not None
    reader = open_reader(lab.folder / "store")
    try:
        assert len(reader.read(lambda one: one.journal(1, limit=100))) == 61, "the journal stays"
    finally:
        reader.close()


@pytest.mark.asyncio
async def test_names_of_a_deleted_session_leave_with_it(lab: Any) -> None:
    async with agent(lab, MINIMAL_CHECKPOINT_CONFIG) as runtime:
        await runtime.trigger_and_wait("main", timeout=20, execution_id="s")
        assert await runtime.delete_session("s")
        await runtime.trigger_and_wait("main", timeout=20, execution_id="t")
        for call in (
            lambda: runtime.list_checkpoints("s"),
            lambda: runtime.load_checkpoint("s"),
        ):
            with pytest.raises(ExecutionNotFound):
                call()
        for awaited in (
            runtime.create_checkpoint("s"),
            runtime.delete_checkpoint("s", "cp_0000000001_pause_0000"),
            runtime.prune_checkpoints("s", 1),
        ):
            with pytest.raises(ExecutionNotFound):
                await awaited
    reader = open_reader(lab.folder / "store")
    try:
        assert reader.read(lambda one: one.checkpoints(1)) == []
        assert len(reader.read(lambda one: one.checkpoints(2))) == 3
    finally:
        reader.close()


@pytest.mark.asyncio
async def test_what_cannot_be_meant_is_refused(lab: Any) -> None:
    async with agent(lab, None) as runtime:
        await runtime.trigger_and_wait("main", timeout=20, execution_id="s")
        with pytest.raises(InvalidInput, match="checkpoint_type is 'lost'"):
            runtime.list_checkpoints("s", "lost")
        with pytest.raises(InvalidInput, match="before is 'x'"):
            runtime.list_checkpoints("s", before="x")
        with pytest.raises(InvalidConfig, match="limit"):
            runtime.list_checkpoints("s", limit=0)
        for description in (7, "x" * 1_001, "\ud800"):
            with pytest.raises(InvalidValue, match="description"):
                await runtime.create_checkpoint("s", description)
        with pytest.raises(InvalidInput, match="checkpoint_id is 'x'"):
            await runtime.delete_checkpoint("s", "x")
        with pytest.raises(InvalidConfig, match="max_age_days"):
            await runtime.prune_checkpoints("s", -1)
        assert runtime.list_checkpoints("s") == []
