"""Effects whose outcome is unknown: a person says what came of them, and the node runs again."""

from typing import Any

import msgspec
import pytest

from greenroom.protocol.effects import EffectChange, EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.ticks import (
    Answer,
    Cancel,
    Dispatch,
    Due,
    NodeErrored,
    Pause,
    Progressed,
    Resume,
)
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.questions import QuestionEnding
from greenroom.protocol.values import decode_value, encode_value

UNKNOWN = EffectRecord(EffectPolicy.ONCE, EffectOutcome.UNKNOWN, b"digest", ask=True)
NODES = [NodeSpec(id="a", max_retries=1), "b", "c"]
EDGES = [
    EdgeSpec(id="ok", source="a", target="b", condition="on_success"),
    EdgeSpec(id="not", source="a", target="c", condition="on_failure"),
]


def record(run: Any, *slots: str, known: EffectRecord = UNKNOWN) -> None:
    token = run.token
    changes = tuple(EffectChange(slot, known) for slot in slots)
    assert run.tick(Progressed(run.token_id, token.visit, token.attempt, changes))


def fail(run: Any, code: str = "outcome_unknown") -> Any:
    token = run.token
    return run.tick(
        NodeErrored(
            run.token_id, token.visit, token.attempt, "who knows", ("E", code), 1, retryable=False
        )
    )


def say(run: Any, number: int, *, permit: bool = False, **said: Any) -> Any:
    value = msgspec.Raw(encode_value(said))
    return run.tick(Answer(number=number, value=value, digest=b"d", by="ann", permit=permit))


def asked(start: Any, *slots: str) -> Any:
    """A run whose node has asked about its effects."""
    run = start(NODES, EDGES, {"n": 1})
    record(run, *slots)
    fail(run)
    return run


def test_the_node_waits_unfinished_and_the_question_says_what_is_asked(start: Any) -> None:
    run = asked(start, "pay/1")
    assert (run.known.status, run.token.phase, run.token.ended) == ("waiting", Phase.ASKING, None)
    assert (run.token.visit, run.token.failures, run.known.retry_details) == (1, 0, {})
    (change,) = run.last.questions
    assert change.record is not None
    assert "'pay' of node 'a'" in change.record.prompt
    assert "session_1/a/1/pay/1" in change.record.prompt
    assert (change.record.effect, change.record.to) == ("pay/1", "")
    schema = decode_value(change.record.schema)
    assert schema["properties"]["outcome"]["enum"] == ["happened", "call_again", "fail"]
    assert run.data("client_input_requested")["effect"] == "pay/1"
    assert run.last.closed is False


def test_the_time_of_a_node_does_not_run_out_while_people_are_asked(start: Any) -> None:
    run = start([NodeSpec(id="a", max_retries=1, timeout_s=5.0)])
    record(run, "pay/1")
    fail(run)
    run.now += 100.0
    assert run.tick(Due(permit=True)) is None
    say(run, 1, permit=True, outcome="call_again")
    assert (run.token.phase, run.token.due) == (Phase.RUNNING, run.now + 5.0)


@pytest.mark.parametrize("permit", [False, True])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"outcome": "happened", "result": {"paid": 5}},
            EffectRecord(
                EffectPolicy.ONCE,
                EffectOutcome.DONE,
                b"digest",
                msgspec.Raw(encode_value({"paid": 5})),
            ),
        ),
        (
            {"outcome": "happened"},
            EffectRecord(
                EffectPolicy.ONCE, EffectOutcome.DONE, b"digest", msgspec.Raw(encode_value(None))
            ),
        ),
        ({"outcome": "call_again"}, None),
        ({"outcome": "fail"}, EffectRecord(EffectPolicy.ONCE, EffectOutcome.GIVEN_UP, b"digest")),
    ],
)
def test_the_answer_goes_on_record_and_the_node_runs_again(
    start: Any, said: Any, expected: EffectRecord | None, permit: bool
) -> None:
    run = asked(start, "pay/1")
    memory = dict(run.known.memory)
    assert say(run, 1, permit=permit, **said)
    if not permit:
        assert run.known.status is Status.QUEUED
        run.tick(Dispatch())
    assert (run.known.status, run.token.visit, run.token.attempt) == ("running", 1, 2)
    assert run.known.effects[run.token_id].get("pay/1") == expected
    assert run.known.memory == memory, "the answer is no output"
    assert run.known.questions == {}
    assert say(run, 1, **said) is None, "it is answered"
    run.succeed()
    assert (run.token.node, run.known.effects) == ("b", {})


def test_all_that_was_asked_must_be_answered(start: Any) -> None:
    run = asked(start, "pay/1", "pay/2")
    assert say(run, 2, permit=True, outcome="call_again")
    assert run.known.status is Status.WAITING
    assert say(run, 1, permit=True, outcome="happened")
    assert run.known.status is Status.RUNNING
    assert list(run.known.effects[run.token_id]) == ["pay/1"]


def test_an_error_that_is_another_or_an_effect_that_is_not_asked_about_fails_the_node(
    start: Any,
) -> None:
    run = start(NODES, EDGES)
    record(run, "pay/1")
    fail(run, "broken")
    assert run.token.node == "c"
    run = start(NODES, EDGES)
    record(run, "pay/1", known=msgspec.structs.replace(UNKNOWN, ask=False))
    fail(run)
    assert run.token.node == "c"


def test_a_pause_keeps_the_question_and_a_resume_does_not_ask_twice(start: Any) -> None:
    run = asked(start, "pay/1")
    run.tick(Pause())
    run.tick(Resume())
    assert (run.known.status, list(run.known.questions), run.known.asked) == ("waiting", [1], 1)
    run.tick(Pause())
    assert say(run, 1, permit=False, outcome="happened", result=1)
    assert run.known.status is Status.PAUSED
    run.tick(Resume())
    run.tick(Dispatch())
    assert run.known.effects[run.token_id]["pay/1"].outcome is EffectOutcome.DONE


def test_an_end_closes_the_question(start: Any) -> None:
    run = asked(start, "pay/1")
    run.tick(Cancel())
    (change,) = run.last.questions
    assert change.closing.ending is QuestionEnding.CLOSED
    assert say(run, 1, outcome="call_again") is None
