"""What the agent is for, and how its success is measured."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from greenroom.protocol.ids import validate_id
from greenroom.protocol.limits import GOAL_RULES_MAX
from greenroom.protocol.settings import check_number, member, require

SUCCESS_SHARE: Final = 0.9


class GoalStatus(StrEnum):
    """Where a goal is in its life; a label for the user, set by the user."""

    DRAFT = "draft"
    READY = "ready"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    SUSPENDED = "suspended"


class ConstraintType(StrEnum):
    """Whether breaking a constraint fails the goal (`hard`) or only counts against it (`soft`)."""

    HARD = "hard"
    SOFT = "soft"


if TYPE_CHECKING:  # a plain str is accepted and converted; decoding knows the members only
    GoalStatusLike: TypeAlias = GoalStatus | str
    ConstraintTypeLike: TypeAlias = ConstraintType | str
else:
    GoalStatusLike = GoalStatus
    ConstraintTypeLike = ConstraintType


class SuccessCriterion(msgspec.Struct, frozen=True, kw_only=True):
    """One measurable part of success: `metric` names what is measured, `target` is the bar.

    `weight` is its share, from 0 to 1. Raises InvalidId and InvalidConfig at construction.
    """

    id: str
    description: str = ""
    metric: str = ""
    target: Any = None
    weight: float = 1.0
    met: bool = False

    def __post_init__(self) -> None:
        validate_id("success criterion", self.id)
        check_number(f"success criterion {self.id!r}: weight", self.weight, 0, 1)


class Constraint(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that the agent must (`hard`) or should (`soft`) keep.

    `check` is an expression that holds while the rule is kept, as in
    `metrics.steps < 20 and memory.get("cost", 0) < 5`, see `engine/constraints.py`; without one the
    rule is only told, and violations of it are recorded by the host. Raises InvalidId and
    InvalidConfig at construction.
    """

    id: str
    description: str = ""
    constraint_type: ConstraintTypeLike = ConstraintType.HARD
    category: str = "general"
    check: str = ""

    def __post_init__(self) -> None:
        validate_id("constraint", self.id)
        name = f"constraint {self.id!r}: constraint_type"
        require(isinstance(self.check, str), f"constraint {self.id!r}: check must be an expression")
        kind = member(name, self.constraint_type, ConstraintType)
        msgspec.structs.force_setattr(self, "constraint_type", kind)

    @property
    def is_hard(self) -> bool:
        """Whether breaking it fails the goal."""
        return self.constraint_type == ConstraintType.HARD


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A goal with its criteria and constraints. Timestamps are the user's to give.

    Raises InvalidId and InvalidConfig when constructed with values that cannot be used.
    """

    id: str
    name: str = ""
    description: str = ""
    status: GoalStatusLike = GoalStatus.DRAFT
    success_criteria: list[SuccessCriterion] = []
    constraints: list[Constraint] = []
    context: dict[str, Any] = {}
    required_capabilities: list[str] = []
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}
    version: str = "1.0.0"
    parent_version: str | None = None
    evolution_reason: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        validate_id("goal", self.id)
        if not self.name:
            msgspec.structs.force_setattr(self, "name", self.id)
        where = f"goal {self.id!r}: "
        msgspec.structs.force_setattr(
            self, "status", member(where + "status", self.status, GoalStatus)
        )
        for field, kind in (("success_criteria", SuccessCriterion), ("constraints", Constraint)):
            items = getattr(self, field)
            require(
                isinstance(items, list | tuple) and all(isinstance(item, kind) for item in items),
                f"{where}{field} must be a list of {kind.__name__}",
            )
            ids = [item.id for item in items]
            require(len(ids) <= GOAL_RULES_MAX, f"{where}{field} has over {GOAL_RULES_MAX} items")
            twice = sorted({name for name in ids if ids.count(name) > 1})
            require(not twice, f"{where}{field} has the ids {twice} more than once")

    def is_success(self) -> bool:
        """Whether the criteria met weigh at least 90 % of all; False without criteria."""
        total = sum(criterion.weight for criterion in self.success_criteria)
        met = sum(criterion.weight for criterion in self.success_criteria if criterion.met)
        return total > 0 and met >= SUCCESS_SHARE * total

    def to_prompt_context(self) -> str:
        """Return the goal as Markdown text for a prompt."""
        lines = [f"# Goal: {self.name}", self.description, "", "## Success Criteria:"]
        lines += [f"- {criterion.description}" for criterion in self.success_criteria]
        if self.constraints:
            lines += ["", "## Constraints:"]
            lines += [
                f"- [{'MUST' if constraint.is_hard else 'SHOULD'}] {constraint.description}"
                for constraint in self.constraints
            ]
        if self.context:
            lines += ["", "## Context:"]
            lines += [f"- {key}: {value}" for key, value in self.context.items()]
        return "\n".join(lines)
