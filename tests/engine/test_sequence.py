"""Accept, dispatch and the way through a graph without trouble."""

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.ticks import Accept, Dispatch, NodeSucceeded
from greenroom.protocol.engine.transition import Finish, RunNode
from greenroom.protocol.events import Reference
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.limits import EVENT_DATA_BYTES_MAX
from greenroom.protocol.values import decode_value


def test_accept_and_k_nodes_are_k_plus_one_transitions(start):
    """Three nodes: four commits, each of which closes one node and dispatches the next."""
    run = start(["a", "b", "c"], ["a>b", "b>c"], {"in": 1}, terminal=["c"])
    for name in "abc":
        assert run.token.node == name
        assert run.token.phase is Phase.RUNNING
        assert run.last.commands == (RunNode(run.token_id, name, 1, 1),)
        run.succeed({f"out_{name}": name})
    assert len(run.transitions) == 4
    assert run.known.status is Status.COMPLETED
    assert run.known.tokens == {}
    assert run.last.commands == (Finish(Status.COMPLETED),)


def test_events_come_in_the_order_of_what_happened(start):
    """One transition carries the end of a node and the start of the next."""
    run = start(["a", "b"], ["a>b"], terminal=["b"])
    run.succeed()
    run.succeed()
    assert [(event.type, event.node) for event in run.events()] == [
        ("execution_started", None),
        ("node_started", "a"),
        ("node_completed", "a"),
        ("node_started", "b"),
        ("node_completed", "b"),
        ("execution_completed", None),
    ]


def test_every_event_says_whose_it_is(start):
    """Stream, execution, correlation, hops and time are on each."""
    run = start(["a"])
    run.now = 1_001.0
    run.succeed({"x": 1})
    for event in run.events():
        assert (event.stream, event.execution) == ("api", "session_1")
        assert (event.correlation, event.hops) == ("correlation_1", 2)
    assert [event.at for event in run.events()] == [1_000.0, 1_000.0, 1_001.0, 1_001.0]
    assert run.data("node_completed") == {"visit": 1, "attempt": 1, "latency_ms": 5}
    assert run.data("node_started") == {"visit": 1, "attempt": 1}


def test_started_holds_the_input_and_completed_the_output(start):
    """The output is the whole memory."""
    run = start(["a"], (), {"in": {"deep": [1]}})
    run.succeed({"x": "y"})
    assert run.data("execution_started") == {"input": {"in": {"deep": [1]}}}
    assert run.data("execution_completed") == {"output": {"in": {"deep": [1]}, "x": "y"}}


@pytest.mark.parametrize("spread", [1, 40])
def test_large_input_and_output_are_referred_to(start, spread):
    """Over the inline limit the event holds the kind and the size, however the size comes about."""
    memory = {f"k{n}": "x" * (5_000 // spread) for n in range(spread)}
    run = start(["a"], (), memory)
    run.succeed()
    (started,) = run.events("execution_started")
    (completed,) = run.events("execution_completed")
    size = len(encode(memory))
    assert (started.data, started.reference) == (None, Reference("input", size))
    assert (completed.data, completed.reference) == (None, Reference("output", size))


def test_no_event_is_over_the_inline_limit_just_below_and_above_it(start):
    """Every size around the limit."""
    for size in range(EVENT_DATA_BYTES_MAX - 30, EVENT_DATA_BYTES_MAX + 5):
        (event,) = start(["a"], (), {"k": "x" * size}).events("execution_started")
        assert event.data is None or len(event.data) <= EVENT_DATA_BYTES_MAX
        assert (event.data is None) == (event.reference is not None)


def test_without_a_permit_the_execution_is_queued_and_nothing_counts_yet(start):
    """The visit, the step and the path belong to the dispatch."""
    run = start(["a", "b"], ["a>b"], {"in": 1}, permit=False)
    assert run.known.status is Status.QUEUED
    assert (run.token.phase, run.token.attempt) == (Phase.READY, 0)
    assert (run.known.steps, run.known.path, run.known.started_at) == (0, [], None)
    assert [event.type for event in run.events()] == ["execution_queued"]
    assert run.last.commands == ()
    run.now = 1_060.0
    transition = run.tick(Dispatch())
    assert transition.commands == (RunNode(run.token_id, "a", 1, 1),)
    assert run.known.status is Status.RUNNING
    assert (run.known.steps, run.known.path, run.known.started_at) == (1, ["a"], 1_060.0)
    assert run.data("execution_started") == {"input": {"in": 1}}
    run.succeed()
    assert run.token.node == "b"


def test_a_queued_execution_ends_like_one_that_was_not(start):
    """Same final state but for the time of the start."""
    straight = start(["a", "b"], ["a>b"], {"in": 1})
    queued = start(["a", "b"], ["a>b"], {"in": 1}, permit=False)
    queued.tick(Dispatch())
    for run in (straight, queued):
        run.succeed({"x": 1})
        run.succeed({"y": 2})
    assert queued.result() == straight.result()


def test_an_entry_point_may_start_elsewhere(start):
    """The entry node of the accept wins over the graph's."""
    run = start(["a", "b", "c"], ["a>b", "b>c"], entry="b")
    assert run.token.node == "b"


def test_a_node_without_edges_ends_the_execution(start):
    """As a terminal node does."""
    run = start(["a"])
    run.succeed({"x": 1})
    assert run.result().is_clean_success


def test_a_terminal_node_ends_although_it_has_edges(start):
    """Terminal wins."""
    run = start(["a", "b"], ["a>b"], terminal=["a"])
    run.succeed()
    assert run.known.path == ["a"]
    assert run.known.status is Status.COMPLETED


def test_status_is_in_a_patch_only_when_it_changes(start):
    """A listing is rewritten for a change of status, not for each step."""
    run = start(["a", "b", "c"], ["a>b", "b>c"])
    for _ in "abc":
        run.succeed()
    statuses = [transition.patch.status for transition in run.transitions]
    assert statuses == [Status.RUNNING, None, None, Status.COMPLETED]


def test_a_mid_step_patch_does_not_grow_with_the_memory(start):
    """Bytes per step depend on what the step changed."""
    sizes = []
    for size in (10, 100_000):
        run = start(["a", "b"], ["a>b"], {"big": "x" * size})
        sizes.append(len(encode(run.succeed({"y": 1}).patch)))
    assert sizes[0] == sizes[1]


def test_memory_is_not_decoded_when_no_condition_asks(start):
    """Text that is not UTF-8 passes through a plain edge untouched."""
    run = start(["a", "b"], [EdgeSpec(id="e", source="a", target="b", condition="on_success")])
    garbage = msgspec.Raw(b"\xa1\xff")
    run.tick(NodeSucceeded(run.token_id, 1, 1, {"x": garbage}, 1))
    assert run.token.node == "b"


def test_a_second_accept_and_a_tick_before_the_first_are_errors(start):
    """Neither can come from a sound caller."""
    run = start(["a"])
    with pytest.raises(ValueError, match="accepted already"):
        run.tick(Accept(accepted=run.known.accepted, memory={}, permit=True))
    with pytest.raises(ValueError, match="begins with Accept"):
        advance(run.plan, None, Dispatch(), 0.0)


def test_latency_is_summed_over_runs(start):
    """5 ms each, in the driver."""
    run = start(["a", NodeSpec(id="b", backoff_initial_s=0)], ["a>b"])
    run.succeed()
    run.fail()
    run.succeed()
    assert run.result().total_latency_ms == 15


def test_events_decode_to_plain_dicts(start):
    """What a subscriber reads."""
    run = start(["a"])
    run.succeed({"x": 1})
    for event in run.events():
        assert event.data is None or isinstance(decode_value(event.data), dict)


def test_a_permit_starts_what_is_ready_beside_a_branch_that_runs(start) -> None:
    """It woke when there was no permit, and its sibling a moment later when there was one."""
    run = start(["first", "left", "right"], ["first>left", "first>right"])
    run.succeed()
    (left, right) = run.known.tokens
    ready = msgspec.structs.replace(run.known.tokens[right], phase=Phase.READY)
    run.known.tokens[right] = ready
    transition = run.tick(Dispatch())
    assert [one.token_id for one in transition.commands] == [right]
    assert run.known.tokens[left].attempt == 1, "what runs is left alone"
    assert run.tick(Dispatch()) is None
