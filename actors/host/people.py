"""The part of the facade by which people step into executions: pause them, and take them up."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.pausing import pause, resume


class PeopleCalls(ABC):
    """What AgentRuntime offers for people. Session ids are execution ids."""

    @abstractmethod
    def _running(self) -> Assembly:
        """The parts of a started runtime. Raises RuntimeNotRunning."""

    async def pause(self, session_id: str, reason: str = "paused by the host") -> bool:
        """Pause an execution that is queued, runs or waits; True after the commit.

        A node that runs is stopped unfinished, and runs again on resume. Until then nothing of it
        is in memory. False when it is unknown, or there is nothing to pause. Raises as
        `cancel_execution`.
        """
        return await pause(self._running(), session_id, reason)

    async def resume(self, session_id: str, input_data: Mapping[str, Any] | None = None) -> None:
        """Take up an execution that is paused, failed, exhausted or held; returns after the commit.

        The values of `input_data` are set in its memory first. After a pause node it goes on at
        "<node>_resume" of the graph's entry points, else by the node's edges; else the node at
        which it stopped runs again, in the same visit, with `max_retries` attempts to come.
        Raises ExecutionNotFound, NotResumable, InvalidValue, and as `cancel_execution`.
        """
        await resume(self._running(), session_id, input_data)
