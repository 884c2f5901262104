"""The results as tables for a person."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from greenroom.benchmarks.bars import Bar
from greenroom.benchmarks.measurements import Result


def show(
    machine: Mapping[str, str | int],
    results: Sequence[Result],
    bars: Sequence[Bar],
    console: Console,
) -> None:
    """Print where it ran, every measurement, and the bars."""
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), markup=False)
    table = Table("measurement", "unit", box=None, pad_edge=False)
    for heading in ("median", "min", "max"):
        table.add_column(heading, justify="right")
    for result in results:
        numbers = (number_text(one) for one in (result.median, result.min, result.max))
        table.add_row(result.name, result.unit, *numbers)
    console.print(table)
    if not bars:
        return
    held = Table("bar", box=None, pad_edge=False)
    for heading in ("value", "", "limit"):
        held.add_column(heading, justify="right")
    held.add_column("held")
    for bar in bars:
        value, limit = number_text(bar.value), number_text(bar.limit)
        held.add_row(bar.name, value, bar.relation, limit, "yes" if bar.held else "NO")
    console.print()
    console.print(held)


def number_text(value: float) -> str:
    """Return a number as text, with the digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 1:
        return f"{value:.2f}"
    return f"{value:.4f}"
