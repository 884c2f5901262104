"""The goal's constraints, compiled: each `check` is an expression that holds while it is kept.

The language is that of conditions on edges, with one name more: `metrics`, whose keys are METRICS.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from greenroom.protocol.engine.conditions import Condition, compile_condition
from greenroom.protocol.errors import InvalidExpression
from greenroom.protocol.goal import Constraint

METRICS: Final = ("steps", "latency_ms", "retries", "failures", "run")
"""Of the execution so far: visits of nodes, milliseconds inside nodes, further attempts and failed
attempts of all nodes, and how many times it was taken up, the first included.
"""

_OUTPUT_NAMES: Final = frozenset({"output", "result"})
_METRICS_NAME: Final = "metrics"


@dataclass(frozen=True, slots=True)
class PlanConstraint:
    """One constraint that the engine checks. `needs_output`: it looks at what a node returned."""

    id: str
    description: str
    hard: bool
    check: Condition
    needs_output: bool


def compile_constraints(rules: Iterable[Constraint]) -> tuple[PlanConstraint, ...]:
    """Compile those that have a check. Raises InvalidExpression with the constraint's id."""
    return tuple(_compile(rule) for rule in rules if rule.check.strip())


def compile_measured(expression: str) -> Condition:
    """Parse an expression over output, memory and metrics. Raises InvalidExpression, also for a
    metric that there is not.
    """
    condition = compile_condition(expression)
    for node in _parts(condition):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == _METRICS_NAME
            and node.attr not in METRICS
        ):
            raise InvalidExpression(
                f"{expression!a}: no metric {node.attr!r}: use {', '.join(METRICS)}"
            )
    return condition


def uses_metrics(condition: Condition) -> bool:
    """Whether the expression looks at metrics."""
    return _METRICS_NAME in _names(condition)


def _compile(rule: Constraint) -> PlanConstraint:
    try:
        check = compile_measured(rule.check)
    except InvalidExpression as error:
        raise InvalidExpression(f"constraint {rule.id!r}: {error}") from error
    return PlanConstraint(
        id=rule.id,
        description=rule.description,
        hard=rule.is_hard,
        check=check,
        needs_output=not _names(check).isdisjoint(_OUTPUT_NAMES),
    )


def _names(condition: Condition) -> set[str]:
    return {node.id for node in _parts(condition) if isinstance(node, ast.Name)}


def _parts(condition: Condition) -> Iterable[ast.AST]:
    return () if condition.tree is None else ast.walk(condition.tree)
