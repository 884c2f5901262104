"""Checking the goal's constraints, in the step that closes a node run.

What has been done stays recorded: the node's output and all that it changed are part of the step.
A hard constraint that does not hold then ends the execution; a soft one is an event, once for each
time that it begins not to hold. A check that cannot be evaluated does not hold: whoever cannot tell
whether a rule is kept must not take it for kept.

After a failed attempt there is no output, so the constraints that look at one are left out.
"""

from typing import Any, Final

from greenroom.protocol.engine.conditions import evaluate
from greenroom.protocol.engine.constraints import PlanConstraint
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.routing import DecodedView, Outputs
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.errors import InvalidExpression
from greenroom.protocol.events import EventType

_VIOLATION: Final = EventType.CONSTRAINT_VIOLATION.value
_TEXT_CHARS: Final = 400  # of each of an event's texts


def check_constraints(draft: Draft, node_id: str, output: Outputs | None) -> str | None:
    """Check them all on the memory as the step leaves it; `output` is None after a failed attempt.

    Returns why the execution must end, None when it may go on.
    """
    before = draft.state.violated
    violated = list(before)
    fatal: str | None = None
    metrics = draft.metrics()
    memory = DecodedView(*draft.layers())
    returned = None if output is None else DecodedView(output)
    for rule in draft.plan.constraints:
        if returned is None and rule.needs_output:
            continue
        why = _broken(rule, returned, memory, metrics)
        if why is None:
            if rule.id in violated:
                violated.remove(rule.id)
            continue
        if rule.hard:
            fatal = fatal or f"constraint {rule.id!r} is violated: {why}"
        elif rule.id in violated:
            continue
        else:
            violated.append(rule.id)
        _tell(draft, node_id, rule, why)
    if len(violated) != len(before) or tuple(violated) != before:
        draft.violated = tuple(violated)
    return fatal


def _broken(
    rule: PlanConstraint, output: DecodedView | None, memory: DecodedView, metrics: dict[str, Any]
) -> str | None:
    """Why the constraint does not hold, None when it does."""
    try:
        if evaluate(rule.check, output=output, memory=memory, metrics=metrics):
            return None
    except InvalidExpression as error:
        return bounded_text(f"it cannot be evaluated: {error}", _TEXT_CHARS)
    seen = ", ".join(f"{name}={value}" for name, value in metrics.items())
    return bounded_text(f"{rule.check.expression.strip()!a} does not hold ({seen})", _TEXT_CHARS)


def _tell(draft: Draft, node_id: str, rule: PlanConstraint, why: str) -> None:
    data = {
        "constraint_id": rule.id,
        "constraint_type": "hard" if rule.hard else "soft",
        "description": bounded_text(rule.description, _TEXT_CHARS),
        "details": why,
    }
    draft.event(_VIOLATION, node_id, data)
