"""What callers wait for: the acceptance of a trigger, and the end of an execution.

Callers wait on their own event loops, streams post from the runtime's loop. Posts gather until the
end of a stream's slice and then cost one wake-up per waiting loop, however many there are.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from greenroom.actors.kernel.synchronisation import new_lock
from greenroom.protocol.commit import CommitOutcome, OutcomeKind
from greenroom.protocol.engine.result import ExecutionResult, result_of
from greenroom.protocol.execution import ExecutionState

logger = logging.getLogger("greenroom.host")

Lookup = Callable[[str], ExecutionState | None]


class _Waiter(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    only_refusals: bool = False
    entry_point: str = ""
    execution_id: str = ""


class CompletionBoard:
    """Connects waiting callers and streams. Callers on any loop, streams on the runtime's.

    `lookup` gives the state of an execution that has ended or is held, as the store has it, else
    None. A waiter registers first and looks at the store afterwards, and a stream posts only what
    the store has already, so no end is missed.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._lock = new_lock()  # of two callers; a stream takes a whole list out at once
        self._numbers = itertools.count(1)
        self._requests: dict[int, _Waiter] = {}
        self._waiters: dict[str, list[_Waiter]] = {}
        self._posts: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        self._closed: Callable[[str], BaseException] | None = None

    # --- callers

    def open_request(
        self, entry_point: str, execution_id: str
    ) -> tuple[int, "asyncio.Future[CommitOutcome]"]:
        """A number for a trigger, and the future of its outcome on the caller's loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CommitOutcome] = loop.create_future()
        request = next(self._numbers)
        self._requests[request] = _Waiter(loop, future, False, entry_point, execution_id)
        if self._closed is not None:  # asked last: a close meanwhile may have missed it
            _reject(future, self._closed(execution_id))
        return request, future

    def open_quiet_request(
        self, entry_point: str, execution_id: str, waiter: "asyncio.Future[Any]"
    ) -> int:
        """A number for a trigger whose caller waits for the end anyway: an acceptance wakes nobody,
        anything else becomes the outcome of `waiter`."""
        loop = asyncio.get_running_loop()
        request = next(self._numbers)
        self._requests[request] = _Waiter(loop, waiter, True, entry_point, execution_id)
        return request

    def drop_request(self, request: int) -> None:
        """Nobody waits for it any more."""
        self._requests.pop(request, None)

    def wait_for(self, execution_id: str) -> "asyncio.Future[ExecutionResult]":
        """The future of an execution's end on the caller's loop. Register before you look."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ExecutionResult] = loop.create_future()
        with self._lock:
            self._waiters.setdefault(execution_id, []).append(_Waiter(loop, future))
        if self._closed is not None:  # asked last: a close meanwhile may have missed it
            _reject(future, self._closed(execution_id))
        return future

    def drop_waiter(self, execution_id: str, future: "asyncio.Future[ExecutionResult]") -> None:
        """That caller waits no more."""
        with self._lock:
            waiters = self._waiters.get(execution_id)
            if waiters is not None:
                waiters[:] = [one for one in waiters if one.future is not future]
                if not waiters:
                    self._waiters.pop(execution_id, None)

    def look(self, execution_id: str) -> ExecutionResult | None:
        """The result, when the execution has ended."""
        state = self._lookup(execution_id)
        return None if state is None else result_of(state)

    # --- streams

    def accepted(self, request: int, outcome: CommitOutcome) -> None:
        """The trigger's commit was applied, or refused."""
        waiter = self._requests.pop(request, None)
        if waiter is None:
            return
        if waiter.only_refusals and outcome.kind is OutcomeKind.APPLIED:
            return
        self._post(waiter, partial(_resolve, waiter.future, outcome))

    def finished(self, execution_id: str, state: ExecutionState) -> None:
        """The execution ended, or is held. `state` is given away."""
        for waiter in self._waiters.pop(execution_id, ()):
            self._post(waiter, partial(_resolve_result, waiter.future, state))

    def recheck(self, entry_point: str) -> None:
        """A stream is new: what ended under its predecessor may not have been posted."""
        for execution_id in list(self._waiters):
            state = self._lookup(execution_id)
            if state is not None and state.accepted.entry_point == entry_point:
                self.finished(execution_id, state)

    def flush(self) -> None:
        """Hand the posts over, in one wake-up per waiting loop."""
        if not self._posts:
            return
        posts, self._posts = self._posts, {}
        for loop, calls in posts.items():
            try:
                loop.call_soon_threadsafe(_run_all, calls)
            except RuntimeError:
                # The loop was closed, and whoever waited on it is gone with it.
                logger.debug("dropped %d posts of a closed loop", len(calls))

    def _post(self, waiter: _Waiter, call: Callable[[], None]) -> None:
        self._posts.setdefault(waiter.loop, []).append(call)

    def refuse(self, error: Callable[[str], BaseException], entry_point: str | None = None) -> None:
        """Triggers under way end with `error(execution_id)`: those of one stream that is down for
        good, or all of them when nobody knows what becomes of them.
        """
        for request, waiter in list(self._requests.items()):
            if entry_point in (None, waiter.entry_point):
                self._requests.pop(request, None)
                self._post(waiter, partial(_reject, waiter.future, error(waiter.execution_id)))
        self.flush()

    # --- the end

    def close(self, error: Callable[[str], BaseException]) -> None:
        """Release every waiter with `error(execution_id)`; later ones get it at once."""
        self._closed = error
        for execution_id in list(self._waiters):
            for waiter in self._waiters.pop(execution_id, ()):
                failure = error(execution_id)
                self._post(waiter, partial(_reject, waiter.future, failure))
        self.refuse(error)

    @property
    def closed(self) -> bool:
        """True once the runtime has stopped."""
        return self._closed is not None


def _run_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _resolve(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _resolve_result(future: "asyncio.Future[ExecutionResult]", state: ExecutionState) -> None:
    if not future.done():
        future.set_result(result_of(state))


def _reject(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a caller who was cancelled meanwhile will not ask for it
