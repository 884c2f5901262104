"""Messages between the runtime's actors keep their bytes: they may be stored, and cross a wire."""

from typing import Any

import msgspec
import pytest

from greenroom.protocol import messages, stream_messages
from greenroom.protocol.budget import Budget
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import (
    Commit,
    CommitOutcome,
    CursorMove,
    IdempotencyClaim,
    NewEvent,
    OutcomeKind,
    StateKey,
    StateRead,
    StateWrite,
    Summary,
)
from greenroom.protocol.effects import EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.envelope import Header, pack, unpack
from greenroom.protocol.execution import Status
from greenroom.protocol.timers import TimerMove

ONE = msgspec.Raw(msgspec.msgpack.encode(1))
KEY = StateKey("global", "", "tickets")
SUMMARY = Summary(
    execution_id="execution-1",
    entry_point="api",
    goal_id="goal",
    correlation_id="request-1",
    status=Status.QUEUED,
    accepted_at=1.5,
    updated_at=1.5,
    queue_key=1.5,
)
COMMIT = Commit(
    commit_id=9,
    stream="api",
    incarnation=3,
    execution_id="execution-1",
    ordinal=4,
    expected_seq=2,
    record=ONE,
    summary=SUMMARY,
    snapshot=ONE,
    events=(NewEvent(ONE), NewEvent(ONE, ONE)),
    idempotency=(IdempotencyClaim("api", "key", b"digest", 2.5),),
    reads=(StateRead(KEY, 7),),
    writes=(StateWrite(KEY, ONE), StateWrite(StateKey("stream", "api", "gone"), None)),
    cursor=CursorMove("consumer:1", 3, 5, ONE),
    notes=(ONE,),
    timer=TimerMove(1767323045.25, None),
)
OUTCOME = CommitOutcome(
    commit_id=9,
    kind=OutcomeKind.CONFLICT,
    execution_id="execution-1",
    ordinal=4,
    first_event=11,
    state_version=6,
    duplicate_of="execution-0",
    stale=(KEY,),
    code="state_conflict",
    text="stale",
)
MANY = CommitOutcome(commit_id=10, kind=OutcomeKind.APPLIED, parts=(OUTCOME,))
NODE_RESULT = stream_messages.NodeResult(
    execution_id="execution-1",
    token_id=2,
    visit=1,
    attempt=1,
    latency_ms=3,
    outputs={"label": ONE},
    route="a",
    sleep_until=1767323045.25,
    error="failed",
    error_types=("ValueError",),
    retryable=False,
    reads=(StateRead(KEY, 7),),
    writes=(StateWrite(KEY, ONE),),
    updates=(stream_messages.UpdateMade(KEY, "add", ONE),),
    events=(ONE,),
    notes=(ONE,),
)
WRITER: dict[str, messages.WriterMessage] = {
    "commit_batch": messages.CommitBatch(
        sender="streams/api", commits=(COMMIT, Commit(commit_id=1, stream="", incarnation=0))
    ),
    "commit_now": messages.CommitNow(commit=COMMIT),
    "raise_fence": messages.RaiseFence(stream="api"),
    "note_plan": messages.NotePlan(digest=b"digest", description=ONE),
}
STREAM: dict[str, stream_messages.StreamMessage] = {
    "commit_acks": stream_messages.CommitAcks(outcomes=(OUTCOME, MANY), degraded="disk full"),
    "trigger_many": stream_messages.TriggerMany(
        request=6,
        triggers=(stream_messages.Trigger(request=0, execution_id="execution-2", memory={}),),
    ),
    "trigger": stream_messages.Trigger(
        request=5,
        execution_id="execution-1",
        memory={"ticket": ONE},
        correlation_id="request-1",
        idempotency_namespace="api",
        idempotency_key="key",
        idempotency_window_s=60.0,
        digest=b"digest",
        priority=1,
        concurrency_key="ticket-42",
        budget=Budget(steps=10, wall_s=60, on_breach="pause"),
        hops=2,
        cursor=CursorMove("consumer:1", 3, 5),
        events=(ONE,),
    ),
    "node_results": stream_messages.NodeResults(incarnation=3, results=(NODE_RESULT,)),
    "timer_fired": stream_messages.TimerFired(),
    "record_effect": stream_messages.RecordEffect(
        incarnation=3,
        execution_id="execution-1",
        token_id=2,
        visit=1,
        attempt=1,
        slot="pay/1",
        record=EffectRecord(EffectPolicy.REPEAT, EffectOutcome.DONE, b"digest", ONE),
    ),
    "answer_question": stream_messages.AnswerQuestion(
        execution_id="execution-1", number=2, value=ONE, digest=b"digest", by="ada"
    ),
    "inject_input": stream_messages.InjectInput(
        execution_id="execution-1", node="first", value=ONE, request="r1"
    ),
    "migration_made": stream_messages.MigrationMade(
        incarnation=3,
        execution_id="execution-1",
        nodes={"first": "begin"},
        memory={"tone": ONE},
        forget=("old",),
        reasons=("why",),
    ),
    "at_node": stream_messages.AtNode(node="first"),
    "cancel_execution": stream_messages.CancelExecution(execution_id="execution-1"),
}


@pytest.mark.parametrize(
    ("name", "examples", "union"),
    [
        ("writer_messages", WRITER, messages.WriterMessage),
        ("stream_messages", STREAM, stream_messages.StreamMessage),
    ],
)
def test_messages_keep_their_bytes_and_their_meaning(
    name: str, examples: dict[str, Any], union: Any, golden: Any
) -> None:
    """Encoding gives the golden bytes; decoding them as the union gives an equal message."""
    stored = golden(name, {key: encode(example).hex() for key, example in examples.items()})
    for key, example in examples.items():
        decoded = msgspec.msgpack.decode(bytes.fromhex(stored[key]), type=union)
        assert type(decoded) is type(example)
        assert encode(decoded) == encode(example)


def test_an_envelope_keeps_its_bytes(golden: Any) -> None:
    """The wire form of a message with everything that may travel with it."""
    header = Header(
        id="1", sender="streams/api", deadline=9.5, attempt=2, trace={"traceparent": "00-ab-cd-01"}
    )
    stored = golden(
        "envelopes", {"least": pack(b"\x01").hex(), "full": pack(b"\x01", header).hex()}
    )
    assert unpack(bytes.fromhex(stored["full"])) == (header, b"\x01")
    assert unpack(bytes.fromhex(stored["least"])) == (Header(), b"\x01")
