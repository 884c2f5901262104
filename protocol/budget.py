"""Budgets: how much one execution may use, and what happens when that is not enough."""

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec

from greenroom.protocol.limits import BUDGET_WALL_S_MAX, STEPS_MAX
from greenroom.protocol.settings import check_integer, check_number, member, require


class OnBreach(StrEnum):
    """What becomes of an execution that needs more than its budget: it ends as exhausted, is paused
    until somebody resumes it, with a larger budget, or waits and asks whether it may go on.
    """

    END = "end"
    PAUSE = "pause"
    ASK = "ask"


if TYPE_CHECKING:  # a plain str is accepted and converted; decoding knows the members only
    OnBreachLike: TypeAlias = OnBreach | str
else:
    OnBreachLike = OnBreach

WALL_S_MIN: Final = 0.01
_NOTHING_S: Final = 0.001  # so little time left is none: clocks and sums are not exact

BudgetPart: TypeAlias = Literal["steps", "wall_s"]
"""A field of Budget that is a limit."""


class Spent(NamedTuple):
    """A part of a budget that is used up, and a text that says so."""

    part: BudgetPart
    why: str


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much one execution may use in all; None is without a limit.

    `steps`: runs of nodes that came to an end, retries included. A run that a crash or a pause cut
    off, or that lost a race for a key, came to none. `wall_s`: seconds in which it runs; time in
    which it is queued, waits or is paused does not count. Both are settled in the step that closes
    a run. Raises InvalidConfig for values that cannot be used.
    """

    steps: int | None = None
    wall_s: float | None = None
    on_breach: OnBreachLike = OnBreach.END

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_integer("budget.steps", self.steps, 1, STEPS_MAX)
        if self.wall_s is not None:
            check_number("budget.wall_s", self.wall_s, WALL_S_MIN, BUDGET_WALL_S_MAX)
            # As it will be when it was stored and read.
            msgspec.structs.force_setattr(self, "wall_s", float(self.wall_s))
        on_breach = member("budget.on_breach", self.on_breach, OnBreach)
        msgspec.structs.force_setattr(self, "on_breach", on_breach)

    def used_up(self, steps: int, wall_s: float) -> Spent | None:
        """Say which part is used up by so much, None while none is."""
        limit, limit_s = self.steps, self.wall_s
        if limit is not None and steps >= limit:
            return Spent("steps", f"its budget of steps is used up: {steps} of {limit}")
        if limit_s is not None and limit_s - wall_s < _NOTHING_S:
            why = f"its budget of time is used up: {wall_s:.3f} of {limit_s:g} s"
            return Spent("wall_s", why)
        return None

    def limit_of(self, part: BudgetPart) -> float:
        """Return the limit of a part that has one."""
        limit = self.steps if part == "steps" else self.wall_s
        assert limit is not None, "no limit is never used up"
        return limit

    def extended(self, part: BudgetPart, more: float) -> "Budget":
        """Return a budget with so much more of a part that has a limit; no limit grows over the
        largest that there is.
        """
        limit = self.limit_of(part) + more
        if part == "steps":
            return msgspec.structs.replace(self, steps=min(int(limit), STEPS_MAX))
        return msgspec.structs.replace(self, wall_s=min(limit, BUDGET_WALL_S_MAX))


def counts_time(timeout_s: float | None, budget: Budget | None) -> bool:
    """Say whether the time in which an execution runs is counted."""
    return timeout_s is not None or (budget is not None and budget.wall_s is not None)


def check_budget(budget: object) -> None:
    """Require a Budget, or None. Raises InvalidConfig."""
    kind = type(budget).__name__
    require(budget is None or isinstance(budget, Budget), f"budget is a {kind}: use a Budget")
