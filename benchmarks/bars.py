"""The bars: what the measurements are held against. They are reported and change no result."""

from collections.abc import Sequence

import msgspec

from greenroom.benchmarks.measurements import Result


class Bar(msgspec.Struct, frozen=True):
    """One bar: `value` is to be at least, or at most, `limit`."""

    name: str
    value: float
    relation: str  # ">=" or "<="
    limit: float
    held: bool


def bars(results: Sequence[Result]) -> list[Bar]:
    """Every bar whose measurements are there, by their medians."""
    median = {result.name: result.median for result in results}
    recovery_limit = max(2.0, 3 * median.get("recovery.same_steps_at_c64_s", 0.0))
    growth_limit = 1.2 * median.get("storage.bytes_per_step.first100", 0.0)
    wanted = (
        ("ratio.c64", ">=", 0.25),
        ("ratio.puts_per_step", "<=", 1.5),
        ("ratio.bytes_per_step", "<=", 1.5),
        ("ratio.messages.tell", ">=", 1.8),
        ("map.ratio", ">=", 0.7),
        ("recovery.1000_s", "<=", recovery_limit),
        ("storage.bytes_per_step.last100", "<=", growth_limit),
    )
    return [
        Bar(name, median[name], relation, limit, _holds(median[name], relation, limit))
        for name, relation, limit in wanted
        if name in median
    ]


def _holds(value: float, relation: str, limit: float) -> bool:
    return value >= limit if relation == ">=" else value <= limit
