"""Input that comes while a node is busy answers what the node asks next."""

from typing import Any

import msgspec
import pytest

from greenroom.protocol.engine.injecting import Reception, reception
from greenroom.protocol.engine.ticks import Answer, Cancel, Inject, NodeSucceeded, Pause, Resume
from greenroom.protocol.execution import Ended, Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.limits import INBOX_BYTES_MAX, INBOX_MAX
from greenroom.protocol.questions import AskedQuestion, QuestionEnding
from greenroom.protocol.values import decode_value

NUMBERS = {"type": "number"}


def fits(schema: Any, value: Any) -> bool:
    """Stands for JSON Schema: numbers fit NUMBERS."""
    assert decode_value(schema) == NUMBERS
    return isinstance(decode_value(value), int)


def inject(run: Any, value: object, node: str = "ask", request: str | None = None) -> Any:
    request = f"request {run.known.seq}" if request is None else request
    return run.tick(Inject(node=node, value=run.encoded({"x": value})["x"], request=request))


def ask(run: Any, *keys: str, schema: Any = None) -> Any:
    encoded = None if schema is None else run.encoded({"x": schema})["x"]
    asked = tuple(AskedQuestion(prompt="?", to=key, schema=encoded) for key in keys)
    token = run.token
    return run.tick(
        NodeSucceeded(
            *(run.token_id, token.visit, token.attempt, {}, 1), questions=asked, fits=fits
        )
    )


def test_what_was_kept_answers_in_the_step_that_asks(start: Any) -> None:
    run = start(["ask", "send"], ["ask>send"])
    assert inject(run, "early").patch.status is None
    assert list(run.known.inbox) == [1]
    transition = ask(run, "said")
    assert run.value("said") == "early"
    assert (run.known.status, run.token.node) == (Status.RUNNING, "send")
    assert (run.known.inbox, run.known.questions) == ({}, {})
    opened, closed = transition.questions
    assert (opened.number, opened.closing, closed.number) == (1, None, 1)
    assert closed.closing.ending is QuestionEnding.ANSWERED
    kinds = [event.type for event in transition.events]
    assert kinds[:3] == ["node_completed", "client_input_requested", "question_answered"]


def test_the_oldest_that_fits_goes_first_and_the_rest_waits_for_its_turn(start: Any) -> None:
    node = NodeSpec(id="ask", max_node_visits=0)
    run = start([node], [EdgeSpec(id="e", source="ask", target="ask")])
    for value in ("a", 1, "b", 2):
        inject(run, value)
    ask(run, "x", "y", "z", schema=NUMBERS)
    assert (run.value("x"), run.value("y")) == (1, 2)
    assert (run.known.status, run.token.phase) == (Status.WAITING, Phase.ASKING)
    assert [decode_value(one.value) for one in run.known.inbox.values()] == ["a", "b"]
    raw = run.encoded({"x": 3})["x"]
    run.tick(Answer(number=3, value=raw, digest=b"", by=None, permit=True))
    ask(run, "w")
    assert run.value("w") == "a", "on the next visit"


def test_it_is_kept_for_its_own_node_only(start: Any) -> None:
    run = start(["first", "ask"], ["first>ask"])
    assert inject(run, 1, "ask") is None, "nobody waits there"
    inject(run, 1, "first")
    run.succeed()
    ask(run, "said")
    assert run.known.status is Status.WAITING
    assert len(run.known.inbox) == 1


def test_what_can_be_done_with_it_is_told(start: Any) -> None:
    run = start(["ask"])
    assert reception(run.known, "ask", 1) is Reception.KEEP
    assert reception(run.known, "ask", INBOX_BYTES_MAX + 1) is Reception.FULL
    assert reception(run.known, "other", 1) is Reception.NOBODY
    run.tick(Pause())
    assert reception(run.known, "ask", 1) is Reception.KEEP, "it runs again when it is resumed"
    inject(run, "while paused")
    run.tick(Resume({}))
    assert list(run.known.inbox) == [1]
    asking = start(["ask"])
    ask(asking, "said")
    assert reception(asking.known, "ask", 1) is Reception.ANSWER
    assert inject(asking, 1) is None
    asking.tick(Cancel())
    assert reception(asking.known, "ask", 1) is Reception.NOBODY


def test_input_for_one_of_several_branches_at_a_node_is_for_none(start: Any) -> None:
    """Whether they run there, or ask there; one that is done with the node wants nothing."""
    run, asking = start(["ask"]), start(["ask"])
    token = run.token
    ask(asking, "said")
    for state, held in ((run.known, 0), (asking.known, 1)):
        before = reception(state, "ask", 1)
        state.tokens[-1] = msgspec.structs.replace(token, ended=Ended())
        assert reception(state, "ask", 1) is before
        state.tokens[-1] = token
        assert reception(state, "ask", 1) is Reception.SEVERAL
        assert len(state.questions) == held
    assert inject(run, 1) is None


@pytest.mark.parametrize("value", ["x", "x" * (INBOX_BYTES_MAX // 10)])
def test_what_is_kept_is_bounded(start: Any, value: str) -> None:
    run = start(["ask"])
    kept = 0
    while inject(run, value) is not None:
        kept += 1
    assert kept == (INBOX_MAX if len(value) == 1 else 9)
    assert reception(run.known, "ask", len(value)) is Reception.FULL


def test_the_same_request_is_kept_once(start: Any) -> None:
    """A crash between its commit and its answer brings it again."""
    run = start(["ask"])
    assert inject(run, 1, request="one") is not None
    assert inject(run, 1, request="one") is None
    assert inject(run, 1, request="another") is not None
    assert len(run.known.inbox) == 2
