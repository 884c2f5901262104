"""Failed runs: attempts, backoff, retry_on, output validation, and the way on after the last."""

import pytest

from greenroom.protocol.engine.ticks import Dispatch, Due, NodeErrored, NodeSucceeded, Recover
from greenroom.protocol.engine.transition import RunNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec


def now_node(node_id="a", **fields):
    return NodeSpec(id=node_id, **{"backoff_initial_s": 0, **fields})


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_max_retries_counts_attempts(start, max_retries, attempts):
    """0 and 1 both mean one attempt; without backoff each failure is also the next dispatch."""
    run = start([now_node(max_retries=max_retries)])
    for attempt in range(1, attempts + 1):
        assert (run.token.attempt, run.token.phase) == (attempt, Phase.RUNNING)
        run.fail("no luck")
    assert run.known.status is Status.FAILED
    assert run.result().error == f"Node 'a' failed after {attempts} attempts: no luck"
    assert len(run.transitions) == 1 + attempts
    assert run.result().total_retries == attempts - 1
    assert run.result().retry_details == {"a": attempts}
    assert run.result().steps_executed == 1
    assert run.known.path == ["a"]
    assert run.data("execution_failed") == {"error": run.result().error}


def test_each_failure_is_an_event_that_says_whether_another_attempt_follows(start):
    """node_failed, then node_started of the next attempt in the same commit."""
    run = start([now_node(max_retries=2)])
    transition = run.fail("no luck")
    assert [event.type for event in transition.events] == ["node_failed", "node_started"]
    assert run.data("node_failed") == {
        "visit": 1,
        "attempt": 1,
        "error": "no luck",
        "error_type": "ValueError",
        "will_retry": True,
    }
    assert run.data("node_started") == {"visit": 1, "attempt": 2}
    assert transition.commands == (RunNode(run.token_id, "a", 1, 2),)
    run.fail("again")
    assert run.data("node_failed")["will_retry"] is False


def test_the_name_of_the_node_is_in_the_error(start):
    """People know the name, not the id."""
    run = start([now_node(name="Draft a reply", max_retries=1)])
    run.fail("x")
    assert run.result().error == "Node 'Draft a reply' failed after 1 attempts: x"


def test_a_success_after_failures_is_degraded(start):
    """Clean means no failed attempt."""
    run = start([now_node()])
    run.fail()
    run.succeed({"x": 1})
    result = run.result()
    assert result.is_degraded_success
    assert not result.is_clean_success
    assert (result.nodes_with_failures, result.had_partial_failures) == (["a"], True)


@pytest.mark.parametrize(
    ("retry_on", "types", "again"),
    [
        ([], ("ValueError",), True),
        (["OSError"], ("ConnectionError", "OSError", "Exception"), True),
        (["OSError"], ("ValueError", "Exception"), False),
        (["state_conflict"], ("StateConflict", "state_conflict"), True),
    ],
)
def test_retry_on_names_what_is_worth_another_attempt(start, retry_on, types, again):
    """Any class of the MRO, or a code."""
    run = start([now_node(retry_on=retry_on)])
    run.fail(types=types)
    assert (run.known.status is Status.RUNNING) == again


def test_an_error_that_is_not_retryable_ends_the_attempts(start):
    """Whatever retry_on says."""
    run = start([now_node(retry_on=["ValueError"])])
    run.fail(retryable=False)
    assert run.result().error == "Node 'a' failed after 1 attempts: broken"


def test_a_short_backoff_keeps_the_permit(start):
    """Status stays running; the due time is in the token; Due runs it again."""
    run = start([NodeSpec(id="a", backoff_initial_s=0.5)])
    transition = run.fail()
    assert transition.commands == ()
    assert transition.patch.status is None
    assert (run.token.phase, run.token.due, run.token.attempt) == (Phase.BACKOFF, 1_000.5, 1)
    run.now = 1_000.5
    assert run.tick(Due(permit=True)).commands == (RunNode(run.token_id, "a", 1, 2),)
    assert (run.token.phase, run.token.due, run.token.failures) == (Phase.RUNNING, None, 1)


def test_a_long_backoff_frees_the_permit_and_queues_when_due(start):
    """waiting, then queued, then running again."""
    run = start([NodeSpec(id="a", backoff_initial_s=1.0, backoff_factor=3.0)])
    run.fail()
    assert run.known.status is Status.WAITING
    assert run.token.due == 1_001.0
    assert run.data("execution_waiting") == {"until": 1_001.0}
    assert run.tick(Due(permit=False)) is None
    run.now = 1_001.0
    assert run.tick(Due(permit=False)).commands == ()
    assert run.known.status is Status.QUEUED
    assert (run.token.phase, run.token.due, run.token.attempt) == (Phase.READY, None, 1)
    assert run.tick(Due(permit=False)) is None
    run.tick(Dispatch())
    assert (run.known.status, run.token.attempt) == (Status.RUNNING, 2)
    run.fail()
    assert run.token.due == 1_004.0


def test_a_waiting_execution_may_be_dispatched_at_once_when_a_permit_is_at_hand(start):
    """No detour over the queue."""
    run = start([NodeSpec(id="a")])
    run.fail()
    run.come_due(permit=True)
    assert (run.known.status, run.token.attempt) == (Status.RUNNING, 2)
    assert len(run.events("execution_started")) == 1


def test_the_backoff_grows_to_its_limit(start):
    """By the factor, from the initial wait."""
    run = start([NodeSpec(id="a", max_retries=2_000, backoff_max_s=9.0)])
    waits = []
    for _ in range(6):
        run.fail()
        waits.append(run.token.due - run.now)
        run.come_due(permit=True)
    assert waits == [1.0, 2.0, 4.0, 8.0, 9.0, 9.0]


def test_a_used_up_node_follows_its_failure_edge_and_the_execution_goes_on(start):
    """Degraded in the end; the error is counted."""
    way = EdgeSpec(id="e", source="a", target="b", condition="on_failure")
    run = start([now_node(max_retries=2), "b"], [way])
    run.fail()
    transition = run.fail()
    assert [event.type for event in transition.events] == ["node_failed", "node_started"]
    assert run.token.node == "b"
    assert (run.token.attempt, run.token.failures) == (1, 0)
    run.succeed()
    assert run.result().execution_quality == "degraded"


def test_a_used_up_terminal_node_fails_the_execution(start):
    """Terminal says where success ends."""
    run = start([now_node(max_retries=1)], terminal=["a"])
    run.fail()
    assert run.known.status is Status.FAILED


def test_a_failed_execution_keeps_its_parked_token_and_its_counters(start):
    """What resuming will need."""
    run = start([now_node(max_retries=2)])
    run.fail()
    run.fail()
    assert (run.token.node, run.token.phase) == ("a", Phase.READY)
    assert (run.token.attempt, run.token.failures) == (2, 2)


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ({}, "missing output key 'x'"),
        ({"x": None}, "output key 'x' is None"),
        ({"x": ""}, "output key 'x' is blank"),
        ({"x": " \n"}, "output key 'x' is blank"),
        ({"x": "\u2003" * 40}, "output key 'x' is blank"),
        ({"x": " " * 300}, "output key 'x' is blank"),
    ],
)
def test_a_declared_output_that_is_missing_or_blank_fails_the_attempt(start, outputs, fault):
    """As if the node had raised: it is retried, and nothing of it reaches the memory."""
    run = start([now_node(output_keys=["x"], max_retries=2)])
    run.succeed({**outputs, "other": 1})
    assert run.token.attempt == 2
    assert run.data("node_failed")["error"] == f"Output validation failed: {fault}"
    assert "other" not in run.known.memory
    assert run.result().retry_details == {"a": 1}
    run.succeed({"x": "now"})
    assert run.result().is_degraded_success


@pytest.mark.parametrize("value", [0, False, [], {}, b"", " x", "\u2003x", "y" * 300, 0.0])
def test_other_empty_values_are_outputs(start, value):
    """Only None and blank text say nothing."""
    run = start([now_node(output_keys=["x"])])
    run.succeed({"x": value})
    assert run.result().output == {"x": value}


@pytest.mark.parametrize("outputs", [{}, {"x": None}, {"x": " "}])
def test_a_nullable_output_may_be_missing_or_blank(start, outputs):
    """That is what nullable says."""
    run = start([now_node(output_keys=["x"], nullable_output_keys=["x"])])
    run.succeed(outputs)
    assert run.result().is_clean_success


def test_retry_on_can_name_the_failed_validation(start):
    """Its names are those of an invalid value."""
    for retry_on, again in ((["InvalidValue"], True), (["ValueError"], True), (["OSError"], False)):
        run = start([now_node(output_keys=["x"], retry_on=retry_on)])
        run.succeed({})
        assert (run.known.status is Status.RUNNING) == again


def test_an_error_text_is_cut_and_made_encodable(start):
    """Ten megabytes, lone surrogates and wide characters."""
    for text in ("x" * 10_000_000, "\ud800" * 5_000, "\U0001f600" * 5_000):
        run = start([now_node(max_retries=1)])
        run.fail(text)
        assert len(run.result().error) <= 900
        for event in run.events():
            assert event.data is None or len(event.data) <= 4_096


def test_a_late_end_of_an_earlier_attempt_is_ignored(start):
    """Attempt, visit, phase and token must all fit."""
    run = start([now_node(), "b"], ["a>b"])
    run.fail()
    one = run.token_id
    assert run.tick(NodeSucceeded(one, 1, 1, {}, 1)) is None
    assert run.tick(NodeErrored(one, 1, 1, "x", (), 1)) is None
    assert run.tick(NodeSucceeded(one, 2, 2, {}, 1)) is None
    assert run.tick(NodeSucceeded(one + 1, 1, 2, {}, 1)) is None
    assert run.tick(NodeSucceeded(one, 1, 2, {}, 1)) is not None


def test_the_late_end_of_an_earlier_node_never_passes_for_that_of_another(start):
    """Both are visit 1, attempt 1: the token's id tells them apart."""
    run = start(["a", "b"], ["a>b"])
    first = run.token_id
    late = NodeSucceeded(first, 1, 1, {}, 1)
    run.tick(late)
    assert run.token.node == "b"
    assert run.token_id != first
    assert run.last.patch.tokens == {first: None, run.token_id: run.token}
    assert run.tick(late) is None
    assert run.tick(NodeErrored(first, 1, 1, "x", (), 1)) is None


def test_attempts_of_one_visit_keep_the_id_of_their_token(start):
    """Retry, backoff, recovery and queueing do not move it."""
    run = start([NodeSpec(id="a", max_retries=9)])
    first = run.token_id
    run.fail()
    run.come_due(permit=False)
    run.tick(Dispatch())
    run.tick(Recover(process_death=True, permit=False))
    run.tick(Dispatch())
    assert run.token_id == first


def test_the_end_of_a_run_is_ignored_in_a_backoff(start):
    """The same attempt cannot end twice."""
    run = start([NodeSpec(id="a")])
    run.fail()
    assert run.tick(NodeErrored(run.token_id, 1, 1, "x", (), 1)) is None
    assert run.tick(NodeSucceeded(run.token_id, 1, 1, {}, 1)) is None


@pytest.mark.parametrize(
    ("no_retry_on", "types", "again"),
    [
        (["OSError"], ("ConnectionError", "OSError", "Exception"), False),
        (["OSError"], ("ValueError", "Exception"), True),
        (["node_failed"], ("NodeFailed", "Exception", "node_failed"), False),
    ],
)
def test_no_retry_on_names_what_is_not_worth_another_attempt(start, no_retry_on, types, again):
    """Any class of the MRO, or a code; it wins over an empty retry_on, which names all."""
    run = start([now_node(no_retry_on=no_retry_on)])
    run.fail(types=types)
    assert (run.known.status is Status.RUNNING) == again
    both = start([now_node(no_retry_on=no_retry_on, retry_on=["Exception"])])
    both.fail(types=types)
    assert (both.known.status is Status.RUNNING) == again


def waits(start, **fields):
    run = start([NodeSpec(id="a", max_retries=60, backoff_factor=1.0, **fields)])
    found = []
    for _ in range(50):
        run.fail()
        found.append(run.token.due - run.now)
        run.come_due(permit=True)
    return found


def test_jitter_leaves_out_a_share_of_each_wait_and_is_the_same_for_the_same_failure(start):
    """Spread over the whole share, and told by a hash: deciding twice gives the same times."""
    found = waits(start, backoff_initial_s=8.0, backoff_jitter=0.5)
    assert found == waits(start, backoff_initial_s=8.0, backoff_jitter=0.5)
    assert all(4.0 <= wait <= 8.0 for wait in found)
    assert len(set(found)) == 50
    assert min(found) < 4.5
    assert max(found) > 7.5
    assert set(waits(start, backoff_initial_s=8.0)) == {8.0}
