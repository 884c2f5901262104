"""The agent's graph fits its functions, and triages every payload of the package."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from greenroom.actors.host.demo import agent
from greenroom.actors.host.demo.agent import DIGEST_KEY, build_runtime, count_labels, triage_graph
from greenroom.actors.host.demo.client import Delivery, send
from greenroom.actors.host.demo.evidence import read_evidence, read_global
from greenroom.actors.host.demo.ledger import Ledger, read_ledger
from greenroom.actors.host.demo.payloads import Payload, own_payloads
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.protocol.events import AgentEvent, EventType
from greenroom.protocol.graph import NodeSpec

SECRET = "of this test"
PAYLOADS = {payload.name: payload for payload in own_payloads()}


def _input(payload: Payload) -> dict[str, Any]:
    return {"payload": payload.json(), "headers": {"x-github-event": payload.event}}


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[AgentRuntime]:
    ledger = Ledger(tmp_path / "ledger")
    made = build_runtime(tmp_path / "store", ledger, secret=SECRET, latency_s=0.0)
    async with made:
        yield made
    ledger.close()


def test_the_graph_has_at_least_five_function_nodes_and_a_router() -> None:
    nodes = triage_graph().nodes
    assert sum(node.node_type == "function" for node in nodes) >= 5
    assert any(node.node_type == "router" for node in nodes)


def test_every_function_of_the_graph_is_there(tmp_path: Path) -> None:
    names = agent.TriageFunctions(Ledger(tmp_path / "ledger"), 0).by_name()
    functions: list[NodeSpec] = [one for one in triage_graph().nodes if one.node_type == "function"]
    assert all(node.function_name in names for node in functions)


def test_labels_are_counted_without_changing_what_was_there() -> None:
    first = count_labels(None, ["bug", "docs"])
    second = count_labels(first, ["bug"])
    assert first == {"executions": 1, "labels": {"bug": 1, "docs": 1}}
    assert second == {"executions": 2, "labels": {"bug": 2, "docs": 1}}


@pytest.mark.asyncio
async def test_every_payload_is_triaged_to_the_end(runtime: AgentRuntime) -> None:
    for payload in PAYLOADS.values():
        result = await runtime.trigger_and_wait("api", _input(payload), timeout=30)
        assert result is not None
        assert result.success, (payload.name, result.error)
        assert result.output["event"] == payload.event
        assert result.path[-1] == "draft_reply"
        assert (result.output["reply"] is not None) == (result.output["kind"] == "issue")


@pytest.mark.asyncio
@pytest.mark.parametrize("event", ["issues", "push", "release", "nothing"])
async def test_a_payload_of_another_shape_is_triaged_as_unknown(
    runtime: AgentRuntime, event: str
) -> None:
    for payload in ({}, {"issue": {}, "commits": [1], "release": {"name": 3}}, {"issue": "x"}):
        data = {"payload": payload, "headers": {"x-github-event": event}}
        result = await runtime.trigger_and_wait("api", data, timeout=30)
        assert result is not None
        assert result.success, (payload, result.error)
        if not payload and event != "nothing":
            assert result.output["event"] == "unknown"


@pytest.mark.asyncio
async def test_duplicates_are_found_through_shared_state(runtime: AgentRuntime) -> None:
    first = await runtime.trigger_and_wait("api", _input(PAYLOADS["issues.00.json"]), timeout=30)
    second = await runtime.trigger_and_wait("api", _input(PAYLOADS["issues.01.json"]), timeout=30)
    assert first is not None
    assert second is not None
    assert first.output["duplicate_of"] is None
    assert second.output["duplicate_of"] == 41
    assert "#41" in second.output["reply"]


@pytest.mark.asyncio
async def test_signed_webhooks_are_triaged_and_counted_in_the_digest(
    runtime: AgentRuntime, tmp_path: Path
) -> None:
    """The digest runs once for each webhook's execution, and for nothing else."""
    deliveries = [
        Delivery(payload=payload, delivery_id=f"id-{payload.name}", secret=SECRET)
        for payload in PAYLOADS.values()
    ]
    counted: list[str | None] = []
    all_counted = asyncio.Event()

    def count(event: AgentEvent) -> None:
        counted.append(event.execution_id)
        if len(counted) == len(deliveries):
            all_counted.set()

    runtime.subscribe_to_events([EventType.EXECUTION_COMPLETED], count, filter_stream="digest")
    server = runtime.webhook_server
    assert server is not None
    answers = await send(server.port, deliveries)
    assert [answer.status for answer in answers] == [202] * len(deliveries)
    again = await send(server.port, deliveries[:3])
    assert [one.execution_id for one in again] == [one.execution_id for one in answers[:3]]
    assert all(one.duplicate for one in again)
    for answer in answers:
        result = await runtime.wait_for_completion(answer.execution_id or "", timeout=30)
        assert result is not None
        assert result.success
    await asyncio.wait_for(all_counted.wait(), 30)
    await runtime.stop()
    digest = read_global(tmp_path / "store", DIGEST_KEY)
    assert digest["executions"] == len(deliveries)
    evidence = read_evidence(tmp_path / "store")
    assert not evidence.in_flight
    entered = {(line.execution, line.node, line.visit) for line in read_ledger(tmp_path / "ledger")}
    routed = {run for run in evidence.closed if run.node == "route"}
    assert {tuple(run) for run in evidence.closed - routed} == entered


@pytest.mark.asyncio
async def test_a_forged_webhook_starts_nothing(runtime: AgentRuntime, tmp_path: Path) -> None:
    server = runtime.webhook_server
    assert server is not None
    delivery = Delivery(payload=PAYLOADS["issues.00.json"], delivery_id="x", secret="guessed")
    assert [one.status for one in await send(server.port, [delivery])] == [401]
    await runtime.stop()
    assert not read_evidence(tmp_path / "store").statuses
