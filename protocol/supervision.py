"""Restart rules: which children restart, when, and how often is too often. Pure; the caller brings
time and chance.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
OnIntensity = Literal["escalate", "give_up"]


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting time before a restart, in seconds: `initial_s`, then times `factor` each time, at
    most `max_s`.

    `jitter` is the share of the delay that chance may take away, so that many children do not
    return together.
    """

    initial_s: Annotated[float, msgspec.Meta(gt=0)] = 0.05
    factor: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    max_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after `failures` failures in a row (from 1); `chance` is in [0, 1)."""
        growth = min(max(failures, 1) - 1, 64)
        try:
            delay = min(self.initial_s * self.factor**growth, self.max_s)
        except OverflowError:
            delay = self.max_s
        return delay * (1.0 - self.jitter * chance)


class Intensity(msgspec.Struct, frozen=True, kw_only=True):
    """At most `restarts_max` restarts in any `window_s` seconds; one more is too many."""

    restarts_max: Annotated[int, msgspec.Meta(ge=0)] = 3
    window_s: Annotated[float, msgspec.Meta(gt=0)] = 5.0


def record_failure(
    failures: Sequence[float], now: float, intensity: Intensity
) -> tuple[tuple[float, ...], bool]:
    """Add a failure at `now` (monotonic seconds); return the failures still in the window and if
    they are too many.

    What is kept never exceeds `restarts_max + 1`, whatever the clock does.
    """
    oldest = now - intensity.window_s
    kept = (*(at for at in failures if at > oldest), now)
    exceeded = len(kept) > intensity.restarts_max
    return kept[-(intensity.restarts_max + 1) :], exceeded


def wants_restart(restart: Restart, *, normal: bool) -> bool:
    """True if a child that ended (`normal`: by itself, without an error) is to be started again."""
    match restart:
        case "permanent":
            return True
        case "transient":
            return not normal
        case "temporary":
            return False


def affected(strategy: Strategy, order: Sequence[str], failed: str) -> tuple[str, ...]:
    """The children to restart when `failed` ended, in start order; `failed` is one of them."""
    match strategy:
        case "one_for_one":
            return (failed,)
        case "one_for_all":
            return tuple(order)
        case "rest_for_one":
            return tuple(order[order.index(failed) :])


def restart_delay(backoff: Backoff, failures: int, chance: float, *, at_start: bool) -> float:
    """Seconds before the next start. The first crash of a running child restarts at once; a failed
    start never does.
    """
    if at_start:
        return backoff.delay(failures, chance)
    return 0.0 if failures <= 1 else backoff.delay(failures - 1, chance)
