"""Where features meet in maps: bounds, migrations, and graphs within them."""

from greenroom.protocol.engine import fanning
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import Dispatch, Migrate, NodeErrored, NodeSucceeded, Resume
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec
from greenroom.protocol.patch import apply


def way(short: str, over: MapSpec | None = None) -> EdgeSpec:
    """An edge that is taken after a success, from "a>b"."""
    source, target = short.split(">")
    return EdgeSpec(id=short, source=source, target=target, condition="on_success", map=over)


def end_one(run, outputs: dict[str, object] | None = None) -> str:
    """Let the first node that runs return; return its name."""
    token_id, token = next(
        item for item in run.known.tokens.items() if item[1].phase is Phase.RUNNING
    )
    encoded = run.encoded(outputs or {})
    run.tick(NodeSucceeded(token_id, token.visit, token.attempt, encoded, 5))
    return token.node


def end_all(run, outputs: dict[str, object] | None = None) -> None:
    """Let all that runs return until nothing does."""
    while run.known.status is Status.RUNNING:
        end_one(run, outputs)


def test_a_map_that_was_one_branch_too_many_goes_on_when_it_is_resumed(start, monkeypatch):
    """Its elements had not begun, so nothing but itself could begin them."""
    monkeypatch.setattr(fanning, "TOKENS_MAX", 3)
    outer = MapSpec(over="list", until="z", concurrency=2)
    inner = MapSpec(over="list", until="j", concurrency=2, into="inner")
    run = start(["a", "b", "c", "j", "z"], [way("a>b", outer), way("b>c", inner), way("c>j"),
                way("j>z")])  # fmt: skip
    end_one(run, {"list": [1, 2]})
    end_one(run)
    end_one(run)
    assert run.known.status is Status.FAILED
    assert "more than 3 branches" in run.known.error
    for _ in range(9):
        if run.known.status is Status.FAILED:
            monkeypatch.setattr(fanning, "TOKENS_MAX", 30)
            run.tick(Resume())
            run.tick(Dispatch())
        end_all(run)
    assert run.known.status is Status.COMPLETED
    assert run.known.visits == {"a": 1, "b": 2, "c": 4, "j": 2, "z": 1}


def test_a_migration_takes_the_visits_of_each_element_along(start):
    """Else a limit of visits would begin anew under the new name."""
    nodes = [NodeSpec(id="a"), NodeSpec(id="b", max_node_visits=2), NodeSpec(id="z")]
    edges = [way("a>b", MapSpec(over="list", until="z")), way("b>z")]
    run = start(nodes, edges)
    end_one(run, {"list": [1]})
    graph = GraphSpec(
        id="graph",
        entry_node="a",
        nodes=[nodes[0], NodeSpec(id="new", max_node_visits=2), nodes[2]],
        edges=[way("a>new", MapSpec(over="list", until="z")), way("new>z")],
    )
    plan = compile_plan(graph)
    tick = Migrate(before=run.plan.digest, after=plan.digest, nodes={"b": "new"})
    made = advance(plan, run.known, tick, run.now)
    (counts,) = apply(run.known, made.patch, run.known.seq + 1).branching.visits.values()
    assert counts["new"] == 1


def test_a_thousand_elements_may_each_be_a_graph(start):
    """To pass so many nodes at once is no circle."""
    inner = GraphSpec(id="i", entry_node="x", nodes=[NodeSpec(id="x")], edges=[])
    sub = NodeSpec(id="s", node_type="subgraph", graph=inner, max_node_visits=0)
    edges = [way("a>s", MapSpec(over="list", concurrency=1_000)), way("s>z")]
    run = start(["a", sub, "z"], edges, max_steps=10_000)
    end_one(run, {"list": list(range(1_000))})
    assert run.known.status is Status.RUNNING, run.known.error
    assert len(run.known.tokens) == 1_000


def test_failed_elements_that_are_taken_up_again_run_no_more_at_a_time_than_may(start):
    """Each runs again in its own visit, the next one when one has come to its end."""
    nodes = [NodeSpec(id="a"), NodeSpec(id="b", max_retries=1), NodeSpec(id="z")]
    edges = [way("a>b", MapSpec(over="list", into="all", until="z", concurrency=2)), way("b>z")]
    run = start(nodes, edges, parallel={"on_branch_failure": "wait_all"})
    end_one(run, {"list": [1, 2, 3, 4, 5]})
    failures = 0
    while run.known.status is Status.RUNNING:
        token_id, token = next(
            item for item in run.known.tokens.items() if item[1].phase is Phase.RUNNING
        )
        run.tick(NodeErrored(token_id, token.visit, token.attempt, "broken", ("E",), 1))
        failures += 1
    assert (run.known.status, failures) == (Status.FAILED, 5)
    run.tick(Resume())
    again = []
    while run.known.status is not Status.COMPLETED:
        if any(token.phase is Phase.READY for token in run.known.tokens.values()):
            run.tick(Dispatch())
        running = [one for one in run.known.tokens.values() if one.phase is Phase.RUNNING]
        assert 1 <= len(running) <= 2
        again += [(one.visit, one.attempt) for one in running[:1] if one.node == "b"]
        end_one(run, {"done": 1})
    assert sorted(again) == [(visit, 2) for visit in range(1, 6)]
    assert len(run.value("all")) == 5
