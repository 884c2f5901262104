"""What the documentation says of statuses, and what a state may look like."""

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from greenroom.protocol.engine.due import due_at
from greenroom.protocol.execution import TERMINAL, ExecutionState, Phase, Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, OnBranchFailure, ParallelExecutionConfig


@pytest.fixture(scope="session")
def changes(repository: Path) -> set[tuple[str, str, str]]:
    """(step, from, to) of every change of status in the documentation."""
    page = repository / "docs" / "status.md"
    found: set[tuple[str, str, str]] = set()
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [re.findall(r"`(\w+)`", cell) for cell in line.strip("|").split("|")]
        if len(cells) == 3 and all(cells):
            found.update(product(*cells))
    return found


@pytest.fixture(scope="session")
def fits() -> Callable[[ExecutionState], None]:
    """Checks a state: nothing in it is stuck or contradicts itself."""
    return check_fit


def check_fit(state: ExecutionState) -> None:
    """Statuses, phases, questions and effects belong together: nothing is ever stuck."""
    phases = {one.phase for one in state.tokens.values() if one.phase is not Phase.FAILED}
    match state.status:
        case Status.RUNNING:
            assert Phase.RUNNING in phases or Phase.BACKOFF in phases
            assert Phase.READY not in phases or state.run > 1  # elements that are taken up again
        case Status.WAITING:
            assert phases
            assert phases <= {Phase.BACKOFF, Phase.SLEEPING, Phase.ASKING}
            assert Phase.ASKING in phases or due_at(state) is not None
        case Status.QUEUED:
            assert Phase.READY in phases
            assert Phase.RUNNING not in phases
        case Status.COMPLETED:
            assert not state.tokens
        case _:
            assert phases <= {Phase.READY}
    asked = {one.token for one in state.questions.values()}
    assert asked <= set(state.tokens)
    assert set(state.effects) <= set(state.tokens)
    about_budget = any(one.budget for one in state.questions.values())
    for token_id, token in state.tokens.items():
        if token.phase is Phase.ASKING:
            assert token_id in asked or about_budget
        if token.phase in (Phase.SLEEPING, Phase.PAUSED):
            assert token.ended is not None
    if state.status in TERMINAL:
        assert not state.questions
    assert state.steps == sum(state.visits.values()) or state.rewinds


@pytest.fixture(scope="session")
def graphs() -> dict[str, GraphSpec]:
    """What histories are of: one node at a time, and branches with a map in one of them."""
    return {"plain": GRAPH, "branching": BRANCHING}


GRAPH = GraphSpec(
    id="graph",
    entry_node="work",
    terminal_nodes=["end"],
    pause_nodes=["review"],
    max_steps=12,
    nodes=[
        NodeSpec(id="work", max_retries=2, backoff_initial_s=5.0, max_node_visits=0),
        NodeSpec(id="route", node_type="router", route_on="way", max_node_visits=0,
                 routes={"review": "review", "again": "work", "default": "quick"}),
        NodeSpec(id="review", max_retries=1, max_node_visits=2),
        NodeSpec(id="quick", max_retries=3, backoff_initial_s=0.0, max_node_visits=3),
        NodeSpec(id="end"),
    ],
    edges=[
        EdgeSpec(id="w-r", source="work", target="route", condition="on_success"),
        EdgeSpec(id="w-q", source="work", target="quick", condition="on_failure"),
        EdgeSpec(id="r-e", source="review", target="end"),
        EdgeSpec(id="q-e", source="quick", target="end", condition="conditional",
                 condition_expr="way != 'again'"),
        EdgeSpec(id="q-w", source="quick", target="work", condition="conditional",
                 condition_expr="way == 'again'"),
    ],
)  # fmt: skip

BRANCHING = GraphSpec(
    id="graph",
    entry_node="work",
    terminal_nodes=["end"],
    pause_nodes=["review"],
    max_steps=30,
    parallel=ParallelExecutionConfig(
        on_branch_failure=OnBranchFailure.CONTINUE_OTHERS, branch_timeout_seconds=8.0
    ),
    nodes=[
        NodeSpec(id="work", max_retries=2, backoff_initial_s=5.0, max_node_visits=0,
                 parallel=ParallelExecutionConfig(on_branch_failure="wait_all")),
        NodeSpec(id="left", max_retries=1, max_node_visits=0),
        NodeSpec(id="review", max_retries=2, backoff_initial_s=0.0, max_node_visits=0),
        NodeSpec(id="right", max_retries=1, max_node_visits=0),
        NodeSpec(id="inner", max_retries=2, backoff_initial_s=0.0, max_node_visits=0,
                 parallel=ParallelExecutionConfig(on_branch_failure="fail_all")),
        NodeSpec(id="each", max_retries=1),
        NodeSpec(id="meet", max_retries=1, max_node_visits=0),
        NodeSpec(id="join", max_retries=1, max_node_visits=0),
        NodeSpec(id="end"),
    ],
    edges=[
        EdgeSpec(id="w-l", source="work", target="left", condition="on_success"),
        EdgeSpec(id="w-r", source="work", target="right", condition="on_success"),
        EdgeSpec(id="l-v", source="left", target="review", condition="on_success"),
        EdgeSpec(id="v-j", source="review", target="join", condition="on_success"),
        EdgeSpec(id="r-e", source="right", target="each", condition="on_success",
                 map=MapSpec(over="list", item="way", until="meet", concurrency=2)),
        EdgeSpec(id="r-i", source="right", target="inner", condition="on_success"),
        EdgeSpec(id="e-m", source="each", target="meet", condition="on_success"),
        EdgeSpec(id="i-m", source="inner", target="meet", condition="on_success"),
        EdgeSpec(id="m-j", source="meet", target="join", condition="on_success"),
        EdgeSpec(id="j-w", source="join", target="work", condition="conditional",
                 condition_expr="way == 'again'"),
        EdgeSpec(id="j-e", source="join", target="end", condition="otherwise"),
    ],
)  # fmt: skip
