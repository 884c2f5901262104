"""What the demo shows while it works: a bar on a terminal, a line for each stage in a pipe."""

import sys
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

STAGES: Final = 6


class Progress:
    """Shows stages as they begin, on standard error: a pipe gets the report only."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(file=sys.stderr, highlight=False)
        self._stage = 0
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=STAGES, detail="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, text: str) -> None:
        """The next stage begins."""
        self._stage += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text, completed=self._stage - 1)
        elif not self._quiet:
            self._console.print(f"{self._stage}/{STAGES} {text}", soft_wrap=True)

    def count(self, done: int, total: int) -> None:
        """How far the present stage has come; on a terminal only."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                detail=f"{done} of {total}",
                completed=self._stage - 1 + (done / total if total else 0),
            )
