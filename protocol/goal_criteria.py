"""What a success criterion measures: its `metric`, and the bar that its `target` sets.

* `success_rate`, also for an empty metric: executions that completed, of all that ended by
  themselves (cancelled ones count neither way). `failure_rate`: the others of those.
* `node_success_rate`: node runs that succeeded, of all that ended.
* `executions_completed`, `executions_failed`, `executions_total`: executions that completed, ended
  by themselves without success, or ended in any way. `constraint_violations`: as many as recorded.
* `output_contains`, `output_equals`: completed executions whose output holds the target, of all
  completed; the bar is 80 %. A dict as target is compared key by key; text is looked for in every
  text of the output, any other value among the output's values.
* `expression:...`: an expression in the language of conditions, over `output` (the execution's
  whole memory, as `memory` is) and `metrics`, see `engine/constraints.py`. Its value is measured
  over all completed executions: the average of numbers, where true is 1 and false 0, so that
  `expression:output.score > 0.5` gives a share.
* `function:name`: the same with what the registered function answers to the output, a bool or a
  number. Async ones run on the nodes' loop, plain ones in the pool.

An answer that is missing (the expression cannot be evaluated, the function fails or takes too long)
counts as 0, and the evidence says why. Bars are those of `goal_targets.py`: a share has one from 0
to 1, or a percentage.
"""

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from typing import Any, Final

import msgspec

from greenroom.protocol.engine.conditions import value_of
from greenroom.protocol.engine.constraints import compile_measured, uses_metrics
from greenroom.protocol.errors import InvalidConfig, InvalidInput, UnsupportedSetting
from greenroom.protocol.goal import Goal, SuccessCriterion
from greenroom.protocol.goal_targets import Target, parse_target
from greenroom.protocol.outcomes import Answer
from greenroom.protocol.values import to_storable

SHARE_DEFAULT: Final = 0.8  # the bar of a share without a target of its own
EXPRESSION: Final = "expression:"
FUNCTION: Final = "function:"

SHARES: Final = frozenset({"", "success_rate", "failure_rate", "node_success_rate"})
COUNTS: Final = frozenset(
    {"executions_completed", "executions_failed", "executions_total", "constraint_violations"}
)
_OUTPUTS: Final = frozenset({"output_contains", "output_equals"})
METRICS: Final = (
    *sorted((SHARES | COUNTS | _OUTPUTS) - {""}),
    f"{EXPRESSION}...",
    f"{FUNCTION}name",
)

Judge = Callable[[Mapping[str, Any], Mapping[str, Any]], Answer]
"""Answers a criterion's question about one completed execution: its output, its metrics."""


class Asked(msgspec.Struct, frozen=True):
    """A criterion that asks about each completed execution. `wanted` says what: one that is changed
    begins again from 0. `judge` is None when a user's function answers, `function` its name.
    """

    wanted: str
    judge: Judge | None = None
    function: str | None = None


def unsupported_criteria(goal: Goal) -> list[InvalidInput]:
    """Return an error for each criterion that could never be measured: an unknown metric, an
    expression that does not parse, or a target that does not fit its metric.
    """
    found: list[InvalidInput] = []
    for criterion in goal.success_criteria:
        where = f"success criterion {criterion.id!r}"
        metric = criterion.metric
        known = metric in SHARES | COUNTS | _OUTPUTS
        if not known and not metric.startswith((EXPRESSION, FUNCTION)):
            name = f"{where}: the metric {metric!a:.60}"
            found.append(UnsupportedSetting(name, f"measured are {', '.join(METRICS)}"))
            continue
        try:
            bar_of(criterion)
            _asked(criterion)
        except InvalidInput as error:
            found.append(InvalidConfig(f"{where}: {error}"))
    return found


def check_criteria(goal: Goal) -> None:
    """Raise the first error of `unsupported_criteria`, if there is one."""
    for error in unsupported_criteria(goal):
        raise error


def asked_of_outputs(goal: Goal) -> dict[str, Asked]:
    """The criteria that ask about each completed execution, by their ids."""
    found = ((one.id, _asked(one)) for one in goal.success_criteria)
    return {name: asked for name, asked in found if asked is not None}


def functions_of(goal: Goal) -> dict[str, str]:
    """The functions that criteria ask, by the criteria's ids."""
    asked = asked_of_outputs(goal).items()
    return {name: one.function for name, one in asked if one.function is not None}


def needs_metrics(goal: Goal) -> bool:
    """Whether a criterion looks at the metrics of executions, which events then have to carry."""
    return any(
        uses_metrics(compile_measured(one.metric.removeprefix(EXPRESSION)))
        for one in goal.success_criteria
        if one.metric.startswith(EXPRESSION)
    )


def wanted_by(criterion: SuccessCriterion) -> str:
    """What the criterion asks of outputs, as text."""
    if criterion.metric in _OUTPUTS:
        return f"{criterion.metric} {criterion.target!r}"[:500]
    return criterion.metric[:500]


def bar_of(criterion: SuccessCriterion) -> Target:
    """The bar of a criterion. Raises InvalidConfig when its target does not fit its metric."""
    target, metric = criterion.target, criterion.metric
    if metric in _OUTPUTS:
        if target is None:
            raise InvalidConfig(f"{metric} needs a target: what the output should hold")
        to_storable(target, "target")
        return Target(">=", SHARE_DEFAULT)
    if metric in COUNTS:
        bar = parse_target(target, 1.0)
        if bar.percent or bar.number < 0 or (bar.sign == ">=" and bar.number == 0):
            raise InvalidConfig(f"the target {target!a:.60} is no count: use a number above 0")
        return bar
    bar = parse_target(target, SHARE_DEFAULT)
    if metric in SHARES and not 0 <= bar.number <= 1:
        raise InvalidConfig(f"the target {target!a:.60} is no share: use 0 to 1, or 'N%'")
    return bar


def answer_of(value: object) -> Answer:
    """A user's or an expression's answer as it is counted."""
    if isinstance(value, bool):
        return Answer(float(value), said="holds" if value else "does not hold")
    if isinstance(value, int | float) and isfinite(value):
        return Answer(float(value), said=f"{value:g}", number=True)
    return failed_answer(f"it answered {value!a:.60}, which is neither a bool nor a number")


def failed_answer(why: str) -> Answer:
    """The answer of what could not answer."""
    return Answer(0.0, said=f"no answer: {why}"[:200], failed=True)


def _asked(criterion: SuccessCriterion) -> Asked | None:
    metric, wanted = criterion.metric, wanted_by(criterion)
    if metric in _OUTPUTS:
        rule = _contains if metric == "output_contains" else _equals
        return Asked(wanted, partial(_holding, rule, to_storable(criterion.target)))
    if metric.startswith(EXPRESSION):
        condition = compile_measured(metric.removeprefix(EXPRESSION))
        if condition.tree is None:
            raise InvalidConfig(f"the metric {metric!a:.60} has no expression")
        return Asked(wanted, partial(_evaluated, condition))
    if metric.startswith(FUNCTION):
        name = metric.removeprefix(FUNCTION).strip()
        if not name:
            raise InvalidConfig(f"the metric {metric!a:.60} names no function")
        return Asked(wanted, function=name)
    return None


def _evaluated(condition: Any, output: Mapping[str, Any], metrics: Mapping[str, Any]) -> Answer:
    try:
        return answer_of(value_of(condition, output=output, memory=output, metrics=metrics))
    except InvalidInput as error:
        return failed_answer(str(error))


def _holding(
    rule: Callable[[Any, Mapping[str, Any]], bool],
    target: Any,
    output: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Answer:
    holds = rule(target, output)
    return Answer(float(holds), said="output matches" if holds else "output does not match")


def _contains(target: Any, output: Mapping[str, Any]) -> bool:
    if isinstance(target, dict):
        return all(key in output and _holds(output[key], part) for key, part in target.items())
    return _holds(output, target)


def _holds(value: Any, part: Any) -> bool:
    """Whether `part` is in `value`, or in something that `value` contains."""
    if isinstance(value, str) and isinstance(part, str):
        return part in value
    if isinstance(value, Mapping):
        return any(_holds(item, part) for item in value.values())
    if isinstance(value, list):
        return any(_holds(item, part) for item in value)
    return bool(type(value) is type(part) and value == part)


def _equals(target: Any, output: Mapping[str, Any]) -> bool:
    if isinstance(target, dict):
        return all(key in output and output[key] == part for key, part in target.items())
    return any(type(value) is type(target) and value == target for value in output.values())
