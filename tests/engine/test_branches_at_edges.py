"""Branches at the edges: what a crash does to their time, and what a resume does to those that
failed while it took others up.
"""

from greenroom.protocol.engine.ticks import Answer, Due, NodeErrored, NodeSucceeded, Recover, Resume
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.parallel import ParallelExecutionConfig
from greenroom.protocol.questions import AskedQuestion


def ways(*short: str) -> list[EdgeSpec]:
    """Edges that are taken after a success, from "a>b"."""
    pairs = [one.split(">") for one in short]
    return [
        EdgeSpec(id=f"{source}-{target}", source=source, target=target, condition="on_success")
        for source, target in pairs
    ]


def at(run, node):
    """The token at a node, with its id."""
    (found,) = [item for item in run.known.tokens.items() if item[1].node == node]
    return found


def end(run, node, outputs=None, **more):
    """Let a node that runs return."""
    token_id, token = at(run, node)
    given = run.encoded(outputs or {})
    return run.tick(NodeSucceeded(token_id, token.visit, token.attempt, given, 5, **more))


def fail(run, node, *, retryable=False):
    """Let a node that runs raise."""
    token_id, token = at(run, node)
    tick = NodeErrored(token_id, token.visit, token.attempt, "broken", ("E",), 5, retryable)
    return run.tick(tick)


def test_the_time_for_which_the_process_was_away_is_no_time_of_a_branch_in_a_short_backoff(start):
    """Nothing was in flight when it died."""
    limited = ParallelExecutionConfig(branch_timeout_seconds=10)
    again = NodeSpec(id="b", max_retries=2, backoff_initial_s=0.5)
    nodes = [NodeSpec(id="a", parallel=limited), again, "c", "d"]
    run = start(nodes, ways("a>b", "a>c", "b>d", "c>d"))
    end(run, "a")
    fail(run, "b", retryable=True)
    end(run, "c")
    assert at(run, "b")[1].phase is Phase.BACKOFF
    assert run.known.status is Status.RUNNING
    run.now += 1_000
    run.tick(Recover(process_death=True, permit=True))
    run.tick(Due(permit=True))
    assert run.known.status is Status.RUNNING
    assert at(run, "b")[1].phase is Phase.RUNNING
    end(run, "b")
    end(run, "d")
    assert run.known.status is Status.COMPLETED


def test_a_resume_leaves_those_alone_whose_branch_it_failed(start):
    """The condition of the first cannot be evaluated with the new memory; its sibling was to go on
    in the same step.
    """
    inner = ParallelExecutionConfig(on_branch_failure="fail_all")
    outer = ParallelExecutionConfig(on_branch_failure="continue_others")
    nodes = [
        NodeSpec(id="a", parallel=outer),
        NodeSpec(id="b", parallel=inner),
        "p",
        "q",
        "p2",
        "q2",
        "j",
        "c",
        "d",
    ]
    broken = EdgeSpec(
        id="p-p2", source="p", target="p2", condition="conditional", condition_expr="n > 1"
    )
    edges = [*ways("a>b", "a>c", "b>p", "b>q", "q>q2", "p2>j", "q2>j", "j>d", "c>d"), broken]
    run = start(nodes, edges, {"n": 1}, pause=["p", "q", "c"])
    for node in "abpqc":
        end(run, node)
    assert run.known.status is Status.PAUSED
    run.tick(Resume(memory=run.encoded({"n": "text"})))
    standing = [(token.node, token.phase) for token in run.known.tokens.values()]
    assert standing == [("d", Phase.READY)], "the branches are joined without the failed one"
    run.dispatch()
    end(run, "d")
    assert run.known.status is Status.COMPLETED


def test_an_answer_that_lets_nobody_go_on_is_no_permit_to_run(start):
    """It comes in the last second of a backoff that waits without one."""
    again = NodeSpec(id="b", max_retries=2, backoff_initial_s=2)
    run = start(["a", again, "c", "d"], ways("a>b", "a>c", "b>d", "c>d"))
    end(run, "a")
    fail(run, "b", retryable=True)
    end(run, "c", questions=tuple(AskedQuestion(prompt="?", to=key) for key in "xy"))
    assert run.known.status is Status.WAITING
    run.now += 1.5
    said = run.encoded({"yes": True})["yes"]
    number = min(run.known.questions)
    run.tick(Answer(number=number, value=said, digest=b"", by=None, permit=True))
    assert run.known.status is Status.WAITING
    assert all(one.since is None for one in run.known.branching.branches.values())
    run.come_due(permit=False)
    assert run.known.status is Status.QUEUED
    run.dispatch()
    assert at(run, "b")[1].phase is Phase.RUNNING


def test_what_is_paused_says_at_which_pause_whatever_else_of_it_waits_or_has_failed(start):
    """The others come first in the graph."""
    nodes, edges = ["a", "b", "c", "d", "e"], ways("a>b", "a>c", "a>d", "b>e", "c>e", "d>e")
    run = start(nodes, edges, pause=["d"], parallel={"on_branch_failure": "wait_all"})
    end(run, "a")
    fail(run, "b")
    end(run, "c", questions=(AskedQuestion(prompt="?", to="x"),))
    end(run, "d")
    assert run.known.status is Status.PAUSED
    assert run.result().paused_at == "d"
