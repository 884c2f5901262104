"""Starts and stops, one at a time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Lifecycle:
    """Runs one change of state at a time, on one event loop.

    A change goes on when its caller is cancelled: a start or stop that was left half-way would
    leave a locked store behind. Whoever comes meanwhile waits for it.
    """

    def __init__(self) -> None:
        self._changing: asyncio.Task[None] | None = None

    @property
    def changing(self) -> bool:
        """True while a start or stop is under way."""
        return self._changing is not None

    async def change(self, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `change` after the one that is under way; raises what it raises."""
        while self._changing is not None:
            await asyncio.wait([self._changing])
        task = asyncio.get_running_loop().create_task(change())
        self._changing = task
        task.add_done_callback(self._changed)
        await asyncio.shield(task)

    def _changed(self, task: "asyncio.Task[None]") -> None:
        if self._changing is task:
            self._changing = None
