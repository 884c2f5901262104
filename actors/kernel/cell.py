"""The life of one address: it starts instances, ends them, and tells its supervisor once why each
ended.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.mailbox import Envelope, Item
from greenroom.actors.kernel.serving import Context, Serving
from greenroom.actors.kernel.specs import ChildSpec
from greenroom.protocol.errors import ActorStopped, PoisonMessage
from greenroom.protocol.limits import DELIVERIES_MAX

if TYPE_CHECKING:
    from greenroom.actors.kernel.ref import ActorRef

logger = logging.getLogger("greenroom.actor")


class ChildExit(NamedTuple):
    """Why an instance ended. `error` None: by itself. `final`: someone stopped the address for
    good.
    """

    id: str
    incarnation: int
    error: BaseException | None
    phase: Literal["start", "run", "stop"]
    final: bool = False


class Cell(Serving):
    """An address with its mailbox, and at most one instance at a time.

    `start`, `crash` and everything of Serving run on the dispatcher; `request_stop`, `kill`,
    `abandon`, `finalize` and `wait_ready` may be called from any thread.
    """

    ref: "ActorRef[Any]"

    def __init__(self, context: Context, address: str, spec: ChildSpec) -> None:
        super().__init__(context, address, spec.find_class())
        self.spec = spec
        self.children: dict[str, Cell] = {}
        self.kind = spec.dispatcher or self.actor_class.dispatcher_kind
        self.dispatcher = context.dispatcher_for(self.kind, address)
        self.tree_ready: Future[None] | None = None
        self.stop_is_final = False
        self.on_exit: Callable[[ChildExit], None] | None = None
        self._signals = threading.Lock()
        self._ready: Future[None] = Future()
        self._started: Future[None] | None = None
        self._kill: BaseException | None = None
        self._stops: list[Future[bool]] = []
        self._stop_final = False
        self._stop_report = False

    def wait_ready(self) -> Future[None]:
        """A future of the next moment when an instance runs."""
        return self._ready

    def start(self) -> Future[None]:
        """Start the next instance; the outcome is None or why it could not start. Not reported by
        `on_exit`.
        """
        future: Future[None] = Future()
        self._started = future
        try:
            self.dispatcher.start()
        except RuntimeError as error:
            # No thread to be had: as much a failed start as an error in on_start.
            future.settle_exception(error)
            return future
        self.dispatcher.call_soon(lambda: self._start(future))
        return future

    def _start(self, future: Future[None]) -> None:
        with self._signals:
            wanted = not self.mailbox.closed and self.instance is None and self._started is future
            if wanted:
                self.state = "starting"
                self.incarnation += 1
        if not wanted:
            future.settle_exception(ActorStopped(f"{self.address!r} was stopped before its start"))
            return
        try:
            instance = self.spec.factory()
            if not isinstance(instance, self.actor_class):
                raise TypeError(f"the factory of {self.address!r} made {instance!r}")
            self.instance = instance._bind(self)
            result = instance.on_start()
        except BaseException as error:  # noqa: BLE001  the actor's border; the supervisor gets it
            self._start_done(future, error)
            return
        if result is not None and hasattr(result, "__await__"):
            self.run_async(result, lambda _value, error: self._start_done(future, error))
        else:
            self._start_done(future, None)

    def _start_done(self, future: Future[None], error: BaseException | None) -> None:
        if self.state != "starting":
            return
        if error is not None:
            self._start_failed(future, error)
            return
        self.state = "running"
        future.settle(None)
        self._ready.settle(None)
        self.mailbox.arm()
        self.wake()

    def _start_failed(self, future: Future[None], error: BaseException) -> None:
        logger.error("%s did not start", self.address, exc_info=error)
        instance, self.instance = self.instance, None
        self.state = "failing"
        # A kill that ended this start must not end the next instance too.
        self.take_kill()

        def tell() -> None:
            if self.state == "failing":
                self.state = "down"
            future.settle_exception(error)
            if self._stops:
                self._finish_stop(None)

        if instance is None:
            tell()
        else:
            self._call_hook(instance, error, tell)

    def crash(self, instance: Actor[Any], error: BaseException, in_hand: list[Item]) -> None:
        """The instance failed: keep its messages for the next one, call `on_failure`, tell the
        supervisor.
        """
        if self.instance is not instance:
            return
        logger.error("%s crashed (incarnation %d)", self.address, self.incarnation, exc_info=error)
        self.instance = None
        self.draining = False
        self.state = "failing"
        if self._ready.done():
            self._ready = Future()
        self._redeliver(in_hand)
        self._call_hook(instance, error, lambda: self._down(error))

    def _call_hook(
        self, instance: Actor[Any], error: BaseException, then: Callable[[], None]
    ) -> None:
        """Run `on_failure`, which may be a coroutine; what it raises is logged."""

        def done(_value: Any, failure: BaseException | None) -> None:
            if failure is not None:
                logger.error("on_failure of %s failed", self.address, exc_info=failure)
            then()

        try:
            result = instance.on_failure(type(error), error, error.__traceback__)
        except BaseException as failure:  # noqa: BLE001  the actor's border; logged
            done(None, failure)
            return
        if result is not None and hasattr(result, "__await__"):
            self.run_async(result, done)
        else:
            done(None, None)

    def _down(self, error: BaseException) -> None:
        if self.state == "closed":
            return
        self.state = "down"
        if self._stops:
            self._finish_stop(error)
        elif self.on_exit is not None:
            self.on_exit(ChildExit(self.spec.id, self.incarnation, error, "run"))
        else:
            logger.critical("%s has no supervisor and is not restarted", self.address)
            self.finalize()

    def _redeliver(self, in_hand: list[Item]) -> None:
        """Put what the instance left undone before everything else: replies it owed, then what was
        in hand.
        """
        again: list[Item] = []
        for item in in_hand:
            envelope = item if isinstance(item, Envelope) else Envelope(item)
            self.deferred.pop(envelope, None)
            if envelope.reply_to is not None and envelope.reply_to.done():
                continue
            envelope.crashes += 1
            if envelope.crashes < DELIVERIES_MAX:
                again.append(envelope)
                continue
            self.bury(envelope, "poison", f"crashed its receiver {envelope.crashes} times")
            if envelope.reply_to is not None:
                envelope.reply_to.settle_exception(
                    PoisonMessage(f"the message crashed {self.address!r} {envelope.crashes} times")
                )
        owed = [e for e in self.deferred if e.reply_to is not None and not e.reply_to.done()]
        self.deferred.clear()
        self._in_hand = None
        self.mailbox.put_back([*owed, *again])

    def kill(self, error: BaseException) -> None:
        """Crash the running instance as soon as it lets go of its thread."""
        with self._signals:
            self._kill = error
            self.signalled = True
        self.dispatcher.call_soon(self._on_signal)

    def request_stop(self, *, final: bool, report: bool = True) -> Future[bool]:
        """End the instance after the message in hand; `final` closes the address too. True: an
        orderly end.
        """
        future: Future[bool] = Future()
        with self._signals:
            if self.state == "closed":
                future.settle(True)
                return future
            self._stops.append(future)
            self._stop_final = self._stop_final or final
            self._stop_report = self._stop_report or report
            self.signalled = True
            unborn = self.state == "new"
            if unborn:
                self._started = None
        if unborn:
            # Its dispatcher may not run yet; there is no instance to be careful with.
            self._finish_stop(None)
        else:
            self.dispatcher.call_soon(self._on_signal)
        return future

    def take_kill(self) -> BaseException | None:
        with self._signals:
            self.signalled = False
            error, self._kill = self._kill, None
            return error

    def _on_signal(self) -> None:
        self.act_on_signals()

    def act_on_signals(self) -> bool:
        if self._task is not None:
            starting = self.state == "starting"
            stopping = bool(self._stops) and (starting or self.actor_class.cancel_on_stop)
            loop = self.dispatcher.loop
            if loop is not None and self.state != "stopping" and (self._kill or stopping):
                # Through the loop: a task that is cancelled before its first step never runs its
                # clean-up.
                loop.call_soon(self._task.cancel)
            return True
        error = self.take_kill()
        instance = self.instance
        if error is not None and instance is not None and self.state == "running":
            self.crash(instance, error, [])
            return True
        if not self._stops:
            return False
        if self.state in ("down", "new"):
            self._finish_stop(None)
        elif self.state == "running" and instance is not None:
            if self.actor_class.drain_on_stop and self.mailbox.depth:
                self.draining = True
                return False
            self._begin_stop(instance)
        return True

    def _begin_stop(self, instance: Actor[Any]) -> None:
        self.state = "stopping"
        self.draining = False
        self.stop_is_final = self._stop_final

        def done(_value: Any, error: BaseException | None) -> None:
            if self.state != "stopping":
                return
            if error is not None:
                logger.error("on_stop of %s failed", self.address, exc_info=error)
            self.instance = None
            self._redeliver([])
            self._finish_stop(error)

        try:
            result = instance.on_stop()
        except BaseException as error:  # noqa: BLE001  the actor's border; logged and reported
            done(None, error)
            return
        if result is not None and hasattr(result, "__await__"):
            self.run_async(result, done)
        else:
            done(None, None)

    def _finish_stop(self, error: BaseException | None) -> None:
        with self._signals:
            stops, self._stops = self._stops, []
            final, self._stop_final = self._stop_final, False
            report, self._stop_report = self._stop_report, False
            self.signalled = self._kill is not None
        self.state = "down"
        if self._ready.done():
            self._ready = Future()
        if final:
            self.finalize()
        if report and self.on_exit is not None:
            self.on_exit(ChildExit(self.spec.id, self.incarnation, error, "stop", final))
        for future in stops:
            future.settle(error is None)

    def finalize(self) -> None:
        """Close the address: what still waits goes to the dead letters, and all of its children
        with it.
        """
        with self._signals:
            self.state = "closed"
            stops, self._stops = self._stops, []
        for item in self.mailbox.close():
            self._bury_unserved(item)
        if not self._ready.settle_exception(ActorStopped(f"{self.address!r} is stopped")):
            self._ready = Future()
            self._ready.settle_exception(ActorStopped(f"{self.address!r} is stopped"))
        for child in self.children.values():
            if child.instance is None:
                child.finalize()
            else:
                child.request_stop(final=True, report=False)
        if self.kind == "thread":
            self.dispatcher.stop(0.0)
        for future in stops:
            future.settle(True)

    def _bury_unserved(self, item: Item) -> None:
        if isinstance(item, Envelope) and item.reply_to is not None:
            error = ActorStopped(f"{self.address!r} stopped before it handled the message")
            if not item.reply_to.settle_exception(error):
                self.skipped += 1
                return
        self.bury(item, "stopped")

    def abandon(self, *, final: bool = True) -> None:
        """The deadline passed and the instance still runs: let go of it. Nothing it does later has
        an effect.

        Not `final`: its mailbox, and what it had in hand, wait for the next instance.
        """
        if self.state == "closed":
            return
        logger.error("%s did not stop in time and is abandoned", self.address)
        with self._signals:
            self.instance = None
            self._started = None
        task, self._task = self._task, None
        if task is not None:
            self.dispatcher.call_soon(task.cancel)
        with self._signals:
            stops, self._stops = self._stops, []
        self._redeliver([] if self._in_hand is None else [self._in_hand])
        if final:
            self.finalize()
            if self.on_exit is not None:
                self.on_exit(ChildExit(self.spec.id, self.incarnation, None, "stop", True))
        else:
            self.state = "down"
            if self.kind == "thread":
                self.dispatcher.stop(0.0)
                self.dispatcher = self.context.dispatcher_for(self.kind, self.address)
        for future in stops:
            future.settle(False)

    def reopen(self) -> None:
        """Accept messages again after `finalize`; the next `start` serves them."""
        if self.state != "closed":
            return
        if self.kind == "thread":
            self.dispatcher = self.context.dispatcher_for(self.kind, self.address)
        self._ready = Future()
        self._task = None
        self._scheduled = False
        self.state = "down"
        self.mailbox.reopen()
