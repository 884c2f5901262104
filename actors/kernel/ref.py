"""How others reach an actor: by address, from any thread, never blocking."""

import asyncio
import functools
from typing import Any, Generic, NamedTuple, TypeVar

from greenroom.actors.kernel.cell import Cell
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.mailbox import Envelope
from greenroom.protocol.envelope import Header
from greenroom.protocol.errors import ActorError, ActorStopped, MailboxOverflow

M = TypeVar("M")


class ActorStats(NamedTuple):
    """Counters of one address; times in seconds, sampled at every 64th message."""

    address: str
    state: str
    incarnation: int
    depth: int
    high_water: int
    rejected: int
    skipped: int
    stale: int
    waited_s: float
    waited_max_s: float


class ActorRef(Generic[M]):
    """Reaches the actor at one address, whichever instance serves it now. Safe to share between
    threads and to keep.
    """

    __slots__ = ("_cell", "_encode", "_put")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._encode = cell.encode
        self._put = cell.mailbox.put

    @property
    def address(self) -> str:
        """The actor's name within its system."""
        return self._cell.address

    def __repr__(self) -> str:
        return f"<ActorRef {self._cell.address}>"

    def tell(
        self,
        message: M,
        *,
        control: bool = False,
        incarnation: int | None = None,
        header: Header | None = None,
    ) -> None:
        """Send and forget; never blocks, any thread. The message is encoded here, so later changes
        to it do not matter.

        `control` takes the control lane (for what the actor itself set in motion). With
        `incarnation` only that instance gets it; for another it is dropped and counted as stale.
        Raises MailboxOverflow, ActorStopped, and TypeError for what cannot be encoded.
        """
        item = self._encode(message)
        if not control and incarnation is None and header is None:
            self._put(item)
        else:
            envelope = item if isinstance(item, Envelope) else Envelope(item)
            envelope.incarnation = incarnation
            envelope.header = header
            if control:
                self._cell.mailbox.put_control(envelope)
            else:
                self._put(envelope)

    async def tell_async(self, message: M) -> None:
        """Send when there is room, without blocking the loop. Raises ActorStopped."""
        item = self._encode(message)
        while True:
            try:
                self._put(item)
            except MailboxOverflow:
                room: Future[None] = Future()
                self._cell.mailbox.when_room(functools.partial(room.settle, None))
                try:
                    await room
                except asyncio.CancelledError:
                    # The turn given to us goes to the next one who waits.
                    self._cell.mailbox.pass_room()
                    raise
            else:
                return

    def ask(
        self,
        message: M,
        *,
        timeout: float | None = None,
        control: bool = False,
        header: Header | None = None,
    ) -> Future[Any]:
        """Send and get a future of the reply; never blocks, any thread.

        After `timeout` seconds the future raises AskTimedOut, and a request that was not begun is
        skipped; so is one whose future was cancelled. Whatever goes wrong is the future's outcome:
        MailboxOverflow, ActorStopped, UnknownMessage, PoisonMessage, or the GreenroomError by which
        the actor refused.
        """
        cell = self._cell
        item = self._encode(message)
        clock = cell.context.clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        future: Future[Any] = Future(
            deadline=deadline,
            clock=clock,
            timer=cell.context.call_later,
            would_block_itself=cell.dispatcher.is_current_thread,
        )
        envelope = item if isinstance(item, Envelope) else Envelope(item)
        envelope.reply_to = future
        envelope.reply_type = getattr(message, "reply", None)
        envelope.deadline = deadline
        envelope.header = header
        try:
            if control:
                cell.mailbox.put_control(envelope)
            else:
                self._put(envelope)
        except (ActorStopped, MailboxOverflow) as error:
            future.settle_exception(error)
        return future

    def kill(self, error: BaseException | None = None) -> None:
        """Crash the running instance as if it had raised `error`; its supervisor is told once. Any
        thread.

        A coroutine in hand is cancelled and its message comes again; a plain handler is left to
        finish first.
        """
        self._cell.kill(error or ActorError(f"{self.address} was killed"))

    def stop(self, timeout: float | None = None) -> Future[bool]:
        """End the actor for good after the message in hand. What still waits goes to the dead
        letters.

        The future gives True after an orderly stop, False if `on_stop` failed or if the actor did
        not end within `timeout` seconds (default: its spec's `shutdown_timeout`) and was abandoned.
        """
        future = self._cell.request_stop(final=True)
        limit = self._cell.spec.shutdown_timeout if timeout is None else timeout
        if not future.done():
            handle = self._cell.context.call_later(limit, self._cell.abandon)
            future.add_done_callback(lambda _: handle.cancel())
        return future

    def ready(self) -> Future[None]:
        """Done when an instance has started; raises ActorStopped if the actor is down for good."""
        return self._cell.wait_ready()

    def is_alive(self) -> bool:
        """True until the actor stopped for good; also while it waits for a restart."""
        return not self._cell.mailbox.closed

    def stats(self) -> ActorStats:
        """A snapshot of the counters; cheap, any thread."""
        cell, mailbox = self._cell, self._cell.mailbox
        return ActorStats(
            address=cell.address,
            state=cell.state,
            incarnation=cell.incarnation,
            depth=mailbox.depth,
            high_water=mailbox.high_water,
            rejected=mailbox.rejected,
            skipped=cell.skipped,
            stale=cell.stale,
            waited_s=mailbox.waited_s,
            waited_max_s=mailbox.waited_max_s,
        )
