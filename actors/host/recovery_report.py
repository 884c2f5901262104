"""What a start found in the store."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """Unfinished executions found at the start, by what became of them.

    `recovered` were in flight and run again from their last committed step, `queued` wait for a
    permit, `waiting` wait for a timer, `paused` for someone who resumes them; `held`
    maps those that cannot go on to the reason.
    """

    recovered: int = 0
    queued: int = 0
    waiting: int = 0
    paused: int = 0
    held: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return self.recovered + self.queued + self.waiting + self.paused + len(self.held)

    def __str__(self) -> str:
        return (
            f"recovered={self.recovered} queued={self.queued} "
            f"waiting={self.waiting} paused={self.paused} held={len(self.held)}"
        )
