"""Migrate: one step moves positions and memory to another graph, and everything else stays."""

from typing import Any

import pytest
from msgspec.structs import replace

from greenroom.protocol.effects import EffectChange, EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.migrating import outdated, unusable
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import (
    Answer,
    Dispatch,
    Due,
    Hold,
    Inject,
    Migrate,
    NodeSucceeded,
    Pause,
    Progressed,
    Recover,
    Release,
    Resume,
)
from greenroom.protocol.engine.versions import describe
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.questions import AskedQuestion

OLD, NEW = b"old plan", b"new plan"
WHY = ("why",)


@pytest.fixture
def moved(graph_of: Any, run_class: Any) -> Any:
    """`moved(run, ...)` gives the run another graph, in which "a" is called "x"."""

    def begin(*, permit: bool = True) -> Any:
        return run_class(graph_of(["a", "b"], ["a>b"]), {"given": 1}, permit=permit)

    def move(run: Any, nodes: Any = (("a", "x"),), graph: Any = None, **memory: Any) -> Any:
        run.plan = compile_plan(graph or graph_of(["x", "b"], ["x>b"]))
        forget = tuple(memory.pop("forget", ()))
        tick = Migrate(
            before=OLD, after=NEW, nodes=dict(nodes), memory=run.encoded(memory), forget=forget
        )
        return run.tick(tick)

    begin.to = move  # type: ignore[attr-defined]
    return begin


def test_a_node_in_flight_runs_again_in_its_visit_under_its_new_name(moved: Any) -> None:
    run = moved()
    key = run.token_id
    made = moved.to(run)
    (event,) = made.events
    assert event.type == "execution_migrated"
    assert (made.cause.tick, made.commands, made.patch.status) == ("migrate", (), None)
    assert (run.known.status, run.token_id) == (Status.RUNNING, key)
    assert (run.token.node, run.token.visit, run.token.attempt) == ("x", 1, 1)
    run.tick(Recover(process_death=False, permit=True))
    assert (run.token.node, run.token.visit, run.token.attempt) == ("x", 1, 2)
    assert run.token.known_as == "a/1"
    run.fail()
    run.now += 60
    run.tick(Due(permit=True))
    assert (run.token.attempt, run.token.known_as) == (3, "a/1")
    assert run.known.visits == {"x": 1}


def test_effects_keep_their_records_and_their_keys(moved: Any) -> None:
    """Else a payment would be made once under each name."""
    run = moved()
    record = EffectRecord(EffectPolicy.IDEMPOTENT, EffectOutcome.BEGUN, b"digest")
    token = run.token
    change = EffectChange("pay/1", record)
    begun = run.tick(Progressed(run.token_id, token.visit, token.attempt, (change,)))
    moved.to(run)
    assert run.known.effects == {run.token_id: {"pay/1": record}}
    run.tick(Recover(process_death=True, permit=True))
    done = EffectChange("pay/1", replace(record, outcome=EffectOutcome.DONE))
    told = run.tick(Progressed(run.token_id, 1, 2, (done,)))
    keys = [b"session_1/a/1/pay/1" in bytes(one.events[0].data) for one in (begun, told)]
    assert keys == [True, True]


def test_a_backoff_a_sleep_and_a_question_go_on(moved: Any, graph_of: Any, run_class: Any) -> None:
    asleep = moved()
    asleep.succeed({"out": 1}, sleep_until=asleep.now + 60)
    moved.to(asleep)
    assert (asleep.known.status, asleep.token.phase) == (Status.WAITING, Phase.SLEEPING)
    asleep.now += 60
    asleep.tick(Due(permit=True))
    assert asleep.token.node == "b"

    nodes = [NodeSpec(id="a", max_retries=2, backoff_initial_s=5.0), NodeSpec(id="b")]
    failing = run_class(graph_of(nodes, ["a>b"]), {})
    failing.fail()
    moved.to(failing)
    assert (failing.token.node, failing.token.phase) == ("x", Phase.BACKOFF)
    failing.now += 5
    failing.tick(Due(permit=True))
    assert (failing.token.visit, failing.token.attempt, failing.token.known_as) == (1, 2, "a/1")

    asking = moved()
    own = (asking.token_id, 1, 1)
    asking.tick(NodeSucceeded(*own, {}, 5, questions=(AskedQuestion(prompt="?", to="said"),)))
    made = moved.to(asking)
    (change,) = made.questions
    assert (change.number, change.node, change.visit, change.closing) == (1, "x", 1, None)
    value = asking.encoded({"value": "yes"})["value"]
    asking.tick(Answer(number=1, value=value, digest=b"d", by=None, permit=True))
    assert asking.token.node == "b"


def test_one_that_was_never_entered_is_at_the_next_visit_of_its_new_node(moved: Any) -> None:
    run = moved(permit=False)
    moved.to(run)
    assert (run.known.status, run.token.node, run.token.visit) == (Status.QUEUED, "x", 1)
    assert run.token.known_as is None
    run.tick(Dispatch())
    assert (run.known.path, run.known.visits) == (["x"], {"x": 1})


def test_memory_is_dropped_then_set(moved: Any) -> None:
    run = moved()
    moved.to(run, forget=("given", "never"), added=[1, 2])
    assert sorted(run.known.memory) == ["added"]
    assert run.value("added") == [1, 2]
    run = moved()
    moved.to(run, forget=("given",), given=7)
    assert run.value("given") == 7


def test_visits_of_nodes_that_become_one_are_added(moved: Any, graph_of: Any) -> None:
    """Names may be swapped, too: no visit counts twice, and none is lost."""
    run = moved()
    run.succeed()
    assert run.known.visits == {"a": 1, "b": 1}
    one = graph_of(["b"], [])
    moved.to(run, (("a", "b"),), one)
    assert run.known.visits == {"b": 2}
    assert (run.token.node, run.token.visit) == ("b", 1)
    run = moved()
    moved.to(run, (("a", "b"), ("b", "a")), graph_of(["a", "b"], ["b>a"]))
    assert (run.known.visits, run.token.node) == ({"b": 1}, "b")


def test_a_position_moved_to_a_visited_node_has_a_visit_of_its_own(
    moved: Any, graph_of: Any
) -> None:
    run = moved()
    run.succeed()
    moved.to(run, (("b", "a"),), graph_of([NodeSpec(id="a", max_node_visits=0)], []))
    assert (run.token.node, run.token.visit, run.known.visits) == ("a", 2, {"a": 2})
    assert run.token.known_as == "b/1"


def test_input_that_is_kept_follows_its_node(moved: Any) -> None:
    run = moved()
    value = run.encoded({"value": "early"})["value"]
    run.tick(Inject(node="a", value=value, request="r"))
    moved.to(run)
    (kept,) = run.known.inbox.values()
    assert (kept.node, kept.value, kept.request) == ("x", value, "r")


@pytest.mark.parametrize("status", [Status.PAUSED, Status.FAILED, Status.HELD])
def test_what_stands_still_stays_as_it_is_and_goes_on_from_there(
    moved: Any, graph_of: Any, run_class: Any, status: Any
) -> None:
    run = moved()
    if status is Status.FAILED:
        edges = [EdgeSpec(id="way", source="a", target="b", condition="on_success")]
        run = run_class(graph_of(["a", "b"], edges), {})
        run.fail(retryable=False)
    else:
        run.tick(Pause() if status is Status.PAUSED else Hold("unfit", WHY))
    moved.to(run)
    assert (run.known.status, run.token.node) == (status, "x")
    assert run.known.unfit == (WHY if status is Status.HELD else ())
    run.tick(Release() if status is Status.HELD else Resume())
    run.tick(Dispatch())
    assert (run.token.node, run.token.visit, run.token.attempt) == ("x", 1, 2)


def test_what_has_completed_cannot_be_moved(moved: Any) -> None:
    run = moved()
    run.succeed()
    run.succeed()
    assert moved.to(run) is None


BAD = {
    "to nowhere": ({"a": "z"}, "maps node 'a' to 'z', which is not in graph"),
    "not at all": ({}, "maps node 'a' to none, and it is not in graph"),
    "to what never runs": ({"a": "way"}, "'way', which runs no function: map it to one that does"),
    "of another to nowhere": ({"a": "x", "q": "z"}, "maps node 'q' to 'z'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_migration_that_leads_nowhere_changes_nothing_and_says_why(
    moved: Any, graph_of: Any, name: str
) -> None:
    nodes, expected = BAD[name]
    run = moved()
    router = NodeSpec(id="way", node_type="router", routes={"default": "x"})
    graph = graph_of(["x", "b", router], ["x>b"])
    assert moved.to(run, nodes.items(), graph) is None
    (reason,) = unusable(run.plan, run.known, Migrate(before=OLD, after=NEW, nodes=nodes))
    assert expected in reason


def test_a_function_is_given_what_it_needs_to_decide(moved: Any) -> None:
    run = moved()
    own = (run.token_id, 1, 1)
    run.tick(NodeSucceeded(*own, {}, 5, questions=(AskedQuestion(prompt="?", to="said"),)))
    was = describe(run.plan, "1")
    now = replace(was, digest=NEW, version="2")
    session = outdated(run.known, was, OLD, now)
    assert (session.session_id, session.entry_point) == ("session_1", "api")
    assert (session.status, session.memory) == (Status.WAITING, {"given": 1})
    (position,) = session.positions
    assert (position.node, position.visit, position.ended) == ("a", 1, True)
    assert position.questions == ("session_1:q1",)
    assert (session.from_version, session.to_version) == ("1", "2")
    assert (session.from_digest, session.to_digest) == (OLD.hex(), NEW.hex())
    assert outdated(run.known, None, OLD, now).from_version == ""
