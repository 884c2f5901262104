"""Questions to people: a node that asks has ended, and the answers decide how it goes on."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.ticks import (
    Answer,
    Cancel,
    Dispatch,
    Due,
    Hold,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Recover,
    Resume,
)
from greenroom.protocol.engine.transition import Finish, RunNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.patch import Patch, apply
from greenroom.protocol.questions import (
    AskedQuestion,
    QuestionEnding,
    number_of,
    question_id,
    split_question_id,
)
from greenroom.protocol.values import answer_digest

YES = EdgeSpec(
    id="yes", source="ask", target="send", condition="conditional", condition_expr="output.ok"
)
NO = EdgeSpec(
    id="no", source="ask", target="drop", condition="conditional", condition_expr="not output.ok"
)


def ask(
    run: Any,
    *keys: str,
    outputs: Any = None,
    route: str | None = None,
    sleep_until: float | None = None,
    **limits: Any,
) -> Any:
    """Let the running node return, having asked one question for each key."""
    token = run.token
    return run.tick(
        NodeSucceeded(
            token_id=run.token_id,
            visit=token.visit,
            attempt=token.attempt,
            outputs=run.encoded(outputs or {}),
            latency_ms=5,
            route=route,
            sleep_until=sleep_until,
            questions=tuple(
                AskedQuestion(prompt=f"what is {key}?", to=key, **limits) for key in keys
            ),
        )
    )


def answer(run: Any, number: int, value: object, *, permit: bool = True) -> Any:
    raw = run.encoded({"x": value})["x"]
    digest = answer_digest(raw)
    return run.tick(Answer(number=number, value=raw, digest=digest, by="ada", permit=permit))


def asking(start: Any, nodes: Any = ("ask", "send", "drop"), edges: Any = (YES, NO)) -> Any:
    run = start(list(nodes), list(edges))
    ask(run, "ok", outputs={"draft": "text"})
    return run


def test_a_node_that_asks_has_ended_and_its_execution_waits(start: Any) -> None:
    run = asking(start)
    assert (run.known.status, run.token.phase) == (Status.WAITING, Phase.ASKING)
    assert run.last.commands == ()
    kinds = ["node_completed", "client_input_requested", "execution_waiting"]
    assert [one.type for one in run.last.events] == kinds
    assert run.data("client_input_requested") == {
        "question_id": "session_1:q1",
        "prompt": "what is ok?",
        "to": "ok",
        "assignee": None,
        "deadline": None,
    }
    (change,) = run.last.questions
    assert (change.number, change.closing, change.record.asked_at) == (1, None, run.now)
    assert (change.record.node, change.record.visit, change.record.to) == ("ask", 1, "ok")
    assert (list(run.known.questions), run.known.asked) == ([1], 1)
    nothing = (
        Dispatch(),
        Due(permit=True),
        Recover(process_death=True, permit=True),
    )
    for tick in (*nothing, NodeErrored(run.token_id, 1, 1, "late", (), 1)):
        assert run.tick(tick) is None


@pytest.mark.parametrize(("value", "target"), [(True, "send"), (False, "drop")])
def test_the_conditions_of_its_edges_see_the_answer_and_the_output(
    start: Any, value: bool, target: str
) -> None:
    run = asking(start)
    transition = answer(run, 1, value)
    assert run.value("ok") is value
    assert transition.commands == (RunNode(2, target, 1, 1),), "in the commit of the answer"
    assert (run.known.status, run.known.path) == (Status.RUNNING, ["ask", target])
    (change,) = transition.questions
    closing = change.closing
    assert (closing.ending, closing.by, closing.at) == (QuestionEnding.ANSWERED, "ada", run.now)
    assert (run.known.questions, run.known.asked) == ({}, 1)
    assert run.data("question_answered") == {
        "question_id": "session_1:q1", "to": "ok", "by": "ada",
    }  # fmt: skip


def test_without_a_permit_the_answered_execution_queues(start: Any) -> None:
    run = asking(start)
    answer(run, 1, True, permit=False)
    assert (run.known.status, run.token.node, run.token.attempt) == (Status.QUEUED, "send", 0)
    run.tick(Dispatch())
    run.succeed()
    assert (run.known.status, run.known.path) == (Status.COMPLETED, ["ask", "send"])


def test_the_first_answer_counts_and_the_others_are_stale(start: Any) -> None:
    run = asking(start)
    answer(run, 1, True)
    assert answer(run, 1, False) is None
    assert answer(run, 2, False) is None, "never asked"
    assert run.value("ok") is True


def test_several_questions_are_all_waited_for(start: Any) -> None:
    run = start(["ask", "send"], ["ask>send"])
    ask(run, "a", "b", "c")
    for number in (3, 1):
        assert answer(run, number, number).commands == ()
        assert run.known.status is Status.WAITING
        assert run.last.patch.status is None
    assert list(run.known.questions) == [2]
    answer(run, 2, 2)
    assert (run.known.status, run.token.node) == (Status.RUNNING, "send")
    assert [run.value(key) for key in "abc"] == [1, 2, 3]


def test_numbers_go_on_over_nodes_and_visits(start: Any) -> None:
    node = NodeSpec(id="ask", max_node_visits=0)
    run = start([node], ["ask>ask"], max_steps=3)
    for number in (1, 3):
        ask(run, "a", "b")
        assert list(run.known.questions) == [number, number + 1]
        answer(run, number, 1)
        answer(run, number + 1, 2)
    assert run.known.asked == 4
    names = [record.number for one in run.transitions for record in one.questions if record.record]
    assert names == [1, 2, 3, 4]


def test_a_declared_output_that_is_asked_for_is_not_missing(start: Any) -> None:
    node = NodeSpec(id="ask", output_keys=["ok", "draft"], max_retries=1)
    run = start([node])
    ask(run, "ok", outputs={"draft": "x"})
    assert run.known.status is Status.WAITING
    lacking = start([node])
    ask(lacking, "ok")
    assert lacking.known.status is Status.FAILED
    assert "missing output key 'draft'" in lacking.known.error
    assert lacking.known.questions == {}, "a failed attempt asks nothing"


def test_a_terminal_node_ends_with_the_answer(start: Any) -> None:
    run = start(["ask"], terminal=["ask"])
    ask(run, "ok")
    answer(run, 1, "yes")
    assert (run.known.status, run.value("ok"), run.known.tokens) == (Status.COMPLETED, "yes", {})


def test_a_router_can_ask_and_routes_by_the_answer(start: Any) -> None:
    router = NodeSpec(
        id="gate", node_type="router", function="f", route_on="say",
        routes={"yes": "send", "default": "drop"},
    )  # fmt: skip
    run = start([router, "send", "drop"])
    ask(run, "say")
    answer(run, 1, "yes")
    assert run.token.node == "send"


@pytest.mark.parametrize("tick", [Cancel("enough"), Hold("odd")])
def test_an_end_closes_what_is_open_in_its_own_step_and_a_hold_does_not(
    start: Any, tick: Any
) -> None:
    run = start(["ask"])
    ask(run, "a", "b")
    answer(run, 2, 1)
    run.tick(tick)
    if isinstance(tick, Hold):
        assert list(run.known.questions) == [1]
        return
    (change,) = run.last.questions
    assert (change.number, change.closing.ending) == (1, QuestionEnding.CLOSED)
    assert run.data("question_closed") == {"question_id": "session_1:q1"}
    assert run.known.questions == {}
    assert answer(run, 1, 1) is None


@pytest.mark.parametrize("rest", [Pause("wait"), Hold("odd")])
def test_an_answer_that_comes_at_rest_is_kept_and_counts_at_the_resume(
    start: Any, rest: Any
) -> None:
    run = asking(start)
    run.tick(rest)
    status = run.known.status
    assert answer(run, 1, True).commands == ()
    assert (run.known.status, run.value("ok")) == (status, True)
    run.tick(Resume({}))
    assert (run.known.status, run.token.node) == (Status.QUEUED, "send")


def test_a_resume_goes_on_waiting_for_what_is_still_open(start: Any) -> None:
    run = asking(start)
    run.tick(Pause("wait"))
    assert run.result().paused_at == "ask"
    run.tick(Resume({}))
    assert (run.known.status, run.token.phase) == (Status.WAITING, Phase.ASKING)
    answer(run, 1, True)
    assert (run.known.status, run.token.node) == (Status.RUNNING, "send")


def test_a_pause_node_that_asks_pauses_once_and_may_be_answered_meanwhile(
    graph_of: Any, run_class: Any
) -> None:
    graph = msgspec.structs.replace(graph_of(["ask", "send"], ["ask>send"]), pause_nodes=["ask"])
    for early in (True, False):
        run = run_class(graph, {})
        ask(run, "ok")
        assert run.last.commands == (Finish(Status.PAUSED),)
        if early:
            answer(run, 1, True)
        run.tick(Resume({}))
        if not early:
            assert run.known.status is Status.WAITING
            answer(run, 1, True, permit=False)
        assert (run.known.status, run.token.node) == (Status.QUEUED, "send")


def test_an_answer_at_a_node_that_the_graph_has_no_more_is_kept_and_holds(
    start: Any, graph_of: Any, run_class: Any
) -> None:
    run = asking(start)
    run.plan = run_class(graph_of(["other"], []), {}).plan
    answer(run, 1, True)
    assert (run.known.status, run.value("ok")) == (Status.HELD, True)
    assert "'ask'" in run.known.error


def test_a_long_prompt_does_not_burst_the_event(start: Any) -> None:
    run = start(["ask"])
    prompt = "\N{GRINNING FACE}" * 10_000
    question = AskedQuestion(prompt=prompt, to="k" * 1_024, assignee="\N{GRINNING FACE}" * 128)
    run.tick(NodeSucceeded(run.token_id, 1, 1, {}, 1, questions=(question,)))
    assert len(run.events("client_input_requested")[0].data) <= 4_096
    assert run.last.questions[0].record.prompt == prompt


def test_who_asks_and_sleeps_waits_for_both(start: Any) -> None:
    """The answers first; then the rest of the sleep, if there is one."""
    for late in (False, True):
        run = start(["ask", "send"], ["ask>send"])
        ask(run, "ok", sleep_until=run.now + 60)
        assert run.tick(Due(permit=True)) is None
        run.now += 90 if late else 30
        assert run.tick(Due(permit=True)) is None, "unanswered, it sleeps on"
        answer(run, 1, True)
        if not late:
            assert (run.known.status, run.token.phase) == (Status.WAITING, Phase.SLEEPING)
            run.now += 30
            run.tick(Due(permit=True))
        assert (run.known.status, run.token.node) == (Status.RUNNING, "send")


def test_branches_that_ask_at_once_get_numbers_of_their_own(start: Any) -> None:
    """Each is told its number before its step closes, whatever the others ask meanwhile."""
    run = start(["ask"])
    token = run.token
    run.known.asked = 4
    run.known.tokens = {-7: token, -8: token, 9: token}
    questions = (AskedQuestion(prompt="?", to="a"), AskedQuestion(prompt="?", to="b"))
    numbers = {}
    for token_id in run.known.tokens:
        tick = NodeSucceeded(token_id, token.visit, token.attempt, {}, 1, questions=questions)
        transition = advance(run.plan, run.known, tick, 1.0)
        assert transition is not None
        numbers[token_id] = list(transition.patch.questions)
        assert numbers[token_id] == [number_of(4, token_id, nth) for nth in (1, 2)]
    assert numbers[9] == [5, 6]
    assert [question_id("e", one) for one in numbers[-7]] == ["e:q7.1", "e:q7.2"]
    apply(run.known, Patch(questions=dict.fromkeys(numbers[-8])), run.known.seq + 1)
    assert run.known.asked == 4, "the main line counts on"


@given(st.integers(0, 10_000), st.integers(-(2**23), 2**23), st.integers(1, 100))
def test_the_id_of_a_question_is_its_number(asked: int, token_id: int, nth: int) -> None:
    number = number_of(asked, token_id, nth)
    assert split_question_id(question_id("e:q1", number)) == ("e:q1", number)
    assert number < 2**32, "it is stored in four bytes"
