"""How far a goal is: its criteria (goal_criteria.py) measured on the fold of outcomes."""

from typing import Any, Final

import msgspec

from greenroom.protocol.goal import SUCCESS_SHARE, Constraint, Goal, SuccessCriterion
from greenroom.protocol.goal_criteria import COUNTS, bar_of, wanted_by
from greenroom.protocol.outcomes import OutcomeFold

COMPLETE_SHARE: Final = 0.95
POOR_SHARE: Final = 0.3
FEW_DECISIONS: Final = 10


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


class _Measured(msgspec.Struct, frozen=True):
    """A criterion's value. `share`: it is a part of a whole, and its own measure of progress."""

    value: float
    evidence: list[str]
    share: bool = False


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
    found, bar = _measured(criterion, fold), bar_of(criterion)
    met = bool(found.evidence) and bar.met(found.value)
    # A share tells more by itself than its part of the bar does.
    progress = found.value if found.share and bar.rises else bar.progress(found.value)
    if not found.evidence:
        progress = 0.0
    return CriterionProgress(criterion.description, met, progress, found.evidence)


def _measured(criterion: SuccessCriterion, fold: OutcomeFold) -> _Measured:
    completed = fold.ended.get("completed", 0)
    total = sum(fold.ended.values())
    decided = total - fold.ended.get("cancelled", 0)
    executions = list(fold.recent_executions)
    match criterion.metric:
        case "" | "success_rate":
            return _Measured(_share(completed, decided), executions, share=True)
        case "failure_rate":
            return _Measured(_share(decided - completed, decided), executions, share=True)
        case "node_success_rate":
            runs = fold.nodes_succeeded + fold.nodes_failed
            value = _share(fold.nodes_succeeded, runs)
            return _Measured(value, list(fold.recent_nodes), share=True)
    if criterion.metric in COUNTS:
        counts = {
            "executions_completed": completed,
            "executions_failed": decided - completed,
            "executions_total": total,
            "constraint_violations": fold.violations_total,
        }
        return _Measured(counts[criterion.metric], executions)
    tally = fold.tallies.get(criterion.id)
    if tally is None or tally.wanted != wanted_by(criterion):
        return _Measured(0.0, [])
    value = tally.sum / tally.seen if tally.seen else 0.0
    return _Measured(value, list(tally.evidence), share=not tally.numbers)


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
