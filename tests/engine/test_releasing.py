"""Held for not fitting the graph, and released when it fits again: as if it had never been held."""

from typing import Any

import pytest

from greenroom.protocol.engine.ticks import (
    Cancel,
    Dispatch,
    Due,
    Hold,
    NodeSucceeded,
    Pause,
    Release,
    Resume,
)
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.questions import AskedQuestion

WHY = ("node 'a' is not in the graph",)


@pytest.fixture
def run(graph_of: Any, run_class: Any) -> Any:
    """An execution of two nodes, one after the other."""

    def begin(*, permit: bool = True) -> Any:
        graph = graph_of(["a", "b"], ["a>b"])
        return run_class(graph, {"given": 1}, permit=permit)

    return begin


def test_a_hold_says_by_data_why_and_any_other_status_forgets_it(run: Any) -> None:
    one = run()
    one.tick(Hold("it does not fit", WHY))
    assert (one.known.status, one.known.unfit) == (Status.HELD, WHY)
    one.tick(Resume())
    assert (one.known.status, one.known.unfit) == (Status.QUEUED, ())
    one.tick(Hold("for another reason"))
    assert one.known.unfit == ()
    assert one.tick(Release()) is None, "whoever is held for another reason stays held"
    one.tick(Cancel())
    assert one.tick(Release()) is None


def test_a_node_in_flight_runs_again_in_its_visit(run: Any) -> None:
    one = run()
    one.tick(Hold("it does not fit", WHY))
    made = one.tick(Release())
    assert [event.type for event in made.events] == ["execution_resumed", "execution_queued"]
    assert (one.known.status, one.known.error, one.known.run) == (Status.QUEUED, None, 2)
    one.tick(Dispatch())
    assert (one.token.node, one.token.visit, one.token.attempt) == ("a", 1, 2)
    one.succeed({"x": 1})
    one.succeed()
    assert (one.known.status, one.known.path) == (Status.COMPLETED, ["a", "b"])


def test_one_that_never_ran_is_queued_again(run: Any) -> None:
    one = run(permit=False)
    one.tick(Hold("it does not fit", WHY))
    one.tick(Release())
    assert (one.known.status, one.token.attempt) == (Status.QUEUED, 0)


def test_a_sleep_goes_on_until_its_time(run: Any) -> None:
    one = run()
    one.succeed({"x": 1}, sleep_until=one.now + 60)
    one.tick(Hold("it does not fit", WHY))
    assert one.tick(Due(permit=True)) is None
    one.tick(Release())
    assert (one.known.status, one.token.phase) == (Status.WAITING, Phase.SLEEPING)
    one.now += 60
    one.tick(Due(permit=True))
    assert one.token.node == "b"


def test_a_question_stays_open(run: Any) -> None:
    one = run()
    token, asked = one.token, AskedQuestion(prompt="?", to="answer")
    own = (one.token_id, token.visit, token.attempt)
    one.tick(NodeSucceeded(*own, {}, 5, questions=(asked,)))
    one.tick(Hold("it does not fit", WHY))
    assert list(one.known.questions) == [1]
    one.tick(Release())
    assert (one.known.status, one.token.phase) == (Status.WAITING, Phase.ASKING)
    assert list(one.known.questions) == [1]


def test_what_counts_against_the_execution_is_kept(run: Any) -> None:
    """A hold was not its fault, but what it had failed before was."""
    one = run()
    one.fail()
    one.tick(Hold("it does not fit", WHY))
    failures = one.token.failures
    assert failures == 1
    one.tick(Release())
    assert one.token.failures == failures
    one.tick(Pause())
    assert one.known.unfit == ()
