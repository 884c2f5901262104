"""Feeding an instance: slices of messages, replies, refusals, coroutines one at a time."""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import msgspec

from greenroom.actors.kernel.actor import Actor, Reply, Request
from greenroom.actors.kernel.clock import Clock
from greenroom.actors.kernel.codec import copy_reply, decoder_for, encode
from greenroom.actors.kernel.dead_letters import DeadLetter, DeadLetters, Reason
from greenroom.actors.kernel.dispatcher import Dispatcher, TimerHandle
from greenroom.actors.kernel.future import FutureTimedOut
from greenroom.actors.kernel.mailbox import Envelope, Item, Mailbox
from greenroom.protocol.envelope import NO_HEADER, Header
from greenroom.protocol.errors import (
    ActorStopped,
    GreenroomError,
    SupervisionFailed,
    UnknownMessage,
)

logger = logging.getLogger("greenroom.actor")

SLICE_MESSAGES: Final = 128
SLICE_S: Final = 0.005
"""A slice ends after so many messages or seconds, so that its neighbours on the loop get their
turn.
"""

State = Literal["new", "starting", "running", "failing", "stopping", "down", "closed"]


class Context(Protocol):
    """What an address needs from its system."""

    @property
    def clock(self) -> Clock: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def system(self) -> Any: ...

    def dispatcher_for(self, kind: str, address: str) -> Dispatcher: ...

    def call_later(self, delay_s: float, function: Callable[[], object]) -> TimerHandle: ...


class Serving:
    """The part of an address that serves messages. Everything here runs on the address's
    dispatcher.
    """

    def __init__(self, context: Context, address: str, actor_class: type[Actor[Any]]) -> None:
        self.context = context
        self.address = address
        self.actor_class = actor_class
        self.mailbox = Mailbox(address, actor_class.user_limit, self.wake)
        self.dispatcher: Dispatcher
        self.instance: Actor[Any] | None = None
        self.incarnation = 0
        self.state: State = "new"
        self.signalled = False
        self.draining = False
        self.deferred: dict[Envelope, None] = {}
        self.skipped = 0
        self.stale = 0
        self.encode: Callable[[Any], Item] = Envelope if actor_class.local else encode
        self._decode: Callable[[Any], Any] = (
            _same if actor_class.local else decoder_for(actor_class.messages)
        )
        self._batched = actor_class.handle_batch is not Actor.handle_batch
        self._hooked = actor_class.on_slice_end is not Actor.on_slice_end
        self._in_hand: Item | None = None
        self._task: Any = None
        self._scheduled = False

    @abstractmethod
    def crash(self, instance: Actor[Any], error: BaseException, in_hand: list[Item]) -> None:
        """The instance failed with these messages in hand."""

    @abstractmethod
    def take_kill(self) -> BaseException | None:
        """Why the instance is to be killed, once; None if it is not."""

    @abstractmethod
    def act_on_signals(self) -> bool:
        """Serve a kill or a stop; True if the instance is ending."""

    def wake(self) -> None:
        """Schedule a slice unless there is one; for whoever armed the mailbox."""
        if not self._scheduled:
            self._scheduled = True
            self.dispatcher.call_soon(self._slice)

    def bury(self, item: Item, reason: Reason, detail: str = "") -> None:
        """Hand a message to the dead letters."""
        body = item.body if isinstance(item, Envelope) else item
        now = self.context.clock.now()
        self.context.dead_letters.add(DeadLetter(self.address, reason, body, detail, now))

    def header(self) -> Header:
        """The header of the message in hand, with the attempt and the deadline as they are now."""
        item = self._in_hand
        if not isinstance(item, Envelope):
            return NO_HEADER
        header = item.header or NO_HEADER
        deadline = header.deadline
        if item.deadline is not None:
            clock = self.context.clock
            deadline = clock.now() + item.deadline - clock.monotonic()
        return msgspec.structs.replace(header, attempt=item.crashes + 1, deadline=deadline)

    def defer(self) -> Reply:
        """Take over the reply to the message in hand."""
        item = self._in_hand
        if isinstance(item, Envelope) and item.reply_to is not None:
            self.deferred[item] = None
            return Reply(self, item)
        return Reply(self, Envelope(b""))

    def schedule(self, delay_s: float, message: Any) -> TimerHandle:
        """Send a message to this incarnation later, on the control lane."""
        encoded = self.encode(message)
        body = encoded.body if isinstance(encoded, Envelope) else encoded
        envelope = Envelope(body, incarnation=self.incarnation)

        def deliver() -> None:
            # While it starts, too: the mailbox keeps what an instance sent itself in on_start.
            if self.incarnation == envelope.incarnation and self.state in ("starting", "running"):
                try:
                    self.mailbox.put_control(envelope)
                except ActorStopped:
                    self.stale += 1

        return self.dispatcher.call_later(delay_s, deliver)

    def _slice(self) -> None:
        self._scheduled = False
        instance = self.instance
        if instance is None or self.state != "running" or self._task is not None:
            return
        if self._batched:
            self._drain_batch(instance)
        else:
            self._drain(instance)

    def _drain(self, instance: Actor[Any]) -> None:
        take, decode, handle = self.mailbox.take, self._decode, instance.handle
        until = time.monotonic() + SLICE_S
        for count in range(1, SLICE_MESSAGES + 1):
            if self.signalled:
                break
            item = take()
            if item is None:
                break
            if type(item) is not bytes:
                assert isinstance(item, Envelope)
                if not self._serve(instance, item):
                    return
            else:
                try:
                    message = decode(item)
                except msgspec.MsgspecError as error:
                    self.bury(item, "unknown", str(error))
                    continue
                self._in_hand = item
                try:
                    result = handle(message)
                except BaseException as error:  # noqa: BLE001  goes to crash()
                    if self._fault(instance, item, error):
                        return
                    continue
                if result is not None and hasattr(result, "__await__"):
                    self._suspend(instance, item, result)
                    return
                if self.instance is not instance:
                    return
            if not count % 16 and time.monotonic() > until:
                break
        self._in_hand = None
        self._end_slice(instance)

    def _serve(self, instance: Actor[Any], item: Envelope) -> bool:
        """Serve a message with a header; False if this slice is over."""
        message = self._open(item)
        if message is _SKIP:
            return True
        self._in_hand = item
        try:
            result = instance.handle(message)
            if result is None or not hasattr(result, "__await__"):
                self._answer(item, result)
                return self.instance is instance
        except BaseException as error:  # noqa: BLE001  goes to crash()
            return not self._fault(instance, item, error)
        self._suspend(instance, item, result)
        return False

    def _open(self, item: Envelope) -> Any:
        """Decode a message, or _SKIP if nobody wants it any more or this actor does not know it."""
        reply_to = item.reply_to
        if reply_to is not None and reply_to.done():
            self.skipped += 1
            return _SKIP
        if item.deadline is not None and self.context.clock.monotonic() >= item.deadline:
            self.skipped += 1
            if reply_to is not None:
                reply_to.settle_exception(FutureTimedOut("the deadline passed before it was read"))
            return _SKIP
        if item.incarnation is not None and item.incarnation != self.incarnation:
            self.stale += 1
            return _SKIP
        try:
            return self._decode(item.body)
        except msgspec.MsgspecError as error:
            self.bury(item, "unknown", str(error))
            if reply_to is not None:
                reply_to.settle_exception(UnknownMessage(f"{self.address!r}: {error}"))
            return _SKIP

    def _answer(self, item: Item, value: Any) -> None:
        """Settle the asker's future, unless the reply was deferred. Raises if the value cannot be
        sent.
        """
        if not isinstance(item, Envelope) or item.reply_to is None or item in self.deferred:
            return
        if not item.reply_to.done():
            item.reply_to.settle(copy_reply(value, item.reply_type))

    def _fault(self, instance: Actor[Any], item: Item, error: BaseException) -> bool:
        """A handler raised. A refusal is its reply; anything else is a crash. True if the slice is
        over.
        """
        if self.instance is not instance:
            return True
        if not isinstance(error, GreenroomError) or isinstance(error, SupervisionFailed):
            self.crash(instance, error, [item])
            return True
        if isinstance(item, Envelope) and item.reply_to is not None:
            self.deferred.pop(item, None)
            item.reply_to.settle_exception(error)
        else:
            logger.warning("%s refused a message that has no asker: %r", self.address, error)
            self.bury(item, "refused", repr(error))
        return False

    def _suspend(self, instance: Actor[Any], item: Item, awaitable: Any) -> None:
        """The handler is a coroutine: nothing else is served until it ends."""
        if self._hooked and not self._call_slice_end(instance, [item]):
            if hasattr(awaitable, "close"):
                awaitable.close()
            return

        def done(value: Any, error: BaseException | None) -> None:
            if self.instance is not instance:
                return
            self._in_hand = None
            if isinstance(error, asyncio.CancelledError) and self.signalled:
                killed = self.take_kill()
                if killed is None:
                    # Cancelled by a stop: the message waits for the next instance. The signal is
                    # taken, so the stop must be carried out here, or the message is served again.
                    self.mailbox.put_back([item])
                    if not self.act_on_signals():
                        self.wake()
                else:
                    self.crash(instance, killed, [item])
                return
            if error is None:
                try:
                    self._answer(item, value)
                except Exception as unsendable:  # noqa: BLE001  reported by crash()
                    error = unsendable
            if error is None or not self._fault(instance, item, error):
                self.wake()

        self.run_async(awaitable, done)

    def run_async(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        """Await on the dispatcher's loop, then call `done(value, error)`. One at a time."""
        loop = self.dispatcher.loop
        if loop is None:
            if hasattr(awaitable, "close"):
                awaitable.close()
            done(None, TypeError(f"{self.address!r} runs on a thread: coroutines need the loop"))
            return

        async def wait() -> None:
            value, failure = None, None
            try:
                value = await awaitable
            except BaseException as error:  # noqa: BLE001  also CancelledError
                failure = error
            if self._task is asyncio.current_task():
                self._task = None
                done(value, failure)
            # else it was abandoned: what it did in the end concerns nobody any more.

        self._task = loop.create_task(wait())

    def _drain_batch(self, instance: Actor[Any]) -> None:
        live: list[Item] = []
        messages: list[Any] = []
        for item in self.mailbox.take_batch(self.actor_class.batch_max):
            if isinstance(item, Envelope):
                message = self._open(item)
                if message is _SKIP:
                    continue
                if item.reply_to is not None:
                    self.deferred[item] = None
                    message = Request(message, Reply(self, item))
            else:
                try:
                    message = self._decode(item)
                except msgspec.MsgspecError as error:
                    self.bury(item, "unknown", str(error))
                    continue
            live.append(item)
            messages.append(message)
        if not messages:
            self._end_slice(instance)
            return
        try:
            result = instance.handle_batch(messages)
        except BaseException as error:  # noqa: BLE001  goes to crash()
            self.crash(instance, error, live)
            return
        if result is None:
            self._end_slice(instance)
            return

        def done(_value: Any, error: BaseException | None) -> None:
            if error is not None:
                self.crash(instance, error, live)
            elif self.instance is instance:
                self.wake()

        self.run_async(result, done)

    def _call_slice_end(self, instance: Actor[Any], in_hand: list[Item]) -> bool:
        try:
            instance.on_slice_end()
        except BaseException as error:  # noqa: BLE001  goes to crash()
            self.crash(instance, error, in_hand)
            return False
        return self.instance is instance

    def _end_slice(self, instance: Actor[Any]) -> None:
        if self.instance is not instance:
            return
        if self._hooked and not self._call_slice_end(instance, []):
            return
        if self.signalled and self.act_on_signals():
            return
        if not self.mailbox.release():
            self.wake()
        elif self.draining:
            self.act_on_signals()


def _same(body: Any) -> Any:
    return body


_SKIP: Final = object()
