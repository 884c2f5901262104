"""Versions and migrations of executions whose branches run side by side."""

from typing import Any

import pytest

from greenroom.protocol.engine.migrating import outdated
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import Dispatch, Hold, Migrate, NodeSucceeded, Recover, Release
from greenroom.protocol.engine.versions import describe, differences
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec

OLD, NEW = b"old plan", b"new plan"
WAYS = ["a>b", "a>c", "b>d", "c>d"]
MOVED = ["a2>b2", "a2>c", "b2>d2", "c>d2"]
NAMES = {"a": "a2", "b": "b2", "d": "d2"}


@pytest.fixture
def fanned(graph_of: Any, run_class: Any) -> Any:
    """An execution whose two branches run."""
    run = run_class(graph_of(["a", "b", "c", "d"], WAYS), {"given": 1})
    run.succeed()
    assert {token.node for token in run.known.tokens.values()} == {"b", "c"}
    return run


def end(run: Any, node: str, **outputs: object) -> None:
    for token_id, token in run.known.tokens.items():
        if token.node == node and token.phase is Phase.RUNNING:
            own = (token_id, token.visit, token.attempt)
            run.tick(NodeSucceeded(*own, run.encoded(outputs), 5))
            return
    raise AssertionError(f"{node} does not run: {run.known.tokens}")


def move(run: Any, graph: Any, names: dict[str, str]) -> Any:
    run.plan = compile_plan(graph)
    return run.tick(Migrate(before=OLD, after=NEW, nodes=names))


def test_every_token_and_every_open_fan_out_must_fit(fanned: Any, graph_of: Any) -> None:
    """Where it fanned out no longer matters; where its branches meet does."""
    was = describe(fanned.plan)
    for lost in ("b", "c", "d"):
        names = [one if one != lost else "z" for one in ("a", "b", "c", "d")]
        ways = [way.replace(lost, "z") for way in WAYS]
        found = differences(was, compile_plan(graph_of(names, ways)), lambda name: True)
        (reason,) = [one for one in found.of(fanned.known) if "any more" in one]
        assert reason.startswith(f"node {lost!r} is not in graph")
    elsewhere = compile_plan(graph_of(["z", "b", "c", "d"], ["z>b", "z>c", "b>d", "c>d"]))
    assert differences(was, elsewhere, lambda name: True).of(fanned.known) == ()


def test_a_migration_moves_branches_their_fan_out_and_its_join(fanned: Any, graph_of: Any) -> None:
    run = fanned
    session = outdated(run.known, None, OLD, describe(run.plan))
    assert {one.node for one in session.positions} == {"b", "c"}
    assert len({one.branch for one in session.positions} - {0}) == 2
    end(run, "c", from_c=3)
    made = move(run, graph_of(["a2", "b2", "c", "d2"], MOVED), NAMES)
    assert made.patch.status is None
    (fan,) = run.known.branching.fans.values()
    assert (fan.node, fan.join) == ("a2", "d2")
    run.tick(Recover(process_death=False, permit=True))
    end(run, "b2", from_b=2)
    (token,) = run.known.tokens.values()
    assert token.node == "d2"
    end(run, "d2")
    assert run.known.status is Status.COMPLETED
    assert (run.value("from_b"), run.value("from_c")) == (2, 3)
    assert sorted(run.known.path) == ["a", "b", "c", "d2"]


def test_what_is_held_with_open_branches_goes_on_in_all_of_them(fanned: Any) -> None:
    run = fanned
    run.tick(Hold("it does not fit", ("why",)))
    assert run.tick(Recover(process_death=False, permit=True)) is None
    run.tick(Release())
    assert run.known.status is Status.QUEUED
    run.tick(Dispatch())
    end(run, "b")
    end(run, "c")
    end(run, "d")
    assert run.known.status is Status.COMPLETED


def test_a_map_runs_its_target_under_its_new_name(graph_of: Any, run_class: Any) -> None:
    mapped = MapSpec(over="list", item="one", collect="got", into="all")
    nodes = [NodeSpec(id="a"), NodeSpec(id="b", output_keys=["got"]), NodeSpec(id="d")]
    edges = [
        EdgeSpec(id="m", source="a", target="b", condition="on_success", map=mapped),
        EdgeSpec(id="j", source="b", target="d", condition="on_success"),
    ]
    run = run_class(graph_of(nodes, edges), {})
    run.succeed({"list": [1, 2]})
    new = [NodeSpec(id="a"), NodeSpec(id="b2", output_keys=["got"]), NodeSpec(id="d")]
    ways = [
        EdgeSpec(id="m", source="a", target="b2", condition="on_success", map=mapped),
        EdgeSpec(id="j", source="b2", target="d", condition="on_success"),
    ]
    move(run, graph_of(new, ways), {"b": "b2"})
    (fan,) = run.known.branching.fans.values()
    assert fan.map.target == "b2"
    run.tick(Recover(process_death=False, permit=True))
    end(run, "b2", got=10)
    end(run, "b2", got=20)
    end(run, "d")
    assert run.known.status is Status.COMPLETED
    assert sorted(run.value("all")) == [10, 20]
