"""Branches: what runs side by side, where it joins, and what the failure of one means."""

import msgspec
import pytest

from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.ticks import (
    Answer,
    Cancel,
    Dispatch,
    Due,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Recover,
    Resume,
)
from greenroom.protocol.engine.transition import RunNode, StopNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.questions import AskedQuestion, QuestionRecord


def ways(*short: str) -> list[EdgeSpec]:
    """Edges that are taken after a success, from "a>b"."""
    pairs = [one.split(">") for one in short]
    return [
        EdgeSpec(id=f"{source}-{target}", source=source, target=target, condition="on_success")
        for source, target in pairs
    ]


DIAMOND = ways("a>b", "a>c", "b>d", "c>d")
NODES = ["a", "b", "c", "d"]


def at(run, node: str) -> tuple[int, object]:
    """The token at a node, with its id."""
    (found,) = [item for item in run.known.tokens.items() if item[1].node == node]
    return found


def end(run, node: str, outputs: dict[str, object] | None = None, **more):
    """Let a node that runs return."""
    token_id, token = at(run, node)
    tick = NodeSucceeded(
        token_id, token.visit, token.attempt, run.encoded(outputs or {}), 5, **more
    )
    return run.tick(tick)


def fail(run, node: str, error: str = "broken"):
    """Let a node that runs raise, for good."""
    token_id, token = at(run, node)
    tick = NodeErrored(token_id, token.visit, token.attempt, error, ("E",), 5, retryable=False)
    return run.tick(tick)


@pytest.fixture
def branched(start):
    """An execution with b and c side by side, which join at d."""

    def begin(policy: str = "fail_all", nodes=NODES, edges=DIAMOND, **settings):
        run = start(nodes, edges, {"n": 1}, parallel={"on_branch_failure": policy, **settings})
        end(run, "a")
        return run

    return begin


def nodes_of(run) -> list[str]:
    return [token.node for token in run.known.tokens.values()]


def test_all_edges_that_may_be_taken_are_and_their_nodes_run_at_once(branched):
    """In one step, with one permit."""
    run = branched()
    assert [one.node for one in run.last.commands if isinstance(one, RunNode)] == ["b", "c"]
    assert run.known.status is Status.RUNNING
    assert run.data("parallel_started") == {
        "visit": 1,
        "count": 2,
        "branches": ["b", "c"],
        "join": "d",
    }


@pytest.mark.parametrize("order", ["bc", "cb"])
def test_the_join_runs_once_when_every_branch_has_come(branched, order):
    """Whatever the order; until then nobody else sees what a branch wrote."""
    run = branched()
    first, second = order
    end(run, first, {"x": first, first: 1})
    assert nodes_of(run) == [second]
    assert "x" not in run.known.memory
    end(run, second, {"x": second, second: 2})
    assert nodes_of(run) == ["d"]
    assert run.value("x") == "c", "the last edge wins, not the last to come"
    assert (run.value("b"), run.value("c")) == (order.index("b") + 1, order.index("c") + 1)
    end(run, "d")
    assert run.known.status is Status.COMPLETED
    assert run.known.visits == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert not run.known.branching.fans
    assert not run.known.branching.overlays


def test_the_first_may_win(branched):
    run = branched(memory_conflict_strategy="first_wins")
    end(run, "c", {"x": "c"})
    end(run, "b", {"x": "b"})
    assert run.value("x") == "b"


def test_different_values_of_one_key_may_be_an_error_and_equal_ones_never_are(branched):
    run = branched(memory_conflict_strategy="error")
    end(run, "b", {"x": 1, "y": 1})
    end(run, "c", {"x": 1, "y": 2})
    assert run.known.status is Status.FAILED
    assert "'y'" in run.known.error
    assert "'x'" not in run.known.error
    assert run.tick(Resume({})) is None, "nothing is left that could run"


def test_branches_are_many_nodes_deep_and_nested(start):
    """The inner ones join before the outer ones; each join runs once."""
    edges = ways("a>b", "a>c", "b>b1", "b>b2", "b1>bj", "b2>bx", "bx>bj", "bj>d", "c>c1", "c1>d")
    nodes = ["a", "b", "c", "b1", "b2", "bx", "bj", "c1", "d"]
    run = start(nodes, edges)
    for node in ("a", "c", "b", "b2", "c1", "b1", "bx", "bj", "d"):
        end(run, node, {node: 1})
    assert run.known.status is Status.COMPLETED
    assert set(run.known.visits.values()) == {1}
    assert set(run.known.memory) == set(nodes)


def test_a_branch_that_ends_early_has_arrived(start):
    """A terminal node in a branch ends the branch."""
    run = start(["a", "b", "c", "d", "e"], ways("a>b", "a>c", "a>e", "b>d", "c>d"), terminal=["e"])
    end(run, "a")
    end(run, "e", {"e": 1})
    end(run, "b")
    end(run, "c")
    assert nodes_of(run) == ["d"]
    assert run.value("e") == 1


def test_without_a_join_the_execution_is_complete_when_every_branch_is(start):
    run = start(["a", "b", "c"], ways("a>b", "a>c"))
    for node in "abc":
        assert run.known.status is Status.RUNNING
        end(run, node, {node: 1})
    assert run.known.status is Status.COMPLETED
    assert set(run.known.memory) == {"a", "b", "c"}


def test_under_fail_all_the_siblings_are_stopped_and_a_resume_finishes_what_was_not(start):
    """What had arrived is not run again, and what it wrote is not lost."""
    nodes = ["a", NodeSpec(id="b", max_retries=1), "c", "e", "d"]
    run = start(nodes, ways("a>b", "a>c", "a>e", "b>d", "c>d", "e>d"))
    end(run, "a")
    end(run, "e", {"e": 1})
    slow, _ = at(run, "c")
    transition = fail(run, "b", "no luck")
    assert StopNode(slow) in transition.commands
    assert run.known.status is Status.FAILED
    assert "no luck" in run.known.error
    assert run.data("branch_failed")["branch"] == 0
    assert "e" not in run.known.memory
    run.tick(Resume({}))
    assert run.known.status is Status.QUEUED
    run.tick(Dispatch())
    again = [(token.node, token.visit, token.attempt) for token in run.known.tokens.values()]
    assert sorted(again) == [("b", 1, 2), ("c", 1, 2)]
    end(run, "c")
    end(run, "b")
    assert nodes_of(run) == ["d"]
    assert run.value("e") == 1


def test_under_continue_others_the_rest_is_joined(branched):
    run = branched("continue_others")
    fail(run, "b")
    assert [token.phase for token in run.known.tokens.values()] == [Phase.FAILED, Phase.RUNNING]
    end(run, "c", {"c": 1})
    assert nodes_of(run) == ["d"]
    assert run.data("parallel_joined")["failed"] == [0]
    end(run, "d")
    assert run.known.status is Status.COMPLETED
    assert run.result().had_partial_failures


@pytest.mark.parametrize("policy", ["continue_others", "wait_all"])
def test_when_every_branch_fails_the_fan_out_has_failed_with_all_the_reasons(branched, policy):
    run = branched(policy)
    fail(run, "b", "first")
    fail(run, "c", "second")
    assert run.known.status is Status.FAILED
    assert "first" in run.known.error
    assert "second" in run.known.error


def test_under_wait_all_the_siblings_end_first_and_a_resume_runs_the_failed_alone(branched):
    run = branched("wait_all")
    fail(run, "b", "no luck")
    assert run.known.status is Status.RUNNING
    end(run, "c", {"c": 1})
    assert run.known.status is Status.FAILED
    assert "no luck" in run.known.error
    run.tick(Resume({}))
    run.tick(Dispatch())
    assert nodes_of(run) == ["b"]
    end(run, "b", {"b": 1})
    assert (run.value("b"), run.value("c")) == (1, 1)


def test_the_late_end_of_a_stopped_sibling_is_stale(branched):
    run = branched()
    token_id, token = at(run, "c")
    fail(run, "b")
    late = NodeSucceeded(token_id, token.visit, token.attempt, {}, 1)
    assert advance(run.plan, run.known, late, run.now) is None


def test_the_failure_of_inner_branches_is_that_of_the_outer_one(start):
    """Which its own fan-out may survive."""
    nodes = ["a", "b", "c", NodeSpec(id="b1", max_retries=1), "b2", "bj", "d"]
    edges = ways("a>b", "a>c", "b>b1", "b>b2", "b1>bj", "b2>bj", "bj>d", "c>d")
    run = start(nodes, edges, parallel={"on_branch_failure": "continue_others"})
    end(run, "a")
    end(run, "b")
    fail(run, "b1")
    fail(run, "b2")
    assert run.known.status is Status.RUNNING
    end(run, "c", {"c": 1})
    assert nodes_of(run) == ["d"]
    assert "bj" not in run.known.visits


def test_a_branch_times_out_for_the_time_that_it_runs(branched):
    """A pause does not count."""
    run = branched("continue_others", branch_timeout_seconds=10)
    run.now += 6
    run.tick(Pause())
    run.now += 1_000
    run.tick(Resume({}))
    run.tick(Dispatch())
    end(run, "c")
    run.now += 3
    assert run.tick(Due(permit=True)) is None
    transition = run.come_due(permit=True)
    assert any(isinstance(one, StopNode) for one in transition.commands)
    assert "timed out after 10 s" in run.data("branch_failed")["error"]
    assert nodes_of(run) == ["d"]


def test_a_branch_that_may_not_run_at_all_never_begins(branched):
    run = branched(branch_timeout_seconds=0)
    assert run.known.status is Status.FAILED
    assert not [one for one in run.last.commands if isinstance(one, RunNode)]
    assert run.tick(Resume({})) is None, "nor does a resume let it"


QUESTION = AskedQuestion(prompt="Which?", to="way")


def test_a_branch_asks_while_others_run_and_its_answer_is_its_own(branched):
    run = branched()
    end(run, "b", questions=(QUESTION,))
    assert run.known.status is Status.RUNNING
    (number,) = run.known.questions
    raw = run.encoded({"way": "left"})["way"]
    run.tick(Answer(number=number, value=raw, digest=b"d", by=None, permit=True))
    assert nodes_of(run) == ["c"]
    assert "way" not in run.known.memory
    end(run, "c")
    assert run.value("way") == "left"


def test_the_execution_waits_when_every_branch_does_and_a_person_wakes_one(branched):
    run = branched()
    end(run, "b", questions=(QUESTION,))
    end(run, "c", sleep_until=run.now + 100)
    assert run.known.status is Status.WAITING
    assert run.data("execution_waiting") == {"until": run.now + 100}
    (number,) = run.known.questions
    raw = run.encoded({"way": "left"})["way"]
    run.tick(Answer(number=number, value=raw, digest=b"d", by=None, permit=False))
    assert run.known.status is Status.WAITING
    run.come_due(permit=False)
    assert (run.known.status, nodes_of(run)) == (Status.QUEUED, ["d"])


def test_what_a_failure_closed_is_asked_again_on_resume(branched):
    """A node that has asked never runs again, and its answer must not be missing."""
    run = branched(nodes=["a", "b", NodeSpec(id="c", max_retries=1), "d"])
    end(run, "b", questions=(QUESTION,))
    (first,) = run.known.questions
    fail(run, "c")
    assert run.known.status is Status.FAILED
    assert not run.known.questions
    assert run.tick(Resume({})) is None, "it cannot go on without them"
    record = QuestionRecord(
        execution_id="session_1",
        entry_point="api",
        node="b",
        visit=1,
        prompt="Which?",
        to="way",
        asked_at=1.0,
    )
    run.tick(Resume({}, None, {first: record}))
    run.tick(Dispatch())
    end(run, "c")
    assert run.known.status is Status.WAITING
    (second,) = run.known.questions
    assert second != first
    raw = run.encoded({"way": "left"})["way"]
    run.tick(Answer(number=second, value=raw, digest=b"d", by=None, permit=True))
    assert (nodes_of(run), run.value("way")) == (["d"], "left")
    assert all(not token.unanswered for token in run.known.tokens.values())


def test_a_pause_node_in_a_branch_pauses_when_nothing_else_runs(start):
    """A sibling is not cut off for it; on resume each goes on where it was."""
    run = start(NODES, DIAMOND, pause=["b"])
    end(run, "a")
    end(run, "b", {"b": 1})
    assert run.known.status is Status.RUNNING
    end(run, "c", {"c": 1})
    assert run.known.status is Status.PAUSED
    run.tick(Resume(run.encoded({"more": 2})))
    assert (run.known.status, nodes_of(run)) == (Status.QUEUED, ["d"])
    assert (run.value("b"), run.value("c"), run.value("more")) == (1, 1, 2)


def test_after_a_crash_what_was_in_flight_runs_again_and_nothing_else(branched):
    run = branched()
    end(run, "b")
    run.tick(Recover(process_death=True, permit=True))
    _, token = at(run, "c")
    assert (token.attempt, token.crashes) == (2, 1)
    assert nodes_of(run) == ["c"]


def test_a_cancel_stops_every_branch(branched):
    run = branched()
    transition = run.tick(Cancel("enough"))
    assert sum(isinstance(one, StopNode) for one in transition.commands) == 2
    assert run.known.status is Status.CANCELLED


def test_a_mapping_into_a_branch_is_its_own_and_no_conflict(start):
    """Two branches may be given different things under one name."""
    edges = [
        msgspec.structs.replace(one, input_mapping={"text": key})
        for one, key in zip(ways("a>b", "a>c"), ("left", "right"), strict=True)
    ]
    edges += ways("b>d", "c>d")
    run = start(NODES, edges, parallel={"memory_conflict_strategy": "error"})
    end(run, "a", {"left": 1, "right": 2})
    texts = [one.inputs for one in run.known.branching.branches.values()]
    assert [msgspec.msgpack.decode(one["text"]) for one in texts] == [1, 2]
    end(run, "b")
    end(run, "c")
    assert nodes_of(run) == ["d"]
    assert "text" not in run.known.memory


def test_what_a_branch_changed_is_all_that_its_step_records(branched):
    """Bytes do not grow with how many branches there are, or with what others wrote."""
    run = branched(nodes=["a", "b", "c", "d", "e"], edges=ways("a>b", "a>c", "b>e", "c>d", "e>d"))
    end(run, "c", {"big": "x" * 10_000})
    transition = end(run, "b", {"small": 1})
    assert len(msgspec.msgpack.encode(transition.patch)) < 500
