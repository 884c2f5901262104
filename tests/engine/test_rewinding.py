"""Going back to an earlier position: what becomes what it was, what stays used up, and who may."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.protocol.codec import encode
from greenroom.protocol.effects import EffectChange, EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import (
    Answer,
    Cancel,
    Dispatch,
    Due,
    Hold,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Progressed,
    Resume,
    Rewind,
)
from greenroom.protocol.execution import SETTLED, ExecutionState, Phase, Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.patch import apply
from greenroom.protocol.questions import AskedQuestion

RETRIED = NodeSpec(id="b", output_keys=[], max_retries=2, backoff_initial_s=0.0)


def state_at(run: Any, seq: int) -> ExecutionState:
    """Fold the run's transitions up to that record anew."""
    state: ExecutionState | None = None
    for number, transition in enumerate(run.transitions[:seq], start=1):
        state = apply(state, transition.patch, number)
    assert state is not None
    return state


def position(state: ExecutionState) -> tuple[Any, ...]:
    """What a way back brings back."""
    tokens = [(one.node, one.visit, one.attempt, one.ended) for one in state.tokens.values()]
    return (encode(state.memory), state.visits, state.path, tokens)


def test_every_position_can_be_gone_back_to_and_on_from(done: Any) -> None:
    """Memory, visits, path and place are what they were; what was used up stays used up."""
    for seq in range(1, len(done.transitions)):
        target = state_at(done, seq)
        used = (done.known.steps, done.known.retries, done.known.latency_ms)
        run, rewinds = done.known.run, done.known.rewinds
        assert done.tick(Rewind(target, done.encoded({"editor": "Ada"}))) is not None
        state = done.known
        assert done.value("editor") == "Ada"
        without = {key: raw for key, raw in state.memory.items() if key != "editor"}
        assert without == target.memory
        assert position(state)[1:] == position(target)[1:]
        assert (state.steps, state.retries, state.latency_ms) == used
        assert (state.run, state.rewinds) == (run + 1, rewinds + 1)
        assert (state.status, state.error, state.ended_at) == (Status.QUEUED, None, None)
        assert done.data("execution_resumed")["from_seq"] == seq
        done.tick(Dispatch())
        while done.known.status is Status.RUNNING:
            done.succeed({"again": seq})
        assert done.known.status is Status.COMPLETED
        assert done.known.path == ["a", "b", "c"]


def test_a_way_back_is_a_patch_of_what_differs(done: Any) -> None:
    """Not of the whole memory: a value that is the same is not written again."""
    done.tick(Rewind(state_at(done, 2)))
    patch = done.last.patch
    assert (set(patch.memory), set(patch.forget)) == ({"text"}, {"extra", "sent"})
    assert patch.rewound is not None
    assert (patch.rewound.kept, patch.rewound.path, patch.rewound.unvisited) == (2, (), ("c",))
    assert patch.visits == {}


def test_one_may_go_back_and_forth_again(start: Any) -> None:
    """The path of a position that was left behind does not begin like that of the present one."""
    edges = [
        EdgeSpec(id="left", source="a", target="b", condition="conditional", condition_expr="left"),
        EdgeSpec(
            id="right", source="a", target="c", condition="conditional", condition_expr="not left"
        ),
    ]
    run = start(["a", "b", "c"], edges, {"left": True}, terminal=["b", "c"])
    run.succeed()
    at_b = state_at(run, 2)
    run.succeed({"b": 1})
    run.tick(Rewind(state_at(run, 1), run.encoded({"left": False})))
    run.tick(Dispatch())
    run.succeed()
    run.succeed({"c": 1})
    assert (run.known.path, run.known.status) == (["a", "c"], Status.COMPLETED)
    run.tick(Rewind(at_b))
    assert position(run.known) == position(at_b)
    assert run.last.patch.rewound is not None
    assert (run.last.patch.rewound.kept, run.last.patch.rewound.path) == (1, ("b",))
    assert run.value("left") is True


ENDS = {
    Status.PAUSED: lambda run: run.tick(Pause("later")),
    Status.HELD: lambda run: run.tick(Hold("odd")),
    Status.CANCELLED: lambda run: run.tick(Cancel("enough")),
    Status.FAILED: lambda run: (run.fail(), run.fail()),
    Status.COMPLETED: lambda run: (run.succeed(), run.succeed()),
}


@pytest.mark.parametrize("status", ENDS)
def test_whatever_is_settled_can_be_taken_back(start: Any, status: Status) -> None:
    on = EdgeSpec(id="on", source="b", target="c", condition="on_success")
    run = start(["a", RETRIED, "c"], ["a>b", on], terminal=["c"])
    run.succeed({"text": 1})
    ENDS[status](run)
    assert run.known.status is status
    assert run.tick(Rewind(state_at(run, 1))) is not None
    assert run.data("execution_resumed")["was"] == status.value
    assert (run.known.status, run.token.node) == (Status.QUEUED, "a")
    run.tick(Dispatch())
    run.succeed()
    assert run.token.node == "b"


def test_what_goes_on_by_itself_is_not_taken_back(start: Any) -> None:
    """Queued, running, waiting."""
    run = start([NodeSpec(id="a", backoff_initial_s=9.0, max_retries=9)], permit=False)
    target = state_at(run, 1)
    assert run.tick(Rewind(target)) is None
    run.tick(Dispatch())
    assert run.tick(Rewind(target)) is None
    run.fail()
    assert run.known.status is Status.WAITING
    assert run.tick(Rewind(target)) is None


def test_nothing_follows_the_end_and_a_node_that_is_gone(done: Any, graph_of: Any) -> None:
    assert done.tick(Rewind(state_at(done, len(done.transitions)))) is None
    other = compile_plan(graph_of(["a", "c"], ["a>c"]))
    assert advance(other, done.known, Rewind(state_at(done, 2)), done.now) is None
    assert advance(other, done.known, Rewind(state_at(done, 1)), done.now) is not None


def test_the_late_end_of_an_earlier_run_is_stale(start: Any) -> None:
    """Of the same node, visit and attempt: the token is another one."""
    run = start(["a", "b"], ["a>b"])
    late = NodeSucceeded(run.token_id, run.token.visit, 2, run.encoded({"x": 1}), 1)
    run.tick(Pause("later"))
    target = state_at(run, 1)
    seen = {run.token_id}
    for _ in range(3):
        run.tick(Rewind(target))
        assert run.token_id not in seen
        seen.add(run.token_id)
        run.tick(Dispatch())
        assert run.token.attempt == 2
        assert run.tick(late) is None
        run.tick(Pause("again"))


def test_attempts_begin_anew_and_effects_are_forgotten(start: Any) -> None:
    """Whoever goes back wants the work done again; what was on record stood for earlier work."""
    run = start([NodeSpec(id="a", max_retries=2, backoff_initial_s=0.0)])
    run.fail()
    record = EffectRecord(EffectPolicy.STEP, EffectOutcome.DONE, b"d", run.encoded({"x": 1})["x"])
    change = EffectChange("pay/1", record)
    run.tick(Progressed(run.token_id, run.token.visit, run.token.attempt, (change,)))
    target = state_at(run, 3)
    assert target.effects
    run.fail()
    assert run.known.status is Status.FAILED
    run.tick(Rewind(target))
    assert run.known.effects == {}
    assert (run.token.failures, run.token.attempt) == (0, 2)
    run.tick(Dispatch())
    run.fail()
    assert run.known.status is Status.RUNNING, "two attempts once more"
    assert run.known.retry_details == {"a": 3}


def test_a_timeout_counts_anew_and_a_deadline_stays(run_class: Any, graph_of: Any) -> None:
    """Otherwise what had timed out could never be taken back."""
    run = run_class(graph_of(["a", "b"], ["a>b"]), {}, timeout_s=10.0, deadline=2_000.0)
    run.now += 6.0
    run.succeed()
    run.now += 6.0
    run.tick(Due(permit=False))
    assert run.known.status is Status.TIMED_OUT
    run.tick(Rewind(state_at(run, 2)))
    assert (run.known.status, run.known.active_s) == (Status.QUEUED, 0.0)
    run.tick(Dispatch())
    run.now += 9.0
    run.succeed()
    assert run.known.status is Status.COMPLETED
    run.now = 2_001.0
    run.tick(Rewind(state_at(run, 2)))
    run.tick(Due(permit=False))
    assert run.known.status is Status.TIMED_OUT


def test_a_sleep_that_was_under_way_goes_on_or_is_over(start: Any) -> None:
    for later, status in ((0.0, Status.WAITING), (99.0, Status.QUEUED)):
        run = start(["a", "b"], ["a>b"])
        token = run.token
        until = run.now + 50.0
        run.tick(
            NodeSucceeded(
                run.token_id, token.visit, token.attempt, run.encoded({"x": 1}), 1,
                sleep_until=until,
            )
        )  # fmt: skip
        target = state_at(run, 2)
        run.tick(Cancel("enough"))
        run.now += later
        run.tick(Rewind(target))
        assert run.known.status is status
        if status is Status.WAITING:
            run.now = until
            run.tick(Due(permit=True))
        else:
            run.tick(Dispatch())
        assert (run.token.node, run.known.path) == ("b", ["a", "b"])


def test_what_was_being_asked_is_asked_anew_and_what_is_open_is_closed(start: Any) -> None:
    """An answer that was given belongs to a time after it, and is forgotten with it."""
    run = start(["a", "b"], ["a>b"])
    token = run.token
    questions = (AskedQuestion(prompt="well?", to="ok"), AskedQuestion(prompt="who?", to="who"))
    run.tick(
        NodeSucceeded(
            run.token_id, token.visit, token.attempt, run.encoded({"x": 1}), 1, questions=questions
        )
    )
    target = state_at(run, 2)
    records = {one.number: one.record for one in run.last.questions}
    answer = run.encoded({"x": True})["x"]
    run.tick(Answer(number=1, value=answer, digest=b"d", by="ada", permit=True))
    run.tick(Pause("later"))
    assert run.value("ok") is True
    transition = run.tick(Rewind(target, {}, records))
    assert [(one.number, one.record is None) for one in transition.questions] == [
        (2, True),
        (3, False),
        (4, False),
    ]
    assert [one.record.prompt for one in transition.questions[1:]] == ["well?", "who?"]
    assert (run.known.status, run.token.phase) == (Status.WAITING, Phase.ASKING)
    assert "ok" not in run.known.memory
    for number in (3, 4):
        assert run.known.status is Status.WAITING
        run.tick(Answer(number=number, value=answer, digest=b"d", by="ada", permit=True))
    assert (run.token.node, run.value("who")) == ("b", True)


LOOP = [
    NodeSpec(id="a", max_node_visits=0, max_retries=2, backoff_initial_s=0.0),
    NodeSpec(id="r", node_type="router", routes={"1": "b", "default": "a"}, route_on="n",
             max_node_visits=0),
    NodeSpec(id="b", max_node_visits=0, max_retries=1, nullable_output_keys=["m"]),
]  # fmt: skip


WAYS = [("a", "r"), ("b", "a")]


@settings(max_examples=150)
@given(numbers=st.lists(st.integers(0, 10_000), min_size=5, max_size=40))
def test_a_random_history_with_ways_back_keeps_every_promise(
    run_class: Any, numbers: list[int]
) -> None:
    """Folds agree at every step; a position is what it was; ids of tokens are never used twice."""
    edges = [EdgeSpec(id=source + target, source=source, target=target) for source, target in WAYS]
    graph = GraphSpec(id="graph", entry_node="a", nodes=LOOP, edges=edges, max_steps=30)
    run = run_class(graph, {"n": 0})
    owners: dict[int, tuple[str, int]] = {}
    for number in numbers:
        kind, detail = number % 8, number // 8
        state = run.known
        if state.status in SETTLED:
            target = state_at(run, detail % len(run.transitions) + 1)
            made = run.tick(Resume() if kind == 0 else Rewind(target))
            if made is not None and made.cause.tick == "rewind":
                assert position(run.known) == position(target) or run.known.status in SETTLED
        elif run.token.phase is Phase.READY:
            run.tick(Dispatch())
        elif kind == 0:
            run.tick(Pause("wait") if detail % 2 else Cancel("enough"))
        elif kind == 1:
            token = run.token
            run.tick(NodeErrored(run.token_id, token.visit, token.attempt, "broken", ("E",), 1))
        else:
            run.succeed({"n": detail % 3} if detail % 2 else {"m": detail % 3})
        for token_id, token in run.known.tokens.items():
            if token.attempt:
                era = (token.node, run.known.rewinds)
                assert owners.setdefault(token_id, era) == era
        assert run.known.steps >= sum(run.known.visits.values())
