"""pykka's own kind of actor, on a shared event loop: any object as a message, proxies, futures that
can be awaited.

For code written for pykka. It keeps pykka's meaning of failure (an error in an `ask` goes to the
caller, an error in a `tell` ends the actor, nobody restarts it); supervised actors are
`greenroom.actors.kernel.actor.Actor`. Where it differs on purpose: a BaseException ends only the
actor that raised it, `on_failure` is called after a failed `on_start` too, a request that nobody
waits for any more is skipped, and waiting for a future on the loop's own thread raises instead of
hanging for ever.
"""

import inspect
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from greenroom.actors.kernel.dispatcher import Dispatcher, LoopDispatcher
from greenroom.actors.kernel.future import Future

logger = logging.getLogger("pykka")

SLICE_MESSAGES = 128


class LoopInbox:
    """A queue that wakes its actor once per batch, and that can be closed without losing a message
    in a race.
    """

    def __init__(self, wake: Callable[[], None], refuse: Callable[[Envelope[Any]], None]) -> None:
        self._lock = threading.Lock()
        self._envelopes: deque[Envelope[Any]] = deque()
        self._wake = wake
        self._refuse = refuse
        self._armed = True
        self._closed = False

    def put(self, envelope: Envelope[Any], /) -> None:
        """Append, or refuse the message if the actor has ended meanwhile: its asker is always
        answered.
        """
        with self._lock:
            closed = self._closed
            wake = not closed and not self._armed
            if not closed:
                self._envelopes.append(envelope)
                self._armed = True
        if closed:
            self._refuse(envelope)
        elif wake:
            self._wake()

    def get(self) -> Envelope[Any]:
        """The next message; raises IndexError if there is none. Only the actor's own loop takes."""
        return self._envelopes.popleft()

    def empty(self) -> bool:
        return not self._envelopes

    def release(self) -> bool:
        """Disarm, or answer False because there is more to do."""
        with self._lock:
            if self._envelopes:
                return False
            self._armed = False
            return True

    def close(self) -> list[Envelope[Any]]:
        """Refuse from now on; returns what was left."""
        with self._lock:
            self._closed = True
            left = list(self._envelopes)
            self._envelopes.clear()
            return left


class _SharedLoop:
    """The loop of all LoopActors that name no dispatcher of their own; started by the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dispatcher: LoopDispatcher | None = None

    def get(self) -> Dispatcher:
        with self._lock:
            if self._dispatcher is None:
                dispatcher = LoopDispatcher("greenroom-pykka-loop")
                dispatcher.start()
                self._dispatcher = dispatcher
            return self._dispatcher


_shared_loop = _SharedLoop()
# An actor on a shared loop has no thread of its own to keep it alive; pykka's references are weak.
_alive: set["LoopActor"] = set()


class LoopActor(pykka.Actor):
    """A pykka actor on an event loop. Set `dispatcher` on a subclass to choose the loop; coroutines
    are awaited.
    """

    dispatcher: ClassVar[Dispatcher | None] = None

    actor_inbox: LoopInbox

    def _create_actor_inbox(self) -> LoopInbox:  # type: ignore[override]
        return LoopInbox(self._wake, self._refuse)

    @staticmethod
    def _create_future() -> Future[Any]:
        return Future()

    def _start_actor_loop(self) -> None:
        self._dispatcher = self.dispatcher or _shared_loop.get()
        _alive.add(self)
        self._dispatcher.call_soon(self._setup)

    def _wake(self) -> None:
        self._dispatcher.call_soon(self._drain)

    def _setup(self) -> None:
        try:
            result: Any = self.on_start()  # type: ignore[func-returns-value]
        except BaseException:  # noqa: BLE001  the actor's border; logged and given to on_failure
            self._fail(*sys.exc_info())
            return
        if inspect.iscoroutine(result):
            self._await(result, None, self._drain)
        else:
            self._drain()

    def _drain(self) -> None:
        for _ in range(SLICE_MESSAGES):
            if self.actor_stopped.is_set():
                self._teardown()
                return
            if self.actor_inbox.empty():
                break
            envelope = self.actor_inbox.get()
            if not self._receive(envelope):
                return
        if self.actor_stopped.is_set() or not self.actor_inbox.release():
            self._wake()

    def _receive(self, envelope: Envelope[Any]) -> bool:
        """Serve one message; False if a coroutine goes on with it, or the actor has ended."""
        reply_to = envelope.reply_to
        if isinstance(reply_to, Future) and reply_to.done():
            return True
        try:
            response = self._handle_receive(envelope.message)
        except BaseException as error:  # noqa: BLE001  the actor's border
            return self._failed(envelope, error)
        if inspect.iscoroutine(response):
            self._await(response, envelope, self._drain)
            return False
        self._settle(envelope, response)
        return True

    def _settle(self, envelope: Envelope[Any], response: Any) -> None:
        if isinstance(envelope.reply_to, Future):
            envelope.reply_to.settle(response)
        elif envelope.reply_to is not None:
            envelope.reply_to.set(response)

    def _failed(self, envelope: Envelope[Any], error: BaseException) -> bool:
        """An error of an ask is its answer, one of a tell ends the actor. True if it goes on."""
        if envelope.reply_to is None:
            self._fail(type(error), error, error.__traceback__)
            return False
        logger.info(f"Exception returned from {self} to caller:", exc_info=error)
        if isinstance(envelope.reply_to, Future):
            envelope.reply_to.settle_exception(error)
        else:
            envelope.reply_to.set_exception((type(error), error, error.__traceback__))
        return True

    def _await(
        self, coroutine: Any, envelope: Envelope[Any] | None, then: Callable[[], None]
    ) -> None:
        loop = self._dispatcher.loop
        assert loop is not None, "a LoopActor needs a dispatcher with an event loop"

        async def wait() -> None:
            try:
                response = await coroutine
            except BaseException as error:  # noqa: BLE001  the actor's border
                goes_on = envelope is not None and self._failed(envelope, error)
                if envelope is None:
                    self._fail(type(error), error, error.__traceback__)
            else:
                goes_on = True
                if envelope is not None:
                    self._settle(envelope, response)
            if goes_on:
                self._dispatcher.call_soon(then)

        self._task = loop.create_task(wait())

    def _fail(self, kind: Any, error: Any, traceback: Any) -> None:
        self._handle_failure(kind, error, traceback)
        try:
            self.on_failure(kind, error, traceback)
        except BaseException:  # noqa: BLE001  the actor's border; logged
            self._handle_failure(*sys.exc_info())
        self._teardown()

    def _teardown(self) -> None:
        for envelope in self.actor_inbox.close():
            self._refuse(envelope)
        _alive.discard(self)

    def _refuse(self, envelope: Envelope[Any]) -> None:
        """The actor has ended: a stop is answered, an ask gets ActorDeadError, a tell is logged."""
        if envelope.reply_to is None:
            logger.debug(f"{self} ended before it handled {envelope.message!r}")
        elif isinstance(envelope.message, _ActorStop):
            self._settle(envelope, None)
        else:
            error = pykka.ActorDeadError(f"{self.actor_ref} stopped before handling the message")
            if isinstance(envelope.reply_to, Future):
                envelope.reply_to.settle_exception(error)
            else:
                envelope.reply_to.set_exception((type(error), error, None))
