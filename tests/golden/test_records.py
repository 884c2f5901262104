"""Records, events, summaries and states keep their bytes, and those bytes keep their meaning."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from greenroom.protocol.budget import Budget, OnBreach
from greenroom.protocol.codec import (
    decode_event,
    decode_record,
    decode_state,
    decode_summary,
    encode,
)
from greenroom.protocol.commit import Summary
from greenroom.protocol.decisions import (
    DecisionMade,
    DecisionType,
    Note,
    Option,
    ProblemReported,
    Severity,
    decode_note,
)
from greenroom.protocol.effects import EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.events import EventBody, EventType, Reference
from greenroom.protocol.execution import Accepted, Ended, ExecutionState, Phase, Status, Token
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.patch import Cause, JournalRecord, Migrated, Patch
from greenroom.protocol.questions import Injected, OpenQuestion, QuestionEnding
from greenroom.protocol.values import encode_value

EXECUTION = "session_20260102_030405_0badcafe"
AT = 1767323045.25
TEXT = msgspec.Raw(encode_value("caf\u00e9"))
NESTED = msgspec.Raw(encode_value({"a": [1, -2, 2.5, None, True, b"\x00"], "b": {}}))

ACCEPTED = Accepted(
    execution_id=EXECUTION,
    entry_point="api",
    entry_node="first",
    graph_id="triage",
    goal_id="goal",
    correlation_id="request-1",
    accepted_at=AT,
    isolation="synchronized",
    priority=-3,
    hops=2,
    idempotency_key="delivery-1",
    concurrency_key="ticket-42",
)
FULL_TOKEN = Token(
    node="second",
    visit=2,
    attempt=3,
    failures=1,
    crashes=1,
    conflicts=4,
    phase=Phase.BACKOFF,
    due=AT + 1,
)
EFFECT = EffectRecord(EffectPolicy.ONCE, EffectOutcome.DONE, bytes(range(16)), NESTED)
RECORDS = {
    "accept": JournalRecord(
        seq=1,
        at=AT,
        incarnation=1,
        plan=bytes(range(16)),
        cause=Cause(tick="accept"),
        patch=Patch(
            accepted=ACCEPTED,
            status=Status.QUEUED,
            tokens={1: Token(node="first")},
            memory={"text": TEXT, "nested": NESTED},
        ),
    ),
    "step": JournalRecord(
        seq=2,
        at=AT + 0.5,
        incarnation=7,
        plan=bytes(range(16)),
        cause=Cause(tick="node_ended", node="first", visit=1, attempt=2, error="broken"),
        patch=Patch(
            status=Status.RUNNING,
            tokens={1: None, 2: FULL_TOKEN},
            forget=("stale",),
            memory={"text": NESTED},
            visits={"first": 1, "second": 2},
            path=("first", "second"),
            steps=1,
            retries=1,
            failures={"second": 2},
            latency_ms=12,
            started_at=AT + 0.1,
            violated=("polite",),
            node_runs=1,
            wall_s=2.5,
            budget=Budget(steps=10, wall_s=60, on_breach="pause"),
        ),
        notes=3,
    ),
    "pause": JournalRecord(
        seq=3,
        at=AT + 1,
        incarnation=7,
        plan=b"",
        cause=Cause(tick="pause", node="second"),
        patch=Patch(
            status=Status.PAUSED,
            tokens={2: Token(node="second", ended=Ended(outputs=("text",), route="default"))},
        ),
    ),
    "sub_step": JournalRecord(
        seq=3,
        at=AT + 1,
        incarnation=7,
        plan=b"",
        cause=Cause(tick="progressed", node="second", visit=2, attempt=3),
        patch=Patch(effects={2: {"pay/1": EFFECT, "mail/2": None}}),
    ),
    "ask": JournalRecord(
        seq=3,
        at=AT + 1,
        incarnation=7,
        plan=b"",
        cause=Cause(tick="answer", node="second"),
        patch=Patch(
            questions={
                1: OpenQuestion(token=2, to="ok"),
                2: None,
                3: OpenQuestion(token=2, to="", budget="wall_s"),
            },
            inbox={1: None, 2: Injected(node="second", value=TEXT, request="r2")},
        ),
    ),
    "unfit": JournalRecord(
        seq=3,
        at=AT + 1,
        incarnation=7,
        plan=b"",
        cause=Cause(tick="hold"),
        patch=Patch(status=Status.HELD, error="it does not fit", unfit=("node 'first' is gone",)),
    ),
    "migrated": JournalRecord(
        seq=3,
        at=AT + 1,
        incarnation=7,
        plan=b"",
        cause=Cause(tick="migrate"),
        patch=Patch(
            tokens={2: Token(node="other", visit=2, attempt=3, known_as="second/2")},
            visits={"other": 2},
            migrated=Migrated(before=b"before", after=b"after", unvisited=("second",)),
        ),
    ),
    "end": JournalRecord(
        seq=3,
        at=AT + 1,
        incarnation=7,
        plan=b"",
        cause=Cause(tick="cancel"),
        patch=Patch(
            status=Status.CANCELLED,
            tokens={2: None},
            run=2,
            error="cancelled by the host",
            clear_error=True,
            ended_at=AT + 1,
        ),
    ),
}
EVENTS = {
    "least": EventBody(type=EventType.CUSTOM, at=AT),
    "inline": EventBody(
        type=EventType.NODE_COMPLETED,
        at=AT,
        stream="api",
        execution=EXECUTION,
        node="first",
        correlation="request-1",
        data=NESTED,
        hops=2,
    ),
    "referring": EventBody(
        type=EventType.WEBHOOK_RECEIVED,
        at=AT,
        stream="github",
        reference=Reference("payload", 70_000),
    ),
}
SUMMARIES = {
    "least": Summary(
        execution_id=EXECUTION,
        entry_point="api",
        goal_id="goal",
        correlation_id=EXECUTION,
        status=Status.RUNNING,
        accepted_at=AT,
        updated_at=AT,
    ),
    "full": Summary(
        execution_id=EXECUTION,
        entry_point="api",
        goal_id="goal",
        correlation_id="request-1",
        status=Status.HELD,
        accepted_at=AT,
        updated_at=AT + 1,
        queue_key=AT - 60,
        error="the graph lacks node 'second'",
        concurrency_key="ticket-42",
        takes_key=True,
    ),
}
STATES = {
    "least": ExecutionState(accepted=ACCEPTED),
    "full": ExecutionState(
        accepted=ACCEPTED,
        seq=12,
        status=Status.WAITING,
        tokens={3: FULL_TOKEN},
        effects={3: {"pay/1": EFFECT}},
        memory={"text": TEXT, "nested": NESTED},
        visits={"first": 1},
        path=["first"],
        steps=4,
        retries=2,
        retry_details={"first": 2},
        run=2,
        error="a failure",
        started_at=AT,
        ended_at=AT + 9,
        latency_ms=55,
        questions={4: OpenQuestion(token=3, to="ok")},
        asked=5,
        inbox={2: Injected(node="second", value=TEXT, request="r2")},
        injected=2,
    ),
}
NOTES: dict[str, Note] = {
    "least": DecisionMade(id="dec_0000001.001.001", at=AT, intent="pick"),
    "decision": DecisionMade(
        id="dec_0000001.001.001",
        at=AT,
        intent="pick a tool",
        decision_type=DecisionType.TOOL_SELECTION,
        options=[Option("search", "look it up", "tool", {"q": 1}, ["new"], ["slow"], 0.9)],
        chosen="search",
        reasoning="it is new",
        active_constraints=["polite"],
        input_context={"title": "x"},
    ),
    "problem": ProblemReported(
        id="prob_0000001.001.002",
        at=AT,
        severity=Severity.WARNING,
        description="slow",
        root_cause="the net",
        decision_id="dec_0000001.001.001",
        suggested_fix="cache",
    ),
}
KINDS: dict[str, tuple[dict[str, Any], Callable[[bytes], Any]]] = {
    "records": (RECORDS, decode_record),
    "events": (EVENTS, decode_event),
    "summaries": (SUMMARIES, decode_summary),
    "states": (STATES, decode_state),
    "notes": (NOTES, decode_note),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_keeps_its_bytes_and_its_meaning(kind: str, golden: Any) -> None:
    """Encoding gives the golden bytes, and decoding them gives equal objects."""
    examples, decode = KINDS[kind]
    stored = golden(kind, {name: encode(example).hex() for name, example in examples.items()})
    for name, example in examples.items():
        decoded = decode(bytes.fromhex(stored[name]))
        assert type(decoded) is type(example)
        assert encode(decoded) == encode(example)


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_of_a_later_version_is_skipped(kind: str) -> None:
    """An older program reads what a newer one wrote, as far as it understands it."""
    examples, decode = KINDS[kind]
    for example in examples.values():
        fields = msgspec.msgpack.decode(encode(example))
        later = encode({**fields, "a_field_of_a_later_version": [1, {"x": None}]})
        assert encode(decode(later)) == encode(example)


def test_every_status_and_every_event_keeps_its_name(golden: Any) -> None:
    """These strings stand in stores; a renamed one could not be read."""
    golden(
        "names",
        {
            "statuses": sorted(Status),
            "phases": sorted(Phase),
            "events": sorted(EventType),
            "endings": sorted(QuestionEnding),
            "breaches": sorted(OnBreach),
        },
    )


def test_a_graph_keeps_its_digest(golden: Any) -> None:
    """The digest is part of every record: another one would make every execution look migrated."""
    graph = GraphSpec(
        id="triage",
        entry_node="first",
        terminal_nodes=["third"],
        nodes=[
            NodeSpec(id="first", input_keys=["text"], output_keys=["label"]),
            NodeSpec(id="second", node_type="router", route_on="label", routes={"a": "third"}),
            NodeSpec(id="third", max_retries=5, retry_on=["OSError"]),
        ],
        edges=[
            EdgeSpec(id="one", source="first", target="second", condition="on_success"),
            EdgeSpec(
                id="two",
                source="first",
                target="third",
                condition="conditional",
                condition_expr="output.label == 'a'",
                priority=2,
                input_mapping={"label": "text"},
            ),
        ],
    )
    golden("plans", {"triage": compile_plan(graph).digest.hex()})
