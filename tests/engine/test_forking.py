"""Forking: what a fork begins with, what it asks and does anew, and that its parent stays."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.protocol.beginnings import beginning
from greenroom.protocol.budget import Budget, OnBreach
from greenroom.protocol.codec import decode_state, encode
from greenroom.protocol.effects import EffectChange, EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.due import due_at, stored_due, timer_move
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import (
    Answer,
    Cancel,
    Due,
    Fork,
    Hold,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Progressed,
    Resume,
    Rewind,
)
from greenroom.protocol.execution import SETTLED, TERMINAL, ExecutionState, Phase, Status
from greenroom.protocol.forked import Forked
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.patch import apply
from greenroom.protocol.questions import AskedQuestion, QuestionRecord

ORIGIN = {"ordinal": 1, "execution_id": "session_1"}


def state_at(run: Any, seq: int) -> ExecutionState:
    """Fold the run's transitions up to that record anew."""
    state: ExecutionState | None = None
    for number, transition in enumerate(run.transitions[:seq], start=1):
        state = apply(state, transition.patch, number)
    assert state is not None
    return state


def asked_at(run: Any, target: ExecutionState) -> tuple[tuple[int, QuestionRecord], ...]:
    records = {
        one.number: one.record
        for transition in run.transitions
        for one in transition.questions
        if one.record is not None
    }
    open_ones = sorted(target.questions.items())
    return tuple((one.token, records[number]) for number, one in open_ones if one.to)


def fork(run: Any, seq: int, memory: dict[str, Any] | None = None, **more: Any) -> Any:
    """A run that begins where `run` stood after record `seq`."""
    target = state_at(run, seq)
    budget = more.pop("budget", None)
    accepted = msgspec.structs.replace(
        run.known.accepted, execution_id="fork", forked=Forked(**ORIGIN, seq=seq), **more
    )
    asked = asked_at(run, target)
    base = beginning(target, accepted)
    tick = Fork(base=base, memory=run.encoded(memory or {}), asked=asked, budget=budget)
    before = encode(base)
    transition = advance(run.plan, None, tick, run.now)
    assert transition is not None
    assert encode(base) == before
    child = object.__new__(type(run))
    child.graph, child.plan, child.now = run.graph, run.plan, run.now
    child.transitions = [transition]
    move = timer_move(base, transition.patch)
    child.state = apply(decode_state(before), transition.patch, 1)
    child.stored = decode_state(encode(child.state))
    child.timer = None if move is None else move.after
    assert move is None or move.before is None
    assert child.timer == stored_due(child.state)
    return child


def position(state: ExecutionState) -> tuple[Any, ...]:
    """What a fork has in common with where it was forked."""
    tokens = [(one.node, one.visit, one.attempt, one.ended) for one in state.tokens.values()]
    counts = (state.steps, state.retries, state.retry_details, state.latency_ms)
    return (encode(state.memory), state.visits, state.path, tokens, counts)


def test_a_fork_begins_as_its_parent_stood_and_goes_on_by_itself(done: Any) -> None:
    before = encode(done.known)
    for seq in range(1, len(done.transitions)):
        child = fork(done, seq, {"editor": "Ada"})
        state, target = child.known, state_at(done, seq)
        assert child.value("editor") == "Ada"
        without = {key: raw for key, raw in state.memory.items() if key != "editor"}
        assert without == target.memory
        assert position(state)[1:] == position(target)[1:]
        assert (state.seq, state.run, state.status) == (1, 1, Status.QUEUED)
        assert (state.started_at, state.ended_at, state.error) == (None, None, None)
        assert child.data("execution_forked") == {"session_id": "session_1", "seq": seq}
        assert all(one.execution == "fork" for one in child.events())
        child.dispatch()
        while child.known.status is Status.RUNNING:
            child.succeed({"again": seq})
        assert (child.known.status, child.known.path) == (Status.COMPLETED, ["a", "b", "c"])
    assert encode(done.known) == before


def test_the_record_of_a_fork_does_not_grow_with_the_memory(start: Any) -> None:
    sizes = []
    for size in (1, 100_000):
        run = start(["a", "b"], ["a>b"], {"text": "x" * size})
        run.succeed({f"key{number}": "y" * (size // 100) for number in range(100)})
        made = fork(run, 2, {"editor": "Ada"}).last
        sizes.append(len(encode(made.patch)) + sum(len(encode(one)) for one in made.events))
    assert sizes[0] == sizes[1] < 1_000


def test_nothing_can_be_forked_behind_the_end_or_at_a_node_that_is_gone(
    done: Any, graph_of: Any
) -> None:
    with pytest.raises(ValueError, match="nothing follows"):
        fork(done, len(done.transitions))
    done.plan = compile_plan(graph_of(["a", "c"], ["a>c"]))
    with pytest.raises(ValueError, match="'b' is not in graph"):
        fork(done, 2)


def test_a_fork_cannot_be_folded_without_its_beginning(done: Any) -> None:
    with pytest.raises(ValueError, match="begins a fork"):
        apply(None, fork(done, 2).last.patch, 1)


@pytest.mark.parametrize("end", [Cancel("enough"), Hold("odd"), Pause("later"), None])
def test_what_has_ended_or_runs_can_be_forked_where_it_stands(start: Any, end: Any) -> None:
    """The node at which it stood runs in the fork as if for the first time since."""
    failing = NodeSpec(id="b", max_retries=2, backoff_initial_s=0.0)
    run = start(["a", failing], ["a>b"])
    run.succeed()
    run.fail()
    if end is None:
        run.fail()
        assert run.known.status is Status.FAILED
    else:
        run.tick(end)
    child = fork(run, len(run.transitions))
    assert (child.known.status, child.token.node, child.token.failures) == ("queued", "b", 0)
    assert child.known.error is None
    child.dispatch()
    child.fail()
    assert child.known.status is Status.RUNNING, "two attempts once more"
    child.succeed()
    assert child.known.status is Status.COMPLETED


def test_a_fork_of_a_node_in_flight_knows_nothing_of_its_effects(start: Any) -> None:
    run = start(["a"])
    record = EffectRecord(EffectPolicy.STEP, EffectOutcome.DONE, b"d", run.encoded({"x": 1})["x"])
    change = EffectChange("pay/1", record)
    run.tick(Progressed(run.token_id, run.token.visit, run.token.attempt, (change,)))
    child = fork(run, 2)
    assert (child.known.effects, child.token.phase) == ({}, Phase.READY)
    child.dispatch()
    assert child.token.attempt == 2
    child.succeed()
    assert run.known.effects, "and its parent goes on with them"


def test_what_was_being_asked_is_asked_anew_and_its_answers_are_its_own(start: Any) -> None:
    run = start(["a", "b"], ["a>b"])
    token = run.token
    questions = (
        AskedQuestion(prompt="well?", to="ok", deadline=run.now + 50.0),
        AskedQuestion(prompt="who?", to="who"),
    )
    run.tick(
        NodeSucceeded(
            run.token_id, token.visit, token.attempt, run.encoded({"x": 1}), 1, questions=questions
        )
    )
    answer = run.encoded({"x": True})["x"]
    run.tick(Answer(number=1, value=answer, digest=b"d", by="ada", permit=True))
    run.now += 10.0
    child = fork(run, 2)
    opened = [(one.number, one.record.prompt, one.record.deadline) for one in child.last.questions]
    assert opened == [(1, "well?", run.now + 50.0), (2, "who?", None)]
    assert (child.known.status, child.token.phase) == (Status.WAITING, Phase.ASKING)
    assert (child.known.asked, "ok" in child.known.memory) == (2, False)
    half = fork(run, 3)
    assert [one.record.prompt for one in half.last.questions] == ["who?"]
    for number in (1, 2):
        assert child.known.status is Status.WAITING
        child.tick(Answer(number=number, value=answer, digest=b"d", by="ada", permit=True))
    assert (child.token.node, child.value("who")) == ("b", True)
    assert set(run.known.questions) == {2}


@pytest.mark.parametrize(("later", "status"), [(0.0, Status.WAITING), (99.0, Status.QUEUED)])
def test_a_sleep_goes_on_in_the_fork_or_is_over(start: Any, later: float, status: str) -> None:
    run = start(["a", "b"], ["a>b"])
    token, until = run.token, run.now + 50.0
    run.tick(
        NodeSucceeded(
            run.token_id, token.visit, token.attempt, run.encoded({"x": 1}), 1, sleep_until=until
        )
    )
    run.now += later
    child = fork(run, 2)
    assert child.known.status is status
    if status is Status.WAITING:
        child.come_due(permit=True)
    else:
        child.dispatch()
    assert (child.token.node, child.known.path) == ("b", ["a", "b"])


def test_times_and_budgets_are_those_of_the_fork(run_class: Any, graph_of: Any) -> None:
    """A timeout counts from 0, a deadline is its own, and what was used of a budget stays used."""
    graph = graph_of(["a", "b", "c"], ["a>b", "b>c"])
    limit = Budget(steps=2, on_breach=OnBreach.PAUSE)
    run = run_class(graph, {}, timeout_s=10.0, deadline=2_000.0, budget=limit)
    run.now += 9.0
    run.succeed()
    child = fork(run, 2, timeout_s=5.0, deadline=None)
    assert (child.known.active_s, due_at(child.known)) == (0.0, None)
    child.dispatch()
    assert due_at(child.known) == child.now + 5.0
    child.succeed()
    assert child.known.status is Status.PAUSED, "two node runs, one of them the parent's"
    more = fork(run, 2, deadline=None, budget=Budget(steps=3))
    more.dispatch()
    more.succeed()
    assert more.known.status is Status.RUNNING
    late = fork(run, 2, deadline=run.now - 1)
    assert late.known.status is Status.TIMED_OUT
    assert fork(run, 2, timeout_s=0.0).known.status is Status.TIMED_OUT


LOOP = [
    NodeSpec(id="a", max_node_visits=0, max_retries=2, backoff_initial_s=0.0),
    NodeSpec(id="r", node_type="router", routes={"1": "b", "default": "a"}, route_on="n",
             max_node_visits=0),
    NodeSpec(id="b", max_node_visits=0, max_retries=1, nullable_output_keys=["m"]),
]  # fmt: skip
WAYS = [("a", "r"), ("b", "a")]


def act(run: Any, number: int) -> None:
    """One thing that may happen to a run, said by a number."""
    kind, detail = number % 10, number // 10
    state = run.known
    if state.status in SETTLED:
        target = state_at(run, detail % len(run.transitions) + 1) if kind else None
        run.tick(Resume() if target is None else Rewind(target, {}, _records(run, target)))
    elif state.questions:
        answer = run.encoded({"x": detail})["x"]
        for number in list(state.questions)[:1]:
            run.tick(Answer(number=number, value=answer, digest=b"d", by=None, permit=True))
    elif state.status is Status.WAITING:
        run.come_due(permit=bool(detail % 2))
    elif run.token.phase is Phase.READY:
        run.dispatch()
    elif kind == 0:
        run.tick(Pause("wait") if detail % 2 else Cancel("enough"))
    elif kind == 1:
        token = run.token
        run.tick(NodeErrored(run.token_id, token.visit, token.attempt, "broken", ("E",), 1))
    else:
        token = run.token
        outputs = run.encoded({"n": detail % 3} if detail % 2 else {"m": detail % 3})
        own = (run.token_id, token.visit, token.attempt)
        asked = (AskedQuestion(prompt="well?", to="n"),) if kind == 2 else ()
        until = run.now + 5 if kind == 3 else None
        run.tick(NodeSucceeded(*own, outputs, 1, sleep_until=until, questions=asked))


def _records(run: Any, target: ExecutionState) -> dict[int, QuestionRecord]:
    asked = iter(asked_at(run, target))
    return {number: next(asked)[1] for number, one in sorted(target.questions.items()) if one.to}


@settings(max_examples=100, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 10_000), min_size=3, max_size=25),
    after=st.lists(st.integers(0, 10_000), min_size=1, max_size=8),
)
def test_a_fork_at_any_record_of_a_random_history_is_what_its_parent_was(
    run_class: Any, numbers: list[int], after: list[int]
) -> None:
    """With what was given over it; then it goes on for a while, is taken back too, and ends."""
    edges = [EdgeSpec(id=source + target, source=source, target=target) for source, target in WAYS]
    graph = GraphSpec(id="graph", entry_node="a", nodes=LOOP, edges=edges, max_steps=30)
    run = run_class(graph, {"n": 0})
    for number in numbers:
        act(run, number)
    whole = encode(run.known)
    for seq in range(1, len(run.transitions) + 1):
        target = state_at(run, seq)
        if not target.tokens:
            continue
        child = fork(run, seq, {"given": seq})
        if child.known.status not in TERMINAL and not child.last.patch.path:
            expected = target.memory | run.encoded({"given": seq})
            assert child.known.memory == expected
            here = [(one.node, one.ended is None) for one in child.known.tokens.values()]
            if not any(one.ended for one in target.tokens.values()):
                assert here == [(one.node, True) for one in target.tokens.values()]
            assert child.known.path == target.path
            assert child.known.visits == target.visits
        beginning_of_fork = decode_state(encode(child.known))
        for number in after:
            if child.known.status not in SETTLED:
                act(child, number)
        _run_to_the_end(child)
        assert child.known.status in SETTLED
        assert child.known.steps >= beginning_of_fork.steps
    assert encode(run.known) == whole


def _run_to_the_end(run: Any) -> None:
    for _ in range(200):
        state = run.known
        if state.status in SETTLED:
            return
        if state.questions:
            number, answer = next(iter(state.questions)), run.encoded({"x": 1})["x"]
            run.tick(Answer(number=number, value=answer, digest=b"d", by=None, permit=True))
        elif state.status is Status.WAITING:
            run.now = max(run.now, due_at(state))
            assert run.tick(Due(permit=True)) is not None
        elif run.token.phase is Phase.READY:
            run.dispatch()
        else:
            run.succeed({"n": 1})
