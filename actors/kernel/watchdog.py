"""Reports what blocks a loop, with the stack, while it still blocks."""

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple, Protocol

logger = logging.getLogger("greenroom.watchdog")


class Blocked(NamedTuple):
    """One callback, slice or handler has had the loop for at least `seconds`. `address` is ""
    outside an actor.
    """

    address: str
    seconds: float
    stack: str


class Watched(Protocol):
    """Something that runs functions on one thread; a Dispatcher is one."""

    @property
    def thread_id(self) -> int | None:
        """The thread's identity; None while there is none."""
        ...


class Watchdog:
    """Looks at the loop's thread every `limit_s`; the same piece of work seen twice has blocked it
    for so long.

    The piece of work is known by its frame, so nothing is added to the hot path, and many short
    ones in a row are never taken for a long one. Each is reported once: to `callback` (on the
    watchdog's thread) and to the log.
    """

    def __init__(
        self,
        watched: Watched,
        limit_s: float = 0.05,
        callback: Callable[[Blocked], None] | None = None,
    ) -> None:
        self.limit_s = limit_s
        self.reports = 0
        self._watched = watched
        self._callback = callback
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._main, name="greenroom-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch. The thread is not waited for longer than its next look."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self.limit_s * 4)

    def _main(self) -> None:
        seen: FrameType | None = None
        reported = False
        while not self._stop.wait(self.limit_s):
            thread_id = self._watched.thread_id
            top = None if thread_id is None else sys._current_frames().get(thread_id)
            work = find_work(top)
            if work is None or work is not seen:
                seen, reported = work, False
            elif not reported and top is not None:
                reported = True
                self._report(top)
            del top, work

    def _report(self, top: FrameType) -> None:
        self.reports += 1
        stack = "".join(traceback.format_stack(top))
        blocked = Blocked(find_address(top), self.limit_s, stack)
        logger.warning(
            "the loop is blocked for over %g s by %s:\n%s",
            blocked.seconds,
            blocked.address or "a callback",
            stack,
        )
        if self._callback is not None:
            try:
                self._callback(blocked)
            except Exception:
                logger.exception("the callback of the watchdog failed")


def find_work(top: FrameType | None) -> FrameType | None:
    """The frame of the one callback or slice that runs now, or None if the loop waits for work."""
    frame, inner, work = top, None, None
    while frame is not None:
        name = frame.f_code.co_name
        if name in ("run_reported", "_run") and inner is not None:
            work = frame
            if name == "run_reported":
                break
        inner, frame = frame, frame.f_back
    return work


def find_address(top: FrameType) -> str:
    """The address of the actor whose slice is on the stack."""
    frame: FrameType | None = top
    while frame is not None:
        address = getattr(frame.f_locals.get("self"), "address", None)
        if isinstance(address, str):
            return address
        frame = frame.f_back
    return ""
