"""What is measured: the names, their units, and the samples of each."""

import statistics
from collections.abc import Iterable
from typing import Final

import msgspec

CLIENTS: Final = (1, 8, 64, 256)

_PER_SECOND: Final = "1/s"
_RATIO: Final = "ratio"

# In the order of the report. A name keeps its meaning for ever, so that files can be compared.
UNITS: Final[dict[str, str]] = {
    "fsync.before_ms": "ms",
    "messages.tell": _PER_SECOND,
    "messages.tell.stock_pykka": _PER_SECOND,
    "ratio.messages.tell": _RATIO,
    "messages.ask": _PER_SECOND,
    "messages.ping_pong": _PER_SECOND,
    "messages.fan_out_100": _PER_SECOND,
    **{f"floor.c{count}": _PER_SECOND for count in CLIENTS},
    **{f"steps.durable.c{count}": _PER_SECOND for count in CLIENTS},
    **{f"ratio.c{count}": _RATIO for count in CLIENTS},
    "execution.p50_ms": "ms",
    "execution.p99_ms": "ms",
    "floor.puts_per_step": "puts",
    "steps.durable.puts_per_step": "puts",
    "ratio.puts_per_step": _RATIO,
    "floor.bytes_per_step": "B",
    "steps.durable.bytes_per_step": "B",
    "ratio.bytes_per_step": _RATIO,
    "map.in_a_row": _PER_SECOND,
    "map.steps": _PER_SECOND,
    "map.ratio": _RATIO,
    "recovery.1000_s": "s",
    "recovery.same_steps_at_c64_s": "s",
    "storage.bytes_per_step.first100": "B",
    "storage.bytes_per_step.last100": "B",
    "storage.written_bytes_per_step": "B",
    "fsync.after_ms": "ms",
}


class Result(msgspec.Struct, frozen=True):
    """One measurement over its samples."""

    name: str
    unit: str
    median: float
    min: float
    max: float


class Measurements:
    """Samples by name. Adding under a name that `UNITS` lacks raises KeyError."""

    def __init__(self) -> None:
        self._samples: dict[str, list[float]] = {name: [] for name in UNITS}

    def add(self, name: str, value: float) -> None:
        """Add one sample."""
        self._samples[name].append(value)

    def add_all(self, name: str, values: Iterable[float]) -> None:
        """Add samples."""
        self._samples[name].extend(values)

    def median(self, name: str) -> float:
        """Median of the samples so far; raises statistics.StatisticsError when there are none."""
        return statistics.median(self._samples[name])

    def results(self) -> list[Result]:
        """Every measurement that has samples, in the order of `UNITS`."""
        return [
            Result(name, UNITS[name], statistics.median(samples), min(samples), max(samples))
            for name, samples in self._samples.items()
            if samples
        ]


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie, by nearest rank. `values` is not empty."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
