"""Sessions that a function makes to fit a changed graph."""

import asyncio
import threading
from typing import Any

import pytest
from msgspec.structs import replace

from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import InvalidInput, RuntimeIsRunning
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.migration import Migration, OutdatedSession
from greenroom.protocol.version_errors import GraphChanged

pytestmark = pytest.mark.asyncio

FIRST = NodeSpec(
    id="first",
    input_keys=["text"],
    output_keys=["said", "answer"],
    nullable_output_keys=["answer"],
    max_retries=1,
)
LAST = NodeSpec(id="last", input_keys=["text"], output_keys=["done"])
RENAME = Migration(nodes={"first": "begin"})


def renamed(session: OutdatedSession) -> Migration:
    """What most deploys need."""
    return RENAME


class Agent:
    """A node that does what it is told, and one after it; each run enters `runs`, by its key."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.stay = asyncio.Event()
        self.began = asyncio.Event()

    async def first(self, ctx: Any, text: str) -> str:
        self.runs.append(ctx.idempotency_key.removeprefix(ctx.execution_id))
        self.began.set()
        if text == "sleep":
            ctx.sleep(3_600)
        elif text == "ask":
            ctx.ask("What?", to="answer")
        elif text == "stay" and ctx.attempt == 1:
            await self.stay.wait()
        elif text == "fail" and ctx.attempt == 1:
            raise ValueError("told to")
        return text

    async def last(self, ctx: Any, text: str) -> str:
        self.runs.append(ctx.idempotency_key.removeprefix(ctx.execution_id))
        return text

    def runtime(self, lab: Any, name: str = "first", **options: Any) -> Any:
        functions = {name: self.first, "last": self.last}
        nodes = [replace(FIRST, id=name, name=name), LAST]
        way = EdgeSpec(id="way", source=name, target="last", condition="on_success")
        options.setdefault("entry_points", [EntryPointSpec(id="main", entry_node=name)])
        return lab.runtime(functions, nodes, [way], shutdown_timeout_s=0.0, **options)


async def test_whoever_waits_goes_on_where_it_was_under_the_new_name(lab: Any, until: Any) -> None:
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        asking = await runtime.trigger("main", {"text": "ask"})
        asleep = await runtime.trigger("main", {"text": "sleep"})
        await until(runtime, asking, Status.WAITING)
        await until(runtime, asleep, Status.WAITING)
    asked: list[OutdatedSession] = []

    def migrate(session: OutdatedSession) -> Migration:
        asked.append(session)
        return Migration(nodes={"first": "begin"}, memory={"text": "migrated"}, drop=["said"])

    async with agent.runtime(lab, "begin", migrate=migrate) as runtime:
        found = runtime.recovery
        assert (found.migrated, found.waiting, found.held) == (2, 2, {})
        assert str(found) == "recovered=0 queued=0 waiting=2 paused=0 held=0 migrated=2"
        # In one commit: who looks sees the whole of it or nothing.
        await runtime.answer(f"{asking}:q1", "this")
        result = await runtime.wait_for_completion(asking, timeout=20)
        assert result.path == ["first", "last"]
        assert (result.output["text"], result.output["answer"]) == ("migrated", "this")
        assert "said" not in result.output
        assert runtime.get_session(asleep).status is Status.WAITING
    state = lab.look(asleep)
    (token,) = state.tokens.values()
    assert (token.node, token.phase) == ("begin", Phase.SLEEPING)
    assert agent.runs == ["/first/1", "/first/1", "/last/1"]
    session = next(one for one in asked if one.session_id == asking)
    (position,) = session.positions
    assert (position.node, position.ended) == ("first", True)
    assert position.questions == (f"{asking}:q1",)
    assert session.memory["text"] == "ask"
    assert "node 'first' is not in graph" in session.reasons[0]
    assert session.from_digest != session.to_digest


async def test_a_migrated_session_is_not_asked_about_again(lab: Any, until: Any) -> None:
    """It stands at the new version now, and questions are found by their new node."""
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        asking = await runtime.trigger("main", {"text": "ask"})
        await until(runtime, asking, Status.WAITING)
    async with agent.runtime(lab, "begin", migrate=renamed) as runtime:
        assert runtime.recovery.migrated == 1
        outcome = await runtime.inject_input("begin", "this")
        assert outcome == "answered"
        await runtime.wait_for_completion(asking, timeout=20)
    async with agent.runtime(lab) as runtime:
        asking = await runtime.trigger("main", {"text": "ask"})
        await until(runtime, asking, Status.WAITING)
    async with agent.runtime(lab, "begin", migrate=renamed) as runtime:
        assert runtime.recovery.migrated == 1
    async with agent.runtime(lab, "begin") as runtime:
        assert (runtime.recovery.migrated, runtime.recovery.compatible) == (0, 0)
        assert (runtime.recovery.waiting, runtime.recovery.held) == (1, {})


async def test_a_node_in_flight_and_one_that_queues_run_under_the_new_name_with_the_old_key(
    lab: Any, until: Any
) -> None:
    agent = Agent()
    point = EntryPointSpec(id="main", entry_node="first", max_concurrent=1)
    async with agent.runtime(lab, entry_points=[point]) as runtime:
        running = await runtime.trigger("main", {"text": "stay"})
        await agent.began.wait()
        queued = await runtime.trigger("main", {"text": "talk"})
        await until(runtime, queued, Status.QUEUED)

    async def migrate(session: OutdatedSession) -> Migration:
        return RENAME

    async with agent.runtime(lab, "begin", migrate=migrate) as runtime:
        found = runtime.recovery
        assert (found.migrated, found.recovered, found.queued, found.held) == (2, 1, 1, {})
        for execution in (running, queued):
            result = await runtime.wait_for_completion(execution, timeout=20)
            assert result.success
    assert sorted(agent.runs) == ["/begin/1", "/first/1", "/first/1", "/last/1", "/last/1"]
    assert lab.look(running).visits == {"begin": 1, "last": 1}


@pytest.mark.parametrize("status", [Status.PAUSED, Status.FAILED])
async def test_what_stands_still_is_migrated_when_it_is_resumed(
    lab: Any, until: Any, status: Status
) -> None:
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        text = "ask" if status is Status.PAUSED else "fail"
        execution = await runtime.trigger("main", {"text": text})
        if status is Status.PAUSED:
            await until(runtime, execution, Status.WAITING)
            await runtime.pause(execution)
        await until(runtime, execution, status)
    events: list[dict[str, Any]] = []
    async with agent.runtime(lab, "begin", migrate=renamed) as runtime:
        assert runtime.recovery.migrated == 0
        runtime.subscribe_to_events(["execution_migrated"], lambda event: events.append(event.data))
        await runtime.resume(execution)
        if status is Status.PAUSED:
            await runtime.answer(f"{execution}:q1", "this")
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.success
    assert [one["nodes"] for one in events] == [{"first": "begin"}]
    assert events[0]["from"] != events[0]["to"]
    assert agent.runs.count("/first/1") == (1 if status is Status.PAUSED else 2)


async def test_two_resumes_at_once_are_one_migration_and_one_resume(lab: Any, until: Any) -> None:
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        execution = await runtime.trigger("main", {"text": "fail"})
        await until(runtime, execution, Status.FAILED)
    asked = []

    async def migrate(session: OutdatedSession) -> Migration:
        asked.append(session)
        await asyncio.sleep(0)
        return RENAME

    async with agent.runtime(lab, "begin", migrate=migrate) as runtime:
        resumes = [runtime.resume(execution) for _ in range(3)]
        done = await asyncio.gather(*resumes, return_exceptions=True)
        assert done.count(None) == 1
        assert (await runtime.wait_for_completion(execution, timeout=20)).success
    assert len(asked) == 1


def raises(session: OutdatedSession) -> Migration:
    raise LookupError("no idea")


BAD: dict[str, tuple[Any, str]] = {
    "None": (lambda session: None, "is not in graph 'graph' any more"),
    "an error": (raises, "the migration failed: LookupError: no idea"),
    "another type": (lambda session: {"a": 1}, "returned a dict: return a Migration, or None"),
    "no target": (
        lambda session: Migration(nodes={"first": "nowhere"}),
        "maps node 'first' to 'nowhere', which is not in graph 'graph'",
    ),
    "not mapped": (lambda session: Migration(), "maps node 'first' to none"),
    "no value": (
        lambda session: Migration(nodes={"first": "begin"}, memory={"k": object()}),
        "the migration's memory cannot be stored: memory.k",
    ),
    "no names": (
        lambda session: Migration(nodes={"first": 1}),  # type: ignore[dict-item]
        "the migration's nodes must be a dict of names to names",
    ),
    "no keys": (
        lambda session: Migration(nodes={"first": "begin"}, drop="text"),  # type: ignore[arg-type]
        "the migration's drop must be a list of keys",
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_migration_that_is_no_use_leaves_it_held_with_that_reason_and_nothing_changed(
    lab: Any, until: Any, name: str
) -> None:
    migrate, expected = BAD[name]
    agent = Agent()
    async with agent.runtime(lab) as runtime:
        asking = await runtime.trigger("main", {"text": "ask"})
        failed = await runtime.trigger("main", {"text": "fail"})
        await until(runtime, asking, Status.WAITING)
        await until(runtime, failed, Status.FAILED)
    memory = lab.look(asking).memory
    async with agent.runtime(lab, "begin", migrate=migrate) as runtime:
        assert expected in runtime.recovery.held[asking]
        assert runtime.recovery.migrated == 0
        await until(runtime, asking, Status.HELD)
        with pytest.raises(GraphChanged) as caught:
            await runtime.resume(failed)
        assert any(expected in reason for reason in caught.value.reasons)
    assert lab.look(asking).memory == memory
    assert lab.look(failed).status is Status.FAILED
    async with agent.runtime(lab, "begin", migrate=renamed) as runtime:  # a better one
        found = runtime.recovery
        assert (found.released, found.migrated, found.held) == (1, 1, {})
        await until(runtime, asking, Status.WAITING)
        await runtime.answer(f"{asking}:q1", "this")
        assert (await runtime.wait_for_completion(asking, timeout=20)).success
        await runtime.resume(failed)
        assert (await runtime.wait_for_completion(failed, timeout=20)).success


async def test_plain_functions_run_in_the_pool_and_async_ones_on_the_hosts_loop(
    lab: Any, until: Any
) -> None:
    agent = Agent()
    threads: list[str] = []
    for kind in ("plain", "async"):
        async with agent.runtime(lab, store=kind) as runtime:
            execution = await runtime.trigger("main", {"text": "ask"})
            await until(runtime, execution, Status.WAITING)

        def plain(session: OutdatedSession) -> Migration:
            threads.append(threading.current_thread().name)
            return RENAME

        async def waits(session: OutdatedSession) -> Migration:
            return plain(session)

        migrate = plain if kind == "plain" else waits
        async with agent.runtime(lab, "begin", store=kind, migrate=migrate) as runtime:
            assert runtime.recovery.migrated == 1
    assert threads[0].startswith("greenroom-sync")
    assert threads[1] == threading.main_thread().name


async def test_one_function_is_registered_before_the_start(lab: Any) -> None:
    agent = Agent()
    runtime = agent.runtime(lab)
    with pytest.raises(InvalidInput, match="must be a function that takes the session"):
        runtime.register_migration(lambda: None)
    runtime.register_migration(renamed)
    with pytest.raises(InvalidInput, match="is registered already"):
        runtime.register_migration(renamed)
    async with runtime:
        with pytest.raises(RuntimeIsRunning):
            runtime.register_migration(renamed)
