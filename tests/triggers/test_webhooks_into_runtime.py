"""From a request to a durable execution: what a whole runtime does with webhooks."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from greenroom.actors.host.create import create_agent_runtime
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.triggers.signatures import sign
from greenroom.protocol.config import AgentRuntimeConfig, WebhookRoute
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import InvalidInput, PortInUse
from greenroom.protocol.events import AgentEvent, EventType
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import GraphSpec, NodeSpec
from greenroom.storage.lmdb_store import open_reader

SECRET = "kept to ourselves"
DIRECT = WebhookRoute(source_id="direct", path="/direct/{team}", entry_point="work")
SIGNED = WebhookRoute(source_id="signed", path="/signed", entry_point="work", secret=SECRET)
EVENT_ONLY = WebhookRoute(source_id="told", path="/told")


def _runtime(
    store: Path,
    work: Callable[..., Any],
    *routes: WebhookRoute,
    entry_points: tuple[EntryPointSpec, ...] = (),
    **settings: Any,
) -> AgentRuntime:
    graph = GraphSpec(
        id="graph",
        entry_node="work",
        nodes=[NodeSpec(id="work", output_keys=["done"])],
        terminal_nodes=["work"],
    )
    return create_agent_runtime(
        graph,
        Goal(id="goal"),
        store,
        entry_points or (EntryPointSpec(id="work", entry_node="work", trigger_type="webhook"),),
        config=AgentRuntimeConfig(webhook_port=0, webhook_routes=list(routes), **settings),
        functions={"work": work},
    )


def _client(runtime: AgentRuntime) -> httpx2.AsyncClient:
    server = runtime.webhook_server
    assert server is not None
    return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False)


def _done() -> str:
    return "yes"


def _events(store: Path, kind: EventType) -> list[str | None]:
    reader = open_reader(store)
    found = reader.read(lambda one: [body for _, body in one.events(0, 10_000)])
    reader.close()
    return [body.execution for body in found if body.type == kind]


@pytest.mark.asyncio
async def test_what_was_answered_202_is_in_the_store_and_runs(tmp_path: Path) -> None:
    async with _runtime(tmp_path, _done, DIRECT) as runtime, _client(runtime) as client:
        answer = await client.post("/direct/red?page=2", json={"a": "b" * 5000})
        assert answer.status_code == 202
        execution = answer.json()["execution_id"]
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result is not None
        assert result.output["payload"] == {"a": "b" * 5000}
        assert result.output["path_params"] == {"team": "red"}
        assert result.output["query_params"] == {"page": "2"}


@pytest.mark.asyncio
async def test_json_that_is_nested_too_deeply_is_answered_400_and_nothing_is_stored(
    tmp_path: Path,
) -> None:
    """Deeper than values may be, and deeper than some versions of Python can parse."""
    async with _runtime(tmp_path, _done, DIRECT) as runtime, _client(runtime) as client:
        for depth in (100, 6_000):
            answer = await client.post("/direct/red", content=b"[" * depth + b"]" * depth)
            assert answer.status_code == 400
        assert (await client.post("/direct/red", json=[])).status_code == 202
    assert len(_events(tmp_path, EventType.WEBHOOK_RECEIVED)) == 1


@pytest.mark.asyncio
async def test_a_repeat_gets_the_first_execution_and_no_second_event_also_after_a_restart(
    tmp_path: Path,
) -> None:
    headers = {"X-GitHub-Delivery": "72d3162e-cc78"}
    ids = []
    for _ in range(2):
        async with _runtime(tmp_path, _done, DIRECT) as runtime, _client(runtime) as client:
            for _ in range(2):
                answer = (await client.post("/direct/red", json={}, headers=headers)).json()
                ids.append((answer["execution_id"], answer["duplicate"]))
    first = ids[0][0]
    assert ids == [(first, False), (first, True), (first, True), (first, True)]
    assert _events(tmp_path, EventType.WEBHOOK_RECEIVED) == [first]


@pytest.mark.asyncio
async def test_the_event_carries_the_delivery_and_no_secret(tmp_path: Path) -> None:
    seen: asyncio.Future[AgentEvent] = asyncio.get_running_loop().create_future()
    runtime = _runtime(tmp_path, _done, SIGNED)
    runtime.subscribe_to_events([EventType.WEBHOOK_RECEIVED], seen.set_result)
    body = b'{"action": "opened"}'
    headers = {"X-Hub-Signature-256": sign(SECRET, body), "Authorization": "Bearer hush"}
    async with runtime, _client(runtime) as client:
        answer = await client.post("/signed", content=body, headers=headers)
        event = await asyncio.wait_for(seen, 20)
        assert event.stream_id == "signed"
        assert event.execution_id == answer.json()["execution_id"]
        assert event.data["payload"] == {"action": "opened"}
        assert event.data["method"] == "POST"
        text = repr(event.to_dict())
        assert SECRET not in text
        assert "hush" not in text
        assert "signature" not in text
    assert SECRET not in repr(runtime.get_stats())
    assert all(
        SECRET.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()
    )


@pytest.mark.asyncio
async def test_a_full_queue_is_503_with_retry_after_before_anything_is_stored(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()

    async def work() -> str:
        await gate.wait()
        return "yes"

    spec = EntryPointSpec(id="work", entry_node="work", max_concurrent=1, max_queued=1)
    runtime = _runtime(tmp_path, work, DIRECT, entry_points=(spec,))
    async with runtime, _client(runtime) as client:
        answers = [
            await client.post("/direct/red", json={}, headers={"webhook-id": f"id-{number}"})
            for number in range(4)
        ]
        assert [one.status_code for one in answers] == [202, 202, 503, 503]
        assert int(answers[2].headers["retry-after"]) >= 1
        gate.set()
        for answer in answers[:2]:
            await runtime.wait_for_completion(answer.json()["execution_id"], timeout=20)
        again = await client.post("/direct/red", json={}, headers={"webhook-id": "id-2"})
        assert again.json()["duplicate"] is False
    assert len(_events(tmp_path, EventType.WEBHOOK_RECEIVED)) == 3


@pytest.mark.asyncio
async def test_a_route_without_entry_point_starts_what_listens_for_its_event(
    tmp_path: Path,
) -> None:
    ran: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def work(event: dict[str, Any]) -> str:
        ran.set_result(event)
        return "yes"

    spec = EntryPointSpec(
        id="listener",
        entry_node="work",
        trigger_type="event",
        trigger_config={"event_types": ["webhook_received"], "filter_stream": "told"},
    )
    graph = GraphSpec(
        id="graph",
        entry_node="work",
        nodes=[NodeSpec(id="work", input_keys=["event"], output_keys=["done"])],
    )
    runtime = create_agent_runtime(
        graph,
        Goal(id="goal"),
        tmp_path,
        [spec],
        config=AgentRuntimeConfig(webhook_port=0, webhook_routes=[EVENT_ONLY]),
        functions={"work": work},
    )
    async with runtime, _client(runtime) as client:
        answer = await client.post("/told", json={"n": 1})
        assert answer.json() == {"status": "accepted", "execution_id": None, "duplicate": False}
        event = await asyncio.wait_for(ran, 20)
        assert event["data"]["payload"] == {"n": 1}
        repeat = {"webhook-id": "one"}
        assert not (await client.post("/told", headers=repeat)).json()["duplicate"]
        assert (await client.post("/told", headers=repeat)).json()["duplicate"]


@pytest.mark.asyncio
async def test_unstorable_and_oversized_payloads_are_refused_and_the_runtime_goes_on(
    tmp_path: Path,
) -> None:
    runtime = _runtime(tmp_path, _done, DIRECT, webhook_body_bytes_max=2 * 1024 * 1024)
    async with runtime, _client(runtime) as client:
        huge = b"1" * 40
        assert (await client.post("/direct/red", content=b'{"n": %s}' % huge)).status_code == 400
        assert (
            await client.post("/direct/red", content=b"[" * 500 + b"]" * 500)
        ).status_code == 400
        over = b'"' + b"x" * (2 * 1024 * 1024) + b'"'
        assert (await client.post("/direct/red", content=over)).status_code == 413
        value = b'"' + b"x" * (1536 * 1024) + b'"'
        assert (await client.post("/direct/red", content=value)).status_code == 413
        assert (await client.post("/direct/red", json={})).status_code == 202
    assert len(_events(tmp_path, EventType.WEBHOOK_RECEIVED)) == 1


@pytest.mark.asyncio
async def test_a_taken_port_fails_the_start_and_leaves_nothing_half_started(
    tmp_path: Path,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = AgentRuntimeConfig(webhook_port=port, webhook_routes=[DIRECT])
        graph = GraphSpec(id="graph", entry_node="work", nodes=[NodeSpec(id="work")])
        specs = [EntryPointSpec(id="work", entry_node="work")]
        runtime = create_agent_runtime(
            graph, Goal(id="goal"), tmp_path, specs, config=config, functions={"work": _done}
        )
        with pytest.raises(PortInUse):
            await runtime.start()
        assert not runtime.is_running
        assert runtime.webhook_server is None
    await runtime.start()
    assert runtime.is_running
    await runtime.stop()


@pytest.mark.asyncio
async def test_a_route_to_an_unknown_entry_point_is_refused_at_start(tmp_path: Path) -> None:
    lost = WebhookRoute(source_id="lost", path="/lost", entry_point="nowhere")
    runtime = _runtime(tmp_path, _done, lost)
    with pytest.raises(InvalidInput, match="nowhere"):
        await runtime.start()
    assert not runtime.is_running


@pytest.mark.asyncio
async def test_without_routes_there_is_no_server(tmp_path: Path) -> None:
    async with _runtime(tmp_path, _done) as runtime:
        assert runtime.webhook_server is None


@pytest.mark.asyncio
async def test_the_runtime_starts_and_stops_again_with_the_same_routes(tmp_path: Path) -> None:
    runtime = _runtime(tmp_path, _done, DIRECT)
    for _ in range(2):
        async with runtime, _client(runtime) as client:
            assert (await client.post("/direct/red")).status_code == 202
    assert runtime.webhook_server is None
