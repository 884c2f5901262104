"""Patches fold to the states they always folded to: what a journal says never changes."""

from typing import Any

import msgspec

from greenroom.protocol.codec import decode_record, encode
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.patch import apply


def record(seq: int, **patch: Any) -> bytes:
    """A journal record as plain data, so that the classes' own defaults play no part."""
    return encode(
        {
            "seq": seq,
            "at": 10.0 + seq,
            "incarnation": 1,
            "plan": b"",
            "cause": {"tick": "node_ended"},
            "patch": patch,
        }
    )


ACCEPTED = {
    "execution_id": "session_20260102_030405_0badcafe",
    "entry_point": "api",
    "entry_node": "a",
    "graph_id": "triage",
    "goal_id": "goal",
    "correlation_id": "request-1",
    "accepted_at": 10.0,
}
EFFECT = {"policy": "once", "outcome": "done", "digest": b"d", "value": {"paid": 5}}
JOURNAL = (
    record(1, accepted=ACCEPTED, status="queued", tokens={1: {"node": "a"}}, memory={"x": 1}),
    record(
        2,
        status="running",
        tokens={1: {"node": "a", "attempt": 1, "phase": "running"}},
        started_at=12.0,
    ),
    record(
        3,
        tokens={1: {"node": "a", "attempt": 1, "failures": 1, "phase": "backoff", "due": 14.5}},
        retries=1,
        failures={"a": 1},
        latency_ms=5,
    ),
    record(4, tokens={1: {"node": "a", "attempt": 2, "phase": "running"}}, started_at=99.0),
    record(
        5,
        tokens={1: None, 2: {"node": "b", "attempt": 1, "phase": "running"}},
        memory={"y": [1, 2], "x": "new"},
        visits={"a": 1},
        path=["a"],
        steps=1,
        latency_ms=7,
    ),
    record(6, effects={2: {"pay/1": EFFECT, "mail/1": {**EFFECT, "value": None}}}),
    record(7, effects={2: {"pay/1": None, "mail/2": {**EFFECT, "outcome": "begun"}}}),
    record(8, forget=["x", "never there"], memory={"y": None}, visits={"a": 2, "b": 1}),
    record(9, status="failed", tokens={2: None}, error="b failed", ended_at=17.0),
    record(10, status="running", run=2, clear_error=True, tokens={3: {"node": "b", "visit": 2}}),
    record(11, status="completed", tokens={3: None}, path=["b", "b"], steps=2, ended_at=19.0),
)


def test_golden_patches_give_golden_states(golden: Any) -> None:
    """Every record of a journal that uses every field."""
    found: dict[str, str] = {}
    state: ExecutionState | None = None
    for seq, raw in enumerate(JOURNAL, start=1):
        state = apply(state, decode_record(raw).patch, seq)
        found[str(seq)] = encode(state).hex()
    golden("folded", found)


def test_the_last_golden_state_reads_as_expected() -> None:
    """The hexadecimal files cannot be read by eye; this one state can."""
    state: ExecutionState | None = None
    for seq, raw in enumerate(JOURNAL, start=1):
        state = apply(state, decode_record(raw).patch, seq)
    assert state is not None
    memory = {key: msgspec.msgpack.decode(value) for key, value in state.memory.items()}
    assert memory == {"y": None}
    assert state.effects == {}
    assert (state.status, state.tokens, state.path) == ("completed", {}, ["a", "b", "b"])
    assert (state.steps, state.retries, state.retry_details) == (3, 1, {"a": 1})
    assert (state.run, state.error, state.latency_ms) == (2, None, 12)
    assert (state.started_at, state.ended_at) == (12.0, 19.0)
