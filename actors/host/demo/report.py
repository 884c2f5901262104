"""The result of the demo: what was promised, what came of it, and how it is known."""

from typing import Any, Final

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

_RESULT: Final = (
    "accepted",
    "rejected",
    "duplicates",
    "completed",
    "lost",
    "repeated_steps",
    "stream_restarts",
    "recovered",
    "elapsed_s",
)
_LABELS_SHOWN_MAX: Final = 12


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one run.

    `accepted` executions were acknowledged: webhooks with a 202 that was no duplicate, and calls.
    `ended_otherwise` are those that failed or were cancelled, `lost` those that have neither
    completed nor ended. `repeated_steps` are node runs that
    the second process entered although a step that ended them was committed before the kill.
    `recovered` is what the second start resumed. `wrong` lists answers that should have been
    others.
    """

    accepted: int
    rejected: int
    duplicates: int
    completed: int
    ended_otherwise: int
    lost: int
    repeated_steps: int
    stream_restarts: int
    recovered: int
    elapsed_s: float
    unfinished_at_kill: int
    in_flight_at_kill: int
    committed_before_kill: int
    entered_after_kill: int
    steps: int
    by_entry_point: dict[str, int]
    completed_by_entry_point: dict[str, int]
    digest: dict[str, Any]
    goal: dict[str, Any]
    wrong: list[str]
    pids: tuple[int, int]
    store: str

    @property
    def proved(self) -> bool:
        """Everything acknowledged has completed, nothing committed ran again, every answer was
        right.
        """
        return not (self.lost or self.ended_otherwise or self.repeated_steps or self.wrong)

    def result(self) -> dict[str, Any]:
        """The numbers that `--json` gives; there `lost` is all that has not completed."""
        numbers = {name: getattr(self, name) for name in _RESULT}
        return numbers | {"lost": self.lost + self.ended_otherwise}


def show_report(report: DemoReport, console: Console) -> None:
    """Write the report for people; plain text where the console is no terminal."""
    console.print(_executions(report))
    console.print()
    console.print(_events(report))
    console.print()
    for line in _goal(report):
        console.print(line, highlight=False)
    console.print()
    console.print(_proof(report))
    console.print()
    for wrong in report.wrong:
        console.print(f"wrong: {wrong}", markup=False, highlight=False)
    verdict = "PROVED" if report.proved else "FAILED"
    otherwise = f"{report.ended_otherwise} ended otherwise, " if report.ended_otherwise else ""
    console.print(
        f"{verdict}: {report.accepted} accepted, {report.completed} completed, "
        f"{otherwise}{report.lost} lost, {report.repeated_steps} steps repeated, "
        f"in {report.elapsed_s:.1f} s",
        style="bold green" if report.proved else "bold red",
        highlight=False,
        soft_wrap=True,
    )


def _table(title: str, *, heads: bool = True) -> Table:
    return Table(
        title=title, title_justify="left", show_header=heads, box=box.SIMPLE, show_edge=False
    )


def _executions(report: DemoReport) -> Table:
    table = _table("Executions")
    table.add_column("entry point")
    table.add_column("started", justify="right")
    table.add_column("completed", justify="right")
    for point, count in report.by_entry_point.items():
        table.add_row(point, str(count), str(report.completed_by_entry_point[point]))
    return table


def _events(report: DemoReport) -> Table:
    table = _table("What happened", heads=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "webhooks and calls accepted": report.accepted,
        "forged webhooks refused": report.rejected,
        "repeats answered with the first execution": report.duplicates,
        "streams restarted by their supervisor": report.stream_restarts,
        "unfinished executions when the process was killed": report.unfinished_at_kill,
        "nodes in flight when the process was killed": report.in_flight_at_kill,
        "executions that the second process resumed": report.recovered,
        "steps committed": report.steps,
        "steps per second, over the whole run": round(report.steps / max(report.elapsed_s, 0.001)),
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _proof(report: DemoReport) -> Table:
    first, second = report.pids
    table = _table("Proof", heads=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row(
        f"node runs committed before process {first} died", str(report.committed_before_kill)
    )
    table.add_row(f"node runs that process {second} entered", str(report.entered_after_kill))
    table.add_row("of these, committed before: repeated steps", str(report.repeated_steps))
    table.add_row("acknowledged and failed or cancelled", str(report.ended_otherwise))
    table.add_row("acknowledged and neither completed nor ended: lost", str(report.lost))
    return table


def _goal(report: DemoReport) -> list[str]:
    lines = []
    share = report.goal.get("overall_progress")
    if isinstance(share, int | float):
        lines.append(f"Goal progress: {share:.0%}")
    labels = sorted(report.digest.get("labels", {}).items(), key=lambda pair: (-pair[1], pair[0]))
    if labels:
        shown = ", ".join(f"{name} {count}" for name, count in labels[:_LABELS_SHOWN_MAX])
        lines.append(f"Labels given: {shown}")
    return lines
