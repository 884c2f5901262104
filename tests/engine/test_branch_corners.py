"""Where features meet in branches: budgets, crashes, ways back, forks and new input."""

import msgspec
import pytest

from greenroom.protocol.beginnings import beginning
from greenroom.protocol.branches import copy_of, memory_of
from greenroom.protocol.budget import Budget
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.ticks import (
    Dispatch,
    Due,
    Fork,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Recover,
    Resume,
    Rewind,
)
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.forked import Forked
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import EVENT_DATA_BYTES_MAX
from greenroom.protocol.patch import apply
from greenroom.protocol.questions import AskedQuestion, number_of


def ways(*short: str) -> list[EdgeSpec]:
    """Edges that are taken after a success, from "a>b"."""
    pairs = [one.split(">") for one in short]
    return [
        EdgeSpec(id=f"{source}-{target}", source=source, target=target, condition="on_success")
        for source, target in pairs
    ]


DIAMOND = ways("a>b", "a>c", "b>d", "c>d")
RETRIED = NodeSpec(id="b", max_retries=5, backoff_initial_s=2.0)
QUESTIONS = tuple(AskedQuestion(prompt="?", to=key) for key in ("x", "y"))


def at(run, node: str):
    """The token at a node, with its id."""
    (found,) = [item for item in run.known.tokens.items() if item[1].node == node]
    return found


def end(run, node: str, outputs: dict[str, object] | None = None, **more):
    """Let a node that runs return."""
    token_id, token = at(run, node)
    encoded = run.encoded(outputs or {})
    return run.tick(NodeSucceeded(token_id, token.visit, token.attempt, encoded, 5, **more))


def fail(run, node: str, error: str = "broken", *, retryable: bool = False):
    """Let a node that runs raise."""
    token_id, token = at(run, node)
    own = (token_id, token.visit, token.attempt)
    return run.tick(NodeErrored(*own, error, ("E",), 5, retryable=retryable))


def position(run):
    """A state as the store would give it for this position."""
    state = run.known
    return msgspec.structs.replace(
        state,
        tokens=state.tokens.copy(),
        memory=state.memory.copy(),
        visits=state.visits.copy(),
        path=state.path.copy(),
        questions=state.questions.copy(),
        branching=state.branching and copy_of(state.branching),
    )


def test_a_retry_that_comes_due_asks_the_budget_that_siblings_used_meanwhile(start):
    """A backoff is no run under way: what it had left when it began may be gone."""
    run = start(["a", RETRIED, "c", "e", "d"], ways("a>b", "a>c", "b>d", "c>e", "e>d"),
                budget=Budget(steps=4))  # fmt: skip
    end(run, "a")
    fail(run, "b", retryable=True)
    end(run, "c")
    assert at(run, "e")[1].phase is Phase.RUNNING, "three of four are used"
    run.come_due(permit=True)
    assert run.known.status is Status.EXHAUSTED
    assert run.known.node_runs == 3


def test_a_backoff_beside_one_that_queues_takes_no_time_of_its_branch(start):
    nodes = ["a", NodeSpec(id="b", backoff_initial_s=0.5), "c", "d"]
    run = start(nodes, DIAMOND, parallel={"branch_timeout_seconds": 10})
    end(run, "a")
    fail(run, "b", retryable=True)
    run.tick(Recover(process_death=True, permit=False))
    assert run.known.status is Status.QUEUED
    run.now += 1_000
    run.tick(Due(permit=True))
    run.tick(Dispatch())
    assert run.tick(Due(permit=True)) is None
    assert run.events("branch_failed") == []


def test_a_fork_of_branches_that_never_started_starts_once(start):
    run = start(["a", "b", "c", "d"], DIAMOND)
    end(run, "a")
    target = position(run)
    forked = Forked(execution_id="session_1", ordinal=1, seq=target.seq)
    accepted = msgspec.structs.replace(target.accepted, execution_id="s2", forked=forked)
    base = beginning(target, accepted)
    made = advance(run.plan, None, Fork(base=base), run.now)
    state = apply(base, made.patch, 1)
    assert len(state.tokens) == 2
    begun = advance(run.plan, state, Dispatch(), run.now)
    assert [one.type for one in begun.events].count("execution_started") == 1


def test_branches_that_were_taken_back_keep_the_ids_that_they_tell(start):
    run = start(["a", "b", "c", "d"], DIAMOND)
    end(run, "a")
    target = position(run)
    run.tick(Pause())
    run.tick(Rewind(target))
    run.tick(Dispatch())
    b, c = at(run, "b")[0], at(run, "c")[0]
    told = [number_of(run.known.asked, one, 1) for one in (b, c)]
    end(run, "b", questions=QUESTIONS[:1])
    end(run, "c", questions=QUESTIONS[1:])
    assert list(run.known.questions) == told


@pytest.mark.parametrize("key", ["n", "new"])
def test_new_input_of_a_resume_is_seen_inside_a_graph(start, key):
    inner = GraphSpec(id="i", entry_node="x", nodes=[NodeSpec(id="x"), NodeSpec(id="y")],
                      edges=ways("x>y"), pause_nodes=["x"])  # fmt: skip
    sub = NodeSpec(id="s", node_type="subgraph", graph=inner)
    run = start(["a", sub, "z"], ways("a>s", "s>z"), {"n": 1})
    end(run, "a")
    end(run, "s.x", {"n": 2})
    assert run.known.status is Status.PAUSED
    run.tick(Resume(run.encoded({key: 3})))
    run.tick(Dispatch())
    _, token = at(run, "s.y")
    seen = memory_of(run.known.memory, run.known.branching, token.branch)
    assert bytes(seen[key]) == b"\x03"


def test_new_input_of_a_resume_goes_over_what_a_branch_wrote(start):
    run = start(["a", "b", "b2", "c", "d"], ways("a>b", "b>b2", "b2>d", "a>c", "c>d"))
    end(run, "a")
    end(run, "b", {"n": 2})
    run.tick(Pause())
    run.tick(Resume(run.encoded({"n": 3})))
    _, token = at(run, "b2")
    seen = memory_of(run.known.memory, run.known.branching, token.branch)
    assert bytes(seen["n"]) == b"\x03"


def test_what_events_tell_of_deep_graphs_is_small(start):
    long = "n" * 120
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[NodeSpec(id="a"), *(NodeSpec(id=f"{long}{i}") for i in range(30))],
        edges=ways(*(f"a>{long}{i}" for i in range(30))),
    )
    for depth in range(6):
        graph = GraphSpec(id="g", entry_node=f"{long}{depth}",
                          nodes=[NodeSpec(id=f"{long}{depth}", node_type="subgraph", graph=graph)],
                          edges=[])  # fmt: skip
    run = start(graph.nodes, [])
    token_id, token = next(iter(run.known.tokens.items()))
    run.tick(NodeSucceeded(token_id, token.visit, token.attempt, {}, 5))
    assert len(run.known.tokens) == 30
    assert all(len(one.data or b"") <= EVENT_DATA_BYTES_MAX for one in run.events())


def test_what_a_graph_did_not_return_is_told_in_a_small_event(start):
    inner = GraphSpec(id="i", entry_node="x", nodes=[NodeSpec(id="x")], edges=[])
    keys = [f"{'k' * 200}{n}" for n in range(50)]
    sub = NodeSpec(id="s", node_type="subgraph", graph=inner, output_keys=keys)
    run = start([sub], [])
    end(run, "s.x")
    assert run.known.status is Status.FAILED
    assert all(len(one.data or b"") <= EVENT_DATA_BYTES_MAX for one in run.events())


def test_a_way_back_keeps_what_had_failed_there(start):
    run = start(["a", NodeSpec(id="b", max_retries=1), "c", "d"], DIAMOND,
                parallel={"on_branch_failure": "wait_all"})  # fmt: skip
    end(run, "a")
    fail(run, "b")
    target = position(run)
    run.tick(Pause())
    run.tick(Rewind(target))
    run.tick(Dispatch())
    end(run, "c")
    assert run.known.status is Status.FAILED
    run.tick(Resume())
    run.tick(Dispatch())
    end(run, "b")
    end(run, "d")
    assert run.known.status is Status.COMPLETED
