"""What a user declares of branches that run side by side, and of maps over a list."""

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from greenroom.protocol.limits import (
    BRANCH_TIMEOUT_S_DEFAULT,
    MAP_CONCURRENCY_DEFAULT,
    MAP_CONCURRENCY_MAX,
    TIMEOUT_S_MAX,
)
from greenroom.protocol.settings import check_integer, check_number, member, require


class OnBranchFailure(StrEnum):
    """What a failed branch means for its siblings and for the fan-out.

    `fail_all`: the siblings are stopped and the fan-out has failed. `continue_others`: the siblings
    run on, and what they return is joined without the failed one; the fan-out has failed only when
    no branch is left. `wait_all`: the siblings run to their ends, then the fan-out has failed, with
    every failure in its error.
    """

    FAIL_ALL = "fail_all"
    CONTINUE_OTHERS = "continue_others"
    WAIT_ALL = "wait_all"


class MemoryConflictStrategy(StrEnum):
    """What counts at the join when several branches wrote one key, in the order of their edges.

    `last_wins` and `first_wins` take one of the values; with `error` different values fail the
    fan-out.
    """

    LAST_WINS = "last_wins"
    FIRST_WINS = "first_wins"
    ERROR = "error"


if TYPE_CHECKING:  # a plain str is accepted and converted; decoding knows the members only
    OnBranchFailureLike: TypeAlias = OnBranchFailure | str
    MemoryConflictLike: TypeAlias = MemoryConflictStrategy | str
else:
    OnBranchFailureLike = OnBranchFailure
    MemoryConflictLike = MemoryConflictStrategy


class ParallelExecutionConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How branches that run side by side fail, merge and time out.

    `branch_timeout_seconds` is the time that one branch may run; while it waits for people, a time
    or a permit, is paused, or the store is closed, it does not count. 0 fails the branch at once,
    None waits for ever. Raises InvalidConfig for values that cannot be used.
    """

    on_branch_failure: OnBranchFailureLike = OnBranchFailure.FAIL_ALL
    memory_conflict_strategy: MemoryConflictLike = MemoryConflictStrategy.LAST_WINS
    branch_timeout_seconds: float | None = BRANCH_TIMEOUT_S_DEFAULT

    def __post_init__(self) -> None:
        failure = member("on_branch_failure", self.on_branch_failure, OnBranchFailure)
        conflict = member(
            "memory_conflict_strategy", self.memory_conflict_strategy, MemoryConflictStrategy
        )
        msgspec.structs.force_setattr(self, "on_branch_failure", failure)
        msgspec.structs.force_setattr(self, "memory_conflict_strategy", conflict)
        if self.branch_timeout_seconds is not None:
            check_number("branch_timeout_seconds", self.branch_timeout_seconds, 0, TIMEOUT_S_MAX)
            # As it will be when it was stored and read.
            msgspec.structs.force_setattr(
                self, "branch_timeout_seconds", float(self.branch_timeout_seconds)
            )

    @property
    def failure(self) -> OnBranchFailure:
        """`on_branch_failure` as the enum member that it always is after construction."""
        return OnBranchFailure(self.on_branch_failure)

    @property
    def conflict(self) -> MemoryConflictStrategy:
        """`memory_conflict_strategy` as the enum member that it always is after construction."""
        return MemoryConflictStrategy(self.memory_conflict_strategy)


PARALLEL_DEFAULT: Final = ParallelExecutionConfig()


class MapSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Runs the target of an edge once for each element of a list, at most `concurrency` at a time.

    `over` is the key of the list, in the output of the edge's source or else in memory. Each run is
    a branch, which finds its element under `item` and its place, from 0, under `index`, if that is
    given. It begins at the edge's target and ends before `until`, by default the node at which all
    ways from the target meet. There, the list of what the branches wrote under `collect`, or of all
    that each wrote, as a dict, is in memory under `into`, in the order of the elements. A branch
    that failed, where that does not fail the others, has None in its place. Raises InvalidConfig
    for values that cannot be used.
    """

    over: str
    item: str = "item"
    index: str | None = None
    collect: str | None = None
    into: str = "results"
    until: str | None = None
    concurrency: int = MAP_CONCURRENCY_DEFAULT

    def __post_init__(self) -> None:
        for name in ("over", "item", "into"):
            key = getattr(self, name)
            require(isinstance(key, str) and bool(key), f"map: {name} is {key!a:.80}: use a key")
        for name in ("index", "collect", "until"):
            key = getattr(self, name)
            fits = key is None or (isinstance(key, str) and bool(key))
            require(fits, f"map: {name} is {key!a:.80}: use a name, or None")
        require(self.index != self.item, f"map: item and index are both {self.item!a:.80}")
        check_integer("map: concurrency", self.concurrency, 1, MAP_CONCURRENCY_MAX)
