"""The typed actor that people write, and the replies that it may keep for later."""

from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, NoReturn, Self, TypeVar

import pykka

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.kernel.codec import check_messages, copy_reply
from greenroom.actors.kernel.dispatcher import TimerHandle
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.mailbox import Envelope
from greenroom.protocol.envelope import Header
from greenroom.protocol.limits import MAILBOX_MESSAGES_DEFAULT

if TYPE_CHECKING:
    from greenroom.actors.kernel.cell import Cell
    from greenroom.actors.kernel.ref import ActorRef
    from greenroom.actors.kernel.serving import Serving
    from greenroom.actors.kernel.system import ActorSystem

M = TypeVar("M")


class _Deferred:
    def __repr__(self) -> str:
        return "DEFERRED"


DEFERRED: Final = _Deferred()
"""What `handle` may return to say that the reply taken with `defer()` comes later."""


class Reply:
    """The duty to answer one message, taken over by the actor. Use it on the actor's own thread;
    only the first counts.

    If the instance crashes before it answers, the message is delivered to the next one; if the
    actor stops for good, the asker gets ActorStopped. For a `tell` there is no one to answer, and
    every method does nothing.
    """

    __slots__ = ("_cell", "_envelope")

    def __init__(self, cell: "Serving", envelope: Envelope) -> None:
        self._cell = cell
        self._envelope = envelope

    @property
    def wanted(self) -> bool:
        """False if nobody waits: a tell, or an ask that was cancelled, timed out or answered."""
        future = self._envelope.reply_to
        return future is not None and not future.done()

    def set(self, value: Any = None) -> None:
        """Answer. Raises like `copy_reply` if the value cannot be sent."""
        self._cell.deferred.pop(self._envelope, None)
        future = self._envelope.reply_to
        if future is not None and not future.done():
            future.settle(copy_reply(value, self._envelope.reply_type))

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error, which the asker's `get` or `await` raises."""
        self._cell.deferred.pop(self._envelope, None)
        if self._envelope.reply_to is not None:
            self._envelope.reply_to.settle_exception(error)


class Request(Generic[M]):
    """An ask as `handle_batch` gets it: the message, and the reply that must be set, at once or
    later.
    """

    __slots__ = ("message", "reply")

    def __init__(self, message: M, reply: Reply) -> None:
        self.message = message
        self.reply = reply

    def __repr__(self) -> str:
        return f"Request({self.message!r})"


if TYPE_CHECKING:
    # pykka declares that its hooks return None; here they may be coroutines.
    _PykkaActor = object
else:
    _PykkaActor = pykka.Actor


class Actor(_PykkaActor, Generic[M]):
    """One thing at a time, in order, with state of its own; messages come as decoded copies.

    Subclasses set `messages` and write `handle`. An exception of `handle` crashes the instance; its
    supervisor starts the next one on the same address, and the message comes again, first, up to
    three deliveries. Raise a GreenroomError to *refuse* a message: that is a reply, not a fault (a
    refused tell is counted among the dead letters).

    Set before `on_start`: `ref`, `address`, `system`, `clock`, and `incarnation`, which is 1 for
    the first instance.
    """

    messages: ClassVar[Any] = None
    user_limit: ClassVar[int] = MAILBOX_MESSAGES_DEFAULT
    dispatcher_kind: ClassVar[Literal["loop", "thread"]] = "loop"
    batch_max: ClassVar[int] = 10_000
    local: ClassVar[bool] = False
    """Messages are passed as the objects they are. For kernel actors whose messages carry
    callables; never mutate them.
    """
    cancel_on_stop: ClassVar[bool] = False
    """A stop cancels the coroutine of the message in hand instead of waiting for it."""

    drain_on_stop: ClassVar[bool] = False
    """A stop first serves all that waits, within its deadline, instead of leaving it."""

    ref: "ActorRef[M]"
    address: str
    system: "ActorSystem"
    clock: Clock
    incarnation: int
    _cell: "Cell"

    def __init__(self) -> None:
        """Nothing to do: the kernel binds the instance to its address after it was made."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.messages is not None and not cls.local:
            check_messages(cls.__qualname__, cls.messages)

    def on_start(self) -> Any:
        """Called before the first message; may be a coroutine on a loop. An error is a failed
        start.
        """

    def on_stop(self) -> Any:
        """Called after the last message of an orderly stop, not after a crash; may be a coroutine
        on a loop.
        """

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        """Called after a crash, before the supervisor is told; may be a coroutine on a loop."""

    def handle(self, message: M) -> Any | Awaitable[Any]:
        """Serve one message; returns the reply, an awaitable of it, or DEFERRED after `defer()`."""
        raise NotImplementedError(f"{type(self).__name__} must define handle()")

    def handle_batch(self, messages: list[M | Request[M]]) -> Any:
        """If a subclass defines this, it gets all that waits (up to `batch_max`) in one list, in
        order; asks as `Request`.

        Any exception is a crash: the whole list comes again, one message at a time, without the
        requests already answered.
        """
        raise NotImplementedError

    def on_slice_end(self) -> None:
        """If a subclass defines this, it is called once after each run of messages, and before a
        coroutine is awaited.
        """

    def defer(self) -> Reply:
        """Inside `handle`: take over the reply to the message in hand. What `handle` returns is
        then ignored.
        """
        return self._cell.defer()

    def schedule(self, delay_s: float, message: M) -> TimerHandle:
        """Send `message` to this very instance after `delay_s`, on the control lane; a later
        instance never gets it.
        """
        return self._cell.schedule(delay_s, message)

    @property
    def header(self) -> Header:
        """The header of the message in hand."""
        return self._cell.header()

    def stop(self) -> None:
        """End this instance normally after the message in hand; the supervisor restarts it only if
        it is permanent.
        """
        self._cell.request_stop(final=False)

    @classmethod
    def start(cls, *_args: Any, **_kwargs: Any) -> NoReturn:
        """A typed actor lives in an ActorSystem and is started by its supervisor."""
        raise TypeError(f"start {cls.__name__} with ActorSystem.spawn()")

    def _bind(self, cell: "Cell") -> Self:
        """For the kernel: give the instance its address, and pykka's names for it."""
        self._cell = cell
        self.ref = cell.ref
        self.address = cell.address
        self.system = cell.context.system
        self.clock = cell.context.clock
        self.incarnation = cell.incarnation
        self.actor_urn = f"urn:greenroom:{cell.address}"
        return self

    def __str__(self) -> str:
        return f"{type(self).__name__} ({self.actor_urn})"

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise TypeError("the mailbox of a typed actor belongs to its address")

    @staticmethod
    def _create_future() -> Future[Any]:
        return Future()

    def _start_actor_loop(self) -> None:
        raise TypeError("a typed actor is run by its dispatcher")
