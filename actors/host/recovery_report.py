"""What a start found in the store."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """Unfinished executions found at the start, by what became of them.

    `recovered` were in flight and run again from their last committed step, `queued` wait for a
    permit, `waiting` wait for a timer or a person, `paused` for someone who resumes them;
    `released` were held because they did not fit the graph, and go on; `held` maps those that
    cannot go on to the reason. Of these, `compatible` stood at another version of the graph and
    fit this one as they are, `migrated` were made to fit; what is paused is judged when it is
    resumed.
    """

    recovered: int = 0
    queued: int = 0
    waiting: int = 0
    paused: int = 0
    held: dict[str, str] = field(default_factory=dict)
    released: int = 0
    compatible: int = 0
    migrated: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        going_on = self.recovered + self.queued + self.waiting + self.released
        return going_on + self.paused + len(self.held)

    def __str__(self) -> str:
        seldom = {
            "released": self.released,
            "compatible": self.compatible,
            "migrated": self.migrated,
        }
        return (
            f"recovered={self.recovered} queued={self.queued} "
            f"waiting={self.waiting} paused={self.paused} held={len(self.held)}"
        ) + "".join(f" {name}={count}" for name, count in seldom.items() if count)
