"""Pause nodes, Pause and Resume: where an execution stands still, and how it goes on."""

from typing import Any

import msgspec
import pytest

from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import (
    Cancel,
    Dispatch,
    Hold,
    NodeSucceeded,
    Pause,
    Recover,
    Resume,
)
from greenroom.protocol.engine.transition import Finish, RunNode, StopNode
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.limits import PROCESS_DEATHS_MAX

YES = EdgeSpec(
    id="yes", source="ask", target="send", condition="conditional", condition_expr="output.ok"
)
NO = EdgeSpec(
    id="no", source="ask", target="drop", condition="conditional", condition_expr="not output.ok"
)


@pytest.fixture
def paused(graph_of: Any, run_class: Any) -> Any:
    """`paused(nodes, edges, pause=[...], resume={...})` starts an execution of such a graph."""

    def begin(
        nodes: Any, edges: Any = (), *, pause: Any = (), resume: Any = None, **options: Any
    ) -> Any:
        permit = options.pop("permit", True)
        graph = msgspec.structs.replace(
            graph_of(nodes, edges, **options), pause_nodes=list(pause), entry_points=resume or {}
        )
        return run_class(graph, {"a": 1}, permit=permit)

    return begin


def resume(run: Any, **values: object) -> Any:
    return run.tick(Resume(run.encoded(values)))


def test_an_execution_stands_still_after_a_pause_node(paused: Any) -> None:
    run = paused(["ask", "send"], ["ask>send"], pause=["ask"])
    transition = run.succeed({"draft": "text"})
    assert run.known.status is Status.PAUSED
    assert transition.commands == (Finish(Status.PAUSED),)
    assert [event.type for event in transition.events] == ["node_completed", "execution_paused"]
    result = run.result()
    assert (result.success, result.paused_at, result.output["draft"]) == (False, "ask", "text")
    assert (result.error, run.known.ended_at) == (None, None)
    for tick in (Dispatch(), Pause(), Recover(process_death=True, permit=True)):
        assert run.tick(tick) is None


def test_a_resume_follows_the_edges_with_the_output_and_the_new_input(paused: Any) -> None:
    run = paused(["ask", "send", "drop"], [YES, NO], pause=["ask"])
    run.succeed({"ok": False, "draft": "text"})
    resume(run, ok=True)
    assert (run.known.status, run.known.run) == (Status.QUEUED, 2)
    assert run.token.node == "send"
    assert run.value("ok") is True
    run.tick(Dispatch())
    run.succeed({"sent": 1})
    assert run.known.status is Status.COMPLETED
    assert run.known.path == ["ask", "send"], "the pause node ran once"


def test_the_resume_entry_goes_before_the_edges(paused: Any) -> None:
    run = paused(
        ["ask", "send", "apply"], ["ask>send", "send>apply"], pause=["ask"],
        resume={"ask_resume": "apply", "other": "send"},
    )  # fmt: skip
    run.succeed()
    resume(run, ok=1)
    run.tick(Dispatch())
    assert run.known.path == ["ask", "apply"]
    run.succeed()
    assert run.known.status is Status.COMPLETED


def test_a_terminal_pause_node_ends_when_it_is_resumed(paused: Any) -> None:
    run = paused(["a", "ask"], ["a>ask"], pause=["ask"], terminal=["ask"])
    run.succeed()
    run.succeed()
    assert run.known.status is Status.PAUSED
    resume(run)
    assert run.known.status is Status.COMPLETED


def test_a_plain_router_can_be_a_pause_node_and_chooses_with_the_new_input(paused: Any) -> None:
    router = NodeSpec(
        id="gate", node_type="router", routes={"yes": "send", "default": "drop"}, route_on="say"
    )
    run = paused(["a", router, "send", "drop"], ["a>gate"], pause=["gate"])
    run.succeed({"say": "no"})
    assert run.result().paused_at == "gate"
    resume(run, say="yes")
    run.tick(Dispatch())
    assert run.known.path == ["a", "gate", "send"]


def test_a_router_with_a_function_keeps_its_choice_over_the_pause(paused: Any) -> None:
    router = NodeSpec(
        id="gate", node_type="router", function="f", routes={"yes": "send", "default": "drop"}
    )
    run = paused([router, "send", "drop"], pause=["gate"])
    run.succeed({}, route="yes")
    resume(run)
    assert run.token.node == "send"


def test_a_failing_pause_node_does_not_pause(paused: Any) -> None:
    run = paused([NodeSpec(id="ask", max_retries=1)], pause=["ask"])
    run.fail()
    assert run.known.status is Status.FAILED


@pytest.mark.parametrize("permit", [True, False])
def test_a_pause_leaves_the_node_unfinished_and_resume_runs_it_again(
    paused: Any, permit: bool
) -> None:
    run = paused(["a", "b"], ["a>b"], permit=permit)
    stopped = run.token_id
    transition = run.tick(Pause("later"))
    assert transition.commands == ((StopNode(stopped),) if permit else ()) + (
        Finish(Status.PAUSED),
    )
    assert run.data("execution_paused") == {"reason": "later"}
    late = NodeSucceeded(stopped, 1, 1, {}, 1)
    assert run.tick(late) is None, "what a stopped node returns does not count"
    resume(run, more=2)
    assert run.value("more") == 2
    assert run.known.visits == ({"a": 1} if permit else {})
    run.tick(Dispatch())
    assert run.last.commands == (RunNode(run.token_id, "a", 1, 2 if permit else 1),)
    assert run.tick(late) is None or not permit


def test_a_pause_in_a_backoff_keeps_the_failures(paused: Any) -> None:
    run = paused([NodeSpec(id="a", max_retries=2, backoff_initial_s=5)])
    run.fail()
    assert run.known.status is Status.WAITING
    run.tick(Pause())
    assert (run.token.phase, run.token.due, run.token.failures) == (Phase.READY, None, 1)
    resume(run)
    run.tick(Dispatch())
    run.fail()
    assert run.known.status is Status.FAILED


def test_a_failed_execution_runs_its_failed_node_again_in_the_same_visit(paused: Any) -> None:
    then = EdgeSpec(id="then", source="b", target="c", condition="on_success")
    run = paused(["a", NodeSpec(id="b", max_retries=2, backoff_initial_s=0), "c"], ["a>b", then])
    run.succeed()
    run.fail()
    run.fail()
    assert (run.known.status, run.token.failures, run.token.attempt) == (Status.FAILED, 2, 2)
    resume(run)
    assert (run.known.error, run.known.ended_at, run.token.failures) == (None, None, 0)
    assert run.data("execution_resumed") == {"run": 2, "was": "failed"}
    run.tick(Dispatch())
    assert run.last.commands == (RunNode(run.token_id, "b", 1, 3),)
    run.fail()
    assert run.token.attempt == 4, "max_retries attempts to come"
    run.succeed()
    run.succeed()
    assert run.known.status is Status.COMPLETED
    assert run.known.visits == {"a": 1, "b": 1, "c": 1}
    assert run.known.retry_details == {"b": 3}


def test_what_had_succeeded_before_a_broken_condition_is_not_run_again(paused: Any) -> None:
    edge = EdgeSpec(
        id="e", source="a", target="b", condition="conditional", condition_expr="output.n > 1"
    )
    run = paused(["a", "b"], [edge])
    run.succeed({"n": "many"})
    assert run.known.status is Status.FAILED
    resume(run)
    assert run.known.status is Status.FAILED, "nothing has changed"
    assert run.known.ended_at is not None
    resume(run, n=2)
    run.tick(Dispatch())
    assert run.known.path == ["a", "b"]


def test_a_held_execution_goes_on_when_its_cause_is_gone(paused: Any) -> None:
    run = paused(["a"])
    for _ in range(PROCESS_DEATHS_MAX):
        run.tick(Recover(process_death=True, permit=True))
    assert (run.known.status, run.token.crashes) == (Status.HELD, PROCESS_DEATHS_MAX)
    resume(run)
    assert (run.known.status, run.known.error, run.token.crashes) == (Status.QUEUED, None, 0)


def test_an_execution_at_a_node_that_is_gone_is_not_resumed(paused: Any, graph_of: Any) -> None:
    run = paused(["a", "b"], ["a>b"])
    run.succeed()
    run.tick(Hold("odd"))
    run.plan = compile_plan(graph_of(["a"], []))
    assert resume(run) is None


def test_an_exhausted_execution_goes_on_under_a_larger_max_steps(
    paused: Any, graph_of: Any
) -> None:
    run = paused(["a", "b"], ["a>b"], max_steps=1)
    run.succeed()
    assert run.known.status is Status.EXHAUSTED
    resume(run)
    run.tick(Dispatch())
    assert run.known.status is Status.EXHAUSTED, "still used up"
    run.plan = compile_plan(graph_of(["a", "b"], ["a>b"], max_steps=2))
    resume(run)
    run.tick(Dispatch())
    run.succeed()
    assert (run.known.status, run.known.run) == (Status.COMPLETED, 3)


def test_completed_and_cancelled_executions_and_those_that_go_on_are_not_resumed(
    paused: Any,
) -> None:
    for end in ("queued", "running", "completed", "cancelled"):
        run = paused(["a"], permit=end != "queued")
        if end == "completed":
            run.succeed()
        if end == "cancelled":
            run.tick(Cancel())
        assert run.known.status.value == end
        assert resume(run) is None


def test_a_paused_execution_can_be_cancelled_and_held(paused: Any) -> None:
    for tick, status in ((Cancel("no"), Status.CANCELLED), (Hold("no"), Status.HELD)):
        run = paused(["a", "b"], ["a>b"], pause=["a"])
        run.succeed()
        run.tick(tick)
        assert run.known.status is status
    resume(run)
    run.tick(Dispatch())
    assert run.known.path == ["a", "b"], "held or not, the pause node is passed"


def test_pause_nodes_and_where_they_resume_are_part_of_the_digest(graph_of: Any) -> None:
    plain = graph_of(["a", "b"], ["a>b"])
    pausing = msgspec.structs.replace(plain, pause_nodes=["a"])
    leaping = msgspec.structs.replace(pausing, entry_points={"a_resume": "b"})
    digests = {compile_plan(one).digest for one in (plain, pausing, leaping)}
    assert len(digests) == 3
