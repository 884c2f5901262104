"""Sub-steps: a node run records its effects before it ends, and they live as long as its visit."""

from typing import Any

import msgspec

from greenroom.protocol.effects import EffectChange, EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.ticks import (
    Cancel,
    Conflicted,
    Dispatch,
    NodeErrored,
    Pause,
    Progressed,
    Recover,
    Resume,
)
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.values import encode_value

BEGUN = EffectRecord(EffectPolicy.ONCE, EffectOutcome.BEGUN, b"digest")
DONE = EffectRecord(
    EffectPolicy.ONCE, EffectOutcome.DONE, b"digest", msgspec.Raw(encode_value({"paid": 5}))
)
PAID = (EffectChange("pay/1", DONE),)
UNKNOWN = EffectRecord(EffectPolicy.ONCE, EffectOutcome.UNKNOWN, b"digest")
NULL = EffectRecord(
    EffectPolicy.STEP, EffectOutcome.DONE, b"digest", msgspec.Raw(encode_value(None))
)


def progress(run: Any, slot: str = "pay/1", record: EffectRecord | None = DONE) -> Any:
    token = run.token
    change = EffectChange(slot, record)
    return run.tick(Progressed(run.token_id, token.visit, token.attempt, (change,)))


def records(run: Any) -> Any:
    return run.known.effects.get(run.token_id)


def test_a_sub_step_holds_its_record_and_nothing_else(start: Any) -> None:
    run = start(["a", "b"], ["a>b"], {"n": 1})
    before = msgspec.structs.replace(run.known, effects={}, seq=0)
    transition = progress(run)
    assert transition.commands == ()
    assert transition.patch == type(transition.patch)(effects={1: {"pay/1": DONE}})
    assert (transition.cause.tick, transition.cause.node) == ("progressed", "a")
    assert records(run) == {"pay/1": DONE}
    assert msgspec.structs.replace(run.known, effects={}, seq=0) == before


def test_each_change_of_an_effect_has_its_event_and_a_step_has_none(start: Any) -> None:
    run = start(["a"])
    for record, kind in (
        (BEGUN, "effect_started"),
        (None, "effect_not_done"),
        (BEGUN, "effect_started"),
        (UNKNOWN, "outcome_unknown"),
        (DONE, "effect_recorded"),
    ):
        (event,) = progress(run, record=record).events
        assert (event.type, event.node) == (kind, "a")
        assert run.data(kind) == {
            "effect": "pay",
            "occurrence": 1,
            "policy": "once",
            "visit": 1,
            "attempt": 1,
            "key": "session_1/a/1/pay/1",
        }
    assert progress(run, "look/1", NULL).events == ()
    assert records(run)["look/1"].value == msgspec.Raw(encode_value(None))


def test_several_at_once_are_one_commit_with_the_events_of_each(start: Any) -> None:
    run = start(["a"])
    run.tick(Recover(process_death=True, permit=True))
    progress(run, "pay/1", BEGUN)
    changes = [("pay/1", DONE), ("look/1", NULL), ("pay/2", BEGUN), ("pay/2", None)]
    changed = tuple(EffectChange(slot, record) for slot, record in changes)
    transition = run.tick(Progressed(run.token_id, 1, 2, changed))
    assert [(one.type, one.node) for one in transition.events] == [
        ("effect_recorded", "a"),
        ("effect_started", "a"),
        ("effect_not_done", "a"),
    ]
    assert records(run) == {"pay/1": DONE, "look/1": NULL}
    assert run.token.crashes == 0


def test_a_withdrawn_record_is_gone(start: Any) -> None:
    run = start(["a"])
    progress(run, record=BEGUN)
    progress(run, record=None)
    assert records(run) == {}


def test_records_stay_for_every_run_of_the_visit(start: Any) -> None:
    """Retries, crashes, lost races, pauses, and the resume of what failed."""
    run = start([NodeSpec(id="a", max_retries=2, backoff_initial_s=0)])
    progress(run)
    run.fail()
    progress(run, "pay/2")
    run.tick(Recover(process_death=True, permit=True))
    run.tick(Conflicted(run.token_id, 1, run.token.attempt, ("k",)))
    run.tick(Pause())
    run.tick(Resume())
    run.tick(Dispatch())
    run.fail()
    assert run.known.status is Status.FAILED
    run.tick(Resume())
    run.tick(Dispatch())
    assert records(run) == {"pay/1": DONE, "pay/2": DONE}
    assert run.token.visit == 1


def test_records_leave_the_state_with_their_visit(start: Any) -> None:
    loop = NodeSpec(id="a", max_node_visits=0)
    run = start([loop], ["a>a"], max_steps=3)
    for _ in range(3):
        progress(run)
        assert run.known.effects == {run.token_id: {"pay/1": DONE}}
        run.succeed()
        assert run.known.effects == {}
    assert run.known.status is Status.EXHAUSTED


def test_records_leave_the_state_when_a_node_has_ended_and_was_not_left(
    run_class: Any, graph_of: Any
) -> None:
    graph = msgspec.structs.replace(graph_of(["a"], []), pause_nodes=["a"])
    run = run_class(graph, {})
    progress(run)
    run.succeed()
    assert run.known.status is Status.PAUSED
    assert run.known.effects == {}


def test_a_run_that_counts_no_more_records_nothing(start: Any) -> None:
    run = start([NodeSpec(id="a", max_retries=2, backoff_initial_s=0)])
    stale = Progressed(run.token_id, 1, 1, PAID)
    for tick in (
        Progressed(run.token_id + 1, 1, 1, PAID),
        Progressed(run.token_id, 2, 1, PAID),
        Progressed(run.token_id, 1, 2, PAID),
    ):
        assert run.tick(tick) is None
    run.tick(NodeErrored(run.token_id, 1, 1, "broken", ("E",), 1))
    assert run.token.attempt == 2
    assert run.tick(stale) is None
    current = Progressed(run.token_id, 1, 2, PAID)
    run.tick(Pause())
    assert run.tick(current) is None
    run.tick(Cancel())
    assert run.tick(current) is None


def test_a_new_record_is_progress_and_a_replaced_one_is_not(start: Any) -> None:
    """Three deaths without progress hold an execution; one that gets on is not held."""
    run = start(["a"])
    for number in range(1, 6):
        for _ in range(2):
            run.tick(Recover(process_death=True, permit=True))
        assert run.token.crashes == 2
        progress(run, f"pay/{number}", BEGUN)
        assert run.token.crashes == 0
        run.tick(Recover(process_death=True, permit=True))
        progress(run, f"pay/{number}")
        assert run.token.crashes == 1
        progress(run, f"other/{number}")
    for _ in range(3):
        progress(run, "pay/1", BEGUN)
        run.tick(Recover(process_death=True, permit=True))
    assert run.known.status is Status.HELD
