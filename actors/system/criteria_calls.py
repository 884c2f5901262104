"""Asking users' functions about the outputs of executions, for the criteria of a goal."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from greenroom.actors.nodes.functions import FunctionRegistry
from greenroom.actors.nodes.host import is_async
from greenroom.actors.system.event_data import EventData
from greenroom.protocol.errors import RuntimeNotRunning, StorageError
from greenroom.protocol.events import EventBody
from greenroom.protocol.goal import Goal
from greenroom.protocol.goal_criteria import answer_of, failed_answer, functions_of
from greenroom.protocol.limits import CRITERION_TIMEOUT_S
from greenroom.protocol.messages import AnswerGiven
from greenroom.protocol.outcomes import Answer
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.goals")

NO_OUTPUT: Final = "its output was pruned before it was looked at"

Answered = Callable[[tuple[AnswerGiven, ...]], None]


class UserCode(Protocol):
    """Where users' code runs; a NodesHost."""

    def call_soon(self, run: Callable[[], object]) -> bool:
        """Have `run` called on the nodes' loop; from any thread."""
        ...

    def spawn(self, coroutine: Any) -> Any:
        """Run a coroutine as a task; on the nodes' loop."""
        ...

    async def in_pool(self, function: Callable[[], Any]) -> Any:
        """Call a plain function in the pool; on the nodes' loop."""
        ...


class CriteriaCalls:
    """Calls the functions of a goal's criteria where nodes run, one after the other, each with a
    limit of time; each gets a copy of the output of its own. Raises FunctionNotFound at
    construction.
    """

    def __init__(
        self, code: UserCode, functions: FunctionRegistry, goal: Goal, store: Store
    ) -> None:
        self._code = code
        self._functions: Mapping[str, Callable[..., Any]] = {
            criterion: functions.get(name).call for criterion, name in functions_of(goal).items()
        }
        self._data = EventData(store)

    @property
    def criteria(self) -> tuple[str, ...]:
        """The ids of the criteria that have a function."""
        return tuple(self._functions)

    def ask(self, completed: Sequence[tuple[int, EventBody]], answered: Answered) -> None:
        """Ask about each completed execution; `answered` gets all answers on the nodes' loop, none
        when the store cannot be read, or no thread is left, now. From any thread, never blocking.
        """
        jobs = tuple(completed)
        self._code.call_soon(lambda: self._code.spawn(self._ask_all(jobs, answered)))

    async def _ask_all(self, jobs: Sequence[tuple[int, EventBody]], answered: Answered) -> None:
        given: list[AnswerGiven] = []
        try:
            for seq, body in jobs:
                for criterion, function in self._functions.items():
                    data = await self._code.in_pool(partial(self._read, seq, body))
                    answer = await self._ask(criterion, function, data.get("output"))
                    given.append(AnswerGiven(seq, criterion, answer))
        except (StorageError, RuntimeNotRunning):
            logger.exception("the functions of criteria cannot be asked now")
            given = []
        answered(tuple(given))

    def _read(self, seq: int, body: EventBody) -> dict[str, Any]:
        return self._data.event(seq, body).data

    async def _ask(self, criterion: str, function: Callable[..., Any], output: Any) -> Answer:
        if not isinstance(output, dict):
            return failed_answer(NO_OUTPUT)
        try:
            async with asyncio.timeout(CRITERION_TIMEOUT_S):
                value = await self._call(function, output)
        except TimeoutError:
            return failed_answer(f"it took over {CRITERION_TIMEOUT_S:g} s, or timed out itself")
        except GeneratorExit:
            raise  # the loop is closed, and nobody is left to tell
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            logger.warning("the function of criterion %s failed", criterion, exc_info=error)
            return failed_answer(f"{type(error).__name__}: {error}")
        return answer_of(value)

    async def _call(self, function: Callable[..., Any], output: dict[str, Any]) -> Any:
        if is_async(function):
            return await function(output)
        value = await self._code.in_pool(partial(function, output))
        return await value if inspect.isawaitable(value) else value
