"""A map over a list, step by step: what each step costs, and what it leaves."""

from collections import deque
from typing import Any

import pytest

from greenroom.protocol.codec import decode_state, encode
from greenroom.protocol.engine.text import ERROR_CHARS_MAX
from greenroom.protocol.engine.ticks import NodeErrored, NodeSucceeded, Resume
from greenroom.protocol.engine.transition import RunNode
from greenroom.protocol.engine.walk import NODES_PASSED_MAX
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, ParallelExecutionConfig

CONCURRENCY = 5


def mapped(start: Any, count: int, **more: Any) -> Any:
    """An execution whose first node is about to return a list; its elements come next."""
    over = MapSpec(over="list", collect="out", concurrency=CONCURRENCY)
    plan = NodeSpec(id="plan", parallel=more.pop("parallel", None))
    work = NodeSpec(id="work", output_keys=["out"], **more)
    run = start(
        [plan, work, "end"],
        [
            EdgeSpec(id="map", source="plan", target="work", map=over),
            EdgeSpec(id="done", source="work", target="end", condition="on_success"),
        ],
        terminal=["end"],
        max_steps=2 * count + 10,
    )
    run.succeed({"list": [f"element {number:05}" for number in range(count)]})
    return run


def work_off(run: Any, value: object = "done") -> list[int]:
    """Let every element return, in the order in which they begin, up to the join; return how many
    tokens there were at each step.
    """
    waiting = deque(run.last.commands)
    tokens = []
    while waiting:
        command = waiting.popleft()
        assert isinstance(command, RunNode)
        if command.node != "work":
            break
        own = (command.token_id, command.visit, command.attempt)
        transition = run.tick(NodeSucceeded(*own, run.encoded({"out": value}), 1))
        assert transition is not None
        tokens.append(len(run.known.tokens))
        waiting += transition.commands
    return tokens


def test_a_step_of_an_element_writes_what_it_changed_however_long_the_list_is(start: Any) -> None:
    """The first elements, and the last before the end of the list comes near; the list is written
    once, at the fan-out.
    """
    sizes: dict[int, set[int]] = {}
    for count in (10, 100, 1_000):
        run = mapped(start, count)
        work_off(run)
        patches = [encode(one.patch) for one in run.transitions]
        elements = patches[2 : 2 + count - CONCURRENCY]
        sizes[count] = {len(one) for one in elements}
        whole = encode(run.encoded({"list": [f"element {n:05}" for n in range(count)]})["list"])
        assert [at for at, one in enumerate(patches) if whole in one] == [1]
    least = min(sizes[10])
    # Numbers of more digits take a few bytes more.
    assert max(max(one) for one in sizes.values()) <= least + 40


def test_only_as_many_elements_as_may_run_are_in_the_state(start: Any) -> None:
    """What is done leaves its result, and nothing else: no token, no branch, no memory."""
    run = mapped(start, 200)
    tokens = work_off(run)
    assert max(tokens) == CONCURRENCY
    assert run.value("results") == ["done"] * 200
    branching = run.known.branching
    assert branching is not None
    assert not any((branching.fans, branching.branches, branching.overlays, branching.results))
    assert not branching.visits
    most = max(len(one.patch.branching.branches) for one in run.transitions[2:200])
    assert most == 2  # the one that ended, and the one that began


@pytest.mark.parametrize("where", [0, 7, 18])
def test_what_is_known_of_the_branches_is_the_same_when_it_is_read_from_the_store(
    start: Any, fits: Any, where: int
) -> None:
    """Also in the middle, and when an element waits for another attempt."""
    run = mapped(start, 20, max_retries=2)
    for number in range(20):
        (token_id, token), *_ = (
            one for one in run.known.tokens.items() if one[1].phase is Phase.RUNNING
        )
        own = (token_id, token.visit, token.attempt)
        if number == where:
            run.state = decode_state(encode(run.state))
            run.tick(NodeErrored(*own, "broken", ("E",), 1, True))
            run.now += 60
            continue
        run.tick(NodeSucceeded(*own, run.encoded({"out": number}), 1))
        fits(run)


def test_the_limit_of_visits_counts_for_each_element(start: Any) -> None:
    """The default is one visit; the number of the visit goes on, and tells the runs apart."""
    run = mapped(start, 12, max_node_visits=1)
    work_off(run)
    assert run.value("results") == ["done"] * 12
    assert run.known.visits["work"] == 12


def test_more_elements_than_routers_may_be_passed_in_a_row_can_all_be_left_out(start: Any) -> None:
    """None of them runs anything; only a circle of routers is one."""
    count = NODES_PASSED_MAX + 100
    run = start(
        ["plan", NodeSpec(id="skip", node_type="router", routes={"default": "end"}), "end"],
        [
            EdgeSpec(
                id="map",
                source="plan",
                target="skip",
                map=MapSpec(over="list", until="end", concurrency=3),
            )
        ],
        terminal=["end"],
        max_steps=2 * count,
    )
    run.succeed({"list": [0] * count})
    assert run.known.status is Status.RUNNING, run.known.error
    assert run.value("results") == [{}] * count


def test_a_circle_of_routers_in_a_map_is_found(start: Any) -> None:
    there = {"node_type": "router", "max_node_visits": 0}
    run = start(
        [
            "plan",
            NodeSpec(id="one", routes={"default": "two"}, **there),
            NodeSpec(id="two", routes={"default": "one", "never": "end"}, **there),
            "end",
        ],
        [EdgeSpec(id="map", source="plan", target="one", map=MapSpec(over="list", until="end"))],
        terminal=["end"],
        max_steps=100_000,
    )
    run.succeed({"list": [0] * 3})
    assert run.known.status is Status.EXHAUSTED
    assert "the routers turn in a circle" in str(run.known.error)


def test_of_many_failed_elements_the_error_names_some_and_counts_the_rest(start: Any) -> None:
    run = mapped(start, 30, parallel=ParallelExecutionConfig(on_branch_failure="wait_all"))
    waiting = deque(run.last.commands)
    while waiting:
        one = waiting.popleft()
        tick = NodeErrored(one.token_id, one.visit, one.attempt, "broken", ("E",), 1, False)
        transition = run.tick(tick)
        waiting += [two for two in transition.commands if isinstance(two, RunNode)]
    assert run.known.status is Status.FAILED
    error = str(run.known.error)
    named = error.count("failed after 1 attempts: broken")
    assert 10 < named < 30
    assert f"; {named - 1}: Node 'work'" in error
    assert error.endswith(f"; and {30 - named} more")
    assert len(error) <= ERROR_CHARS_MAX
    run.tick(Resume({}))
    assert run.known.status is Status.QUEUED
