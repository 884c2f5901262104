"""How far a goal is: its criteria measured on the fold of outcomes.

A criterion's `metric` is one of METRICS; every other one would never be measured and is refused.
Shares (`success_rate`, `node_success_rate`, `output_contains`, `output_equals`) are compared with a
target from 0 to 1 or "N%", counts (`executions_completed`, `executions_total`) with a number.

* `success_rate`, also for an empty metric: executions that completed, of all that ended by
  themselves (cancelled ones count neither way).
* `node_success_rate`: node runs that succeeded, of all that ended.
* `executions_completed`, `executions_total`: executions that completed, or ended in any way.
* `output_contains`, `output_equals`: completed executions whose output holds the target, of all
  completed. A dict as target is compared key by key; text is looked for in every text of the
  output, any other value among the output's values.
"""

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any, Final

import msgspec

from greenroom.protocol.errors import InvalidConfig, InvalidInput, UnsupportedSetting
from greenroom.protocol.goal import SUCCESS_SHARE, Constraint, Goal, SuccessCriterion
from greenroom.protocol.outcomes import Matcher, OutcomeFold
from greenroom.protocol.values import to_storable

SHARE_DEFAULT: Final = 0.8  # the bar of a share without a target of its own
COMPLETE_SHARE: Final = 0.95
POOR_SHARE: Final = 0.3
FEW_DECISIONS: Final = 10

_SHARES: Final = frozenset({"", "success_rate", "node_success_rate"})
_COUNTS: Final = frozenset({"executions_completed", "executions_total"})
_OUTPUTS: Final = frozenset({"output_contains", "output_equals"})
METRICS: Final = tuple(sorted((_SHARES | _COUNTS | _OUTPUTS) - {""}))


class CriterionProgress(msgspec.Struct, frozen=True):
    """One criterion measured. `progress` is from 0 to 1."""

    description: str
    met: bool
    progress: float
    evidence: list[str]


class GoalProgress(msgspec.Struct, frozen=True):
    """A goal measured. `achieved`: enough criteria are met, and no hard constraint is violated."""

    overall: float
    criteria: dict[str, CriterionProgress]
    achieved: bool
    recommendation: str  # "continue", "complete" or "adjust"

    def criteria_status(self) -> dict[str, dict[str, Any]]:
        """The criteria as plain data."""
        return {name: msgspec.structs.asdict(one) for name, one in self.criteria.items()}

    def fingerprint(self) -> str:
        """Equal for two measurements between which nothing changed for the goal."""
        parts = [f"{name}={one.progress:.6f}/{one.met:d}" for name, one in self.criteria.items()]
        return f"{self.overall:.6f} {' '.join(parts)}"


def unsupported_criteria(goal: Goal) -> list[InvalidInput]:
    """Return an error for each criterion that could never be measured: an unknown metric, or a
    target that does not fit its metric.
    """
    found: list[InvalidInput] = []
    for criterion in goal.success_criteria:
        where = f"success criterion {criterion.id!r}"
        if criterion.metric not in _SHARES | _COUNTS | _OUTPUTS:
            name = f"{where}: the metric {criterion.metric!a:.60}"
            found.append(UnsupportedSetting(name, f"measured are {', '.join(METRICS)}"))
            continue
        try:
            _bar(criterion)
        except InvalidInput as error:
            found.append(InvalidConfig(f"{where}: {error}"))
    return found


def check_criteria(goal: Goal) -> None:
    """Raise the first error of `unsupported_criteria`, if there is one."""
    for error in unsupported_criteria(goal):
        raise error


def output_matchers(goal: Goal) -> dict[str, tuple[str, Matcher]]:
    """Return what `fold_event` needs for the criteria that look at outputs."""
    rules: dict[str, Callable[[Any, dict[str, Any]], bool]] = {
        "output_contains": _contains,
        "output_equals": _equals,
    }
    return {
        one.id: (_wanted(one), partial(rules[one.metric], to_storable(one.target)))
        for one in goal.success_criteria
        if one.metric in rules
    }


def measure(goal: Goal, fold: OutcomeFold) -> GoalProgress:
    """Measure the goal's criteria and constraints on what was folded."""
    criteria = {one.id: _measure_criterion(one, fold) for one in goal.success_criteria}
    total = sum(one.weight for one in goal.success_criteria)
    reached = met = 0.0
    for one in goal.success_criteria:
        status = criteria[one.id]
        reached += one.weight * (1.0 if status.met else status.progress)
        met += one.weight * status.met
    overall = reached / total if total else 0.0
    broken = any(_is_hard(goal.constraints, name) for name in fold.violated)
    decisions = fold.nodes_succeeded + fold.nodes_failed
    return GoalProgress(
        overall=overall,
        criteria=criteria,
        achieved=total > 0 and met >= SUCCESS_SHARE * total and not broken,
        recommendation=_recommend(overall, broken, decisions),
    )


def describe(goal: Goal, fold: OutcomeFold) -> dict[str, Any]:
    """Return the goal's progress as plain data, as `get_goal_progress` gives it."""
    progress = measure(goal, fold)
    return {
        "overall_progress": progress.overall,
        "criteria_status": progress.criteria_status(),
        "constraint_violations": [one.to_dict() for one in fold.violations],
        "metrics": metrics(fold),
        "recommendation": progress.recommendation,
    }


def metrics(fold: OutcomeFold) -> dict[str, Any]:
    """Return the counts. A decision is a node run that ended; `success_rate` is of decisions."""
    decisions = fold.nodes_succeeded + fold.nodes_failed
    return {
        "total_decisions": decisions,
        "successful_outcomes": fold.nodes_succeeded,
        "failed_outcomes": fold.nodes_failed,
        "success_rate": _share(fold.nodes_succeeded, decisions),
        "streams_active": len(fold.streams),
        "executions_total": sum(fold.ended.values()),
        "executions_started": fold.started,
        "executions_by_status": dict(fold.ended),
        "constraint_violations_total": fold.violations_total,
    }


def _measure_criterion(criterion: SuccessCriterion, fold: OutcomeFold) -> CriterionProgress:
    value, evidence = _value(criterion, fold)
    bar = _bar(criterion)
    progress = min(1.0, value / bar) if criterion.metric in _COUNTS else value
    met = value >= bar and bool(evidence)
    return CriterionProgress(criterion.description, met, progress, evidence)


def _value(criterion: SuccessCriterion, fold: OutcomeFold) -> tuple[float, list[str]]:
    completed = fold.ended.get("completed", 0)
    total = sum(fold.ended.values())
    match criterion.metric:
        case "node_success_rate":
            runs = fold.nodes_succeeded + fold.nodes_failed
            return _share(fold.nodes_succeeded, runs), list(fold.recent_nodes)
        case "executions_completed":
            return completed, list(fold.recent_executions)
        case "executions_total":
            return total, list(fold.recent_executions)
        case "output_contains" | "output_equals":
            tally = fold.matches.get(criterion.id)
            if tally is None or tally.wanted != _wanted(criterion):
                return 0.0, []
            return _share(tally.count, tally.seen), list(tally.evidence)
        case _:
            decided = total - fold.ended.get("cancelled", 0)
            return _share(completed, decided), list(fold.recent_executions)


def _wanted(criterion: SuccessCriterion) -> str:
    return f"{criterion.metric} {criterion.target!r}"[:500]


def _bar(criterion: SuccessCriterion) -> float:
    target = criterion.target
    if criterion.metric in _OUTPUTS:
        if target is None:
            raise InvalidConfig(f"{criterion.metric} needs a target: what the output should hold")
        to_storable(target, "target")
        return SHARE_DEFAULT
    counts = criterion.metric in _COUNTS
    if target is None:
        return 1.0 if counts else SHARE_DEFAULT
    number = _number(target)
    if counts:
        if number is None or number <= 0:
            raise InvalidConfig(f"the target {target!a:.60} is no count: use a number above 0")
        return number
    if isinstance(target, str) and target.strip().endswith("%"):
        number = _number(target.strip()[:-1])
        number = None if number is None else number / 100
    if number is None or not 0 <= number <= 1:
        raise InvalidConfig(f"the target {target!a:.60} is no share: use 0 to 1, or 'N%'")
    return number


def _number(target: object) -> float | None:
    if isinstance(target, bool) or not isinstance(target, int | float | str):
        return None
    try:
        number = float(target)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _is_hard(constraints: list[Constraint], name: str) -> bool:
    return any(one.is_hard for one in constraints if one.id == name)


def _recommend(overall: float, broken: bool, decisions: int) -> str:
    if broken:
        return "adjust"
    if overall >= COMPLETE_SHARE:
        return "complete"
    if overall < POOR_SHARE and decisions > FEW_DECISIONS:
        return "adjust"
    return "continue"


def _contains(target: Any, output: dict[str, Any]) -> bool:
    if isinstance(target, dict):
        return all(key in output and _holds(output[key], part) for key, part in target.items())
    return _holds(output, target)


def _holds(value: Any, part: Any) -> bool:
    """Whether `part` is in `value`, or in something that `value` contains."""
    if isinstance(value, str) and isinstance(part, str):
        return part in value
    if isinstance(value, dict):
        return any(_holds(item, part) for item in value.values())
    if isinstance(value, list):
        return any(_holds(item, part) for item in value)
    return bool(type(value) is type(part) and value == part)


def _equals(target: Any, output: dict[str, Any]) -> bool:
    if isinstance(target, dict):
        return all(key in output and output[key] == part for key, part in target.items())
    return any(type(value) is type(target) and value == target for value in output.values())
