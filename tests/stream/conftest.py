"""What the documentation says of statuses, and what a state may look like."""

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from greenroom.protocol.engine.due import due_at
from greenroom.protocol.execution import TERMINAL, ExecutionState, Phase, Status


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
    phases = [token.phase for token in state.tokens.values()]
    match state.status:
        case Status.RUNNING:
            assert phases in ([Phase.RUNNING], [Phase.BACKOFF])
        case Status.WAITING:
            assert phases in ([Phase.BACKOFF], [Phase.SLEEPING], [Phase.ASKING])
            assert phases == [Phase.ASKING] or due_at(state) is not None
        case Status.COMPLETED:
            assert phases == []
        case _:
            assert phases == [Phase.READY]
    asking = {one.token for one in state.questions.values()}
    assert asking <= set(state.tokens)
    assert set(state.effects) <= set(state.tokens)
    if Phase.ASKING in phases:
        assert asking
    if state.status in TERMINAL:
        assert not state.questions
    for token in state.tokens.values():
        if token.phase in (Phase.SLEEPING, Phase.ASKING):
            about_budget = any(one.budget for one in state.questions.values())
            assert (token.ended is None) == about_budget
    assert state.steps == sum(state.visits.values()) or state.rewinds
