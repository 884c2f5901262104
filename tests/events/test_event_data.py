"""Data that an event only refers to."""

from typing import Any

import msgspec
import pytest

from greenroom.actors.system.event_data import EventData
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, NewEvent, Summary
from greenroom.protocol.errors import StoreClosed
from greenroom.protocol.events import AgentEvent, EventBody, Reference
from greenroom.protocol.execution import Accepted, Status
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.protocol.values import encode_value
from greenroom.storage.memory_store import MemoryStore


def step(ordinal: int, seq: int, kind: str, status: Status, memory: dict[str, Any]) -> Commit:
    """A commit that writes to memory, with an event that refers to it."""
    accepted = None
    if seq == 1:
        accepted = Accepted(
            execution_id="x",
            entry_point="api",
            entry_node="first",
            graph_id="g",
            goal_id="goal",
            correlation_id="x",
            accepted_at=1.0,
        )
    encoded = {key: msgspec.Raw(encode_value(value)) for key, value in memory.items()}
    patch = Patch(accepted=accepted, status=status, memory=encoded)
    record = JournalRecord(
        seq=seq, at=1.0, incarnation=0, plan=b"", cause=Cause(tick="tick"), patch=patch
    )
    summary = Summary(
        execution_id="x",
        entry_point="api",
        goal_id="goal",
        correlation_id="x",
        status=status,
        accepted_at=1.0,
        updated_at=1.0,
    )
    body = EventBody(
        type="custom", at=1.0, execution="x", reference=Reference(kind, 9_000), stream="api"
    )
    return Commit(
        commit_id=seq,
        stream="api",
        incarnation=0,
        execution_id="x",
        ordinal=ordinal,
        expected_seq=seq - 1,
        record=msgspec.Raw(encode(record)),
        summary=summary,
        events=(NewEvent(msgspec.Raw(encode(body))),),
    )


def events_of(store: MemoryStore) -> list[AgentEvent]:
    """Every event, as subscribers get them."""
    data = EventData(store)
    return [data.event(*one) for one in store.read(lambda reader: reader.events(1))]


def test_input_and_output_are_read_from_the_execution() -> None:
    """The memory of its first record, and of its last."""
    store = MemoryStore()
    large = "x" * 9_000
    (first,) = store.commit([step(0, 1, "input", Status.RUNNING, {"a": large})], 1.0)
    store.commit([step(first.ordinal, 2, "output", Status.COMPLETED, {"b": [large]})], 1.0)
    started, ended = events_of(store)
    assert started.data == {"input": {"a": large}}
    assert ended.data == {"output": {"a": large, "b": [large]}}
    assert ended.to_dict()["data"] is ended.data


def test_what_was_pruned_is_empty_and_a_closed_store_says_so() -> None:
    """The event itself stays readable."""
    store = MemoryStore()
    body = EventBody(type="custom", at=1.0, execution="gone", reference=Reference("output", 1))
    data = EventData(store)
    assert data.event(1, body).data == {}
    payload = EventBody(type="custom", at=1.0, reference=Reference("payload", 1))
    assert data.event(1, payload).data == {}
    store.close()
    event = data.event(1, body)
    assert event.execution_id == "gone"
    with pytest.raises(StoreClosed):
        _ = event.data
