"""The state manager: gives out the turns of contended keys."""

import logging
from dataclasses import dataclass

from greenroom.actors.kernel.actor import DEFERRED, Actor, Reply
from greenroom.actors.kernel.dispatcher import TimerHandle
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.turns import TurnView
from greenroom.protocol.commit import StateKey
from greenroom.protocol.errors import ActorError
from greenroom.protocol.limits import TURN_TIMEOUT_S
from greenroom.protocol.message import Message
from greenroom.protocol.messages import (
    AwaitTurnFree,
    Barrier,
    ReleaseStream,
    ReleaseTurns,
    TakeTurns,
    TurnMessage,
    WriterMessage,
)
from greenroom.protocol.stream_messages import TurnsGranted
from greenroom.protocol.turns import Holder, Ticket

logger = logging.getLogger("greenroom.state")


class TurnsDue(Message, frozen=True, tag="turns_due"):
    """Time to look for those who have waited too long."""


class TurnsDurable(Message, frozen=True, tag="turns_durable"):
    """All that was sent to the store before these turns were given is durable or refused."""

    holders: tuple[Holder, ...]


@dataclass(slots=True)
class _Waiter:
    """Somebody who wants to read a key when nobody else has or wants its turn."""

    key: StateKey
    holder: Holder
    reply: Reply
    until: float  # monotonic seconds


class StateManager(Actor[TurnMessage | TurnsDue | TurnsDurable]):
    """Serves `TurnMessage`. Turns are granted first come, first served, per key.

    A grant is shown in `view` at once, so that no other closing step passes any more, and told to
    its stream after the store has written all that was sent before: what the holder then reads is
    the newest. Nobody waits longer than `timeout_s`.
    """

    messages = TurnMessage | TurnsDue | TurnsDurable

    def __init__(
        self,
        writer: ActorRef[WriterMessage],
        view: TurnView,
        timeout_s: float = TURN_TIMEOUT_S,
    ) -> None:
        super().__init__()
        self._writer = writer
        self._view = view
        self._timeout_s = timeout_s
        self._waiters: list[_Waiter] = []
        self._until: dict[Holder, float] = {}  # of those who wait for turns: monotonic seconds
        self._told: set[Holder] = set()  # whose stream knows of the turns
        self._timer: TimerHandle | None = None

    def on_start(self) -> None:
        """Take over the turns of an instance that crashed: tell every grant, perhaps again."""
        until = self.clock.monotonic() + self._timeout_s
        tickets = self._view.turns.tickets.values()
        self._until = {one.holder: until for one in tickets if not one.held}
        self._settle([one for one in tickets if one.held])
        self._arm()

    def handle(self, message: TurnMessage | TurnsDue | TurnsDurable) -> object:
        """Serve one message; see `protocol.messages`."""
        turns = self._view.turns
        match message:
            case TakeTurns():
                holder = message.execution_id, message.token_id
                ticket = Ticket(holder, message.stream, message.incarnation, message.keys)
                self._forget(holder)
                self._until[holder] = self.clock.monotonic() + self._timeout_s
                self._settle(turns.take(ticket))
            case ReleaseTurns():
                holder = message.execution_id, message.token_id
                self._forget(holder)
                self._settle(turns.release(holder))
            case ReleaseStream():
                self._settle(turns.release_stream(message.stream, message.incarnation))
                for gone in [one for one in self._until if one not in turns.tickets]:
                    self._forget(gone)
            case AwaitTurnFree():
                return self._await_free(message)
            case TurnsDurable():
                self._tell_granted(message.holders)
            case TurnsDue():
                self._timer = None
                self._expire()
        self._arm()
        return None

    def _forget(self, holder: Holder) -> None:
        self._until.pop(holder, None)
        self._told.discard(holder)

    # --- granting

    def _settle(self, granted: list[Ticket]) -> None:
        """Show the turns as they are now, and follow up what was given or came free."""
        self._view.publish(self._view.turns.held())
        self._answer_free()
        if not granted:
            return
        for ticket in granted:
            self._until.pop(ticket.holder, None)
        durable = TurnsDurable(holders=tuple(one.holder for one in granted))
        ref, incarnation = self.ref, self.incarnation

        def settled(future: Future[None]) -> None:
            # A writer that does not answer delays the turn, and the versions still guard the data.
            ref.tell(durable, control=True, incarnation=incarnation)

        self._writer.ask(Barrier(), control=True, timeout=self._timeout_s).add_done_callback(
            settled
        )

    def _tell_granted(self, holders: tuple[Holder, ...]) -> None:
        for holder in holders:
            ticket = self._view.turns.tickets.get(holder)
            if ticket is not None and ticket.held and holder not in self._told:
                self._told.add(holder)
                self._tell(ticket, timed_out=False)

    def _tell(self, ticket: Ticket, *, timed_out: bool) -> None:
        stream = self.system.ref(ticket.stream)
        message = TurnsGranted(
            incarnation=ticket.incarnation,
            execution_id=ticket.holder[0],
            token_id=ticket.holder[1],
            timed_out=timed_out,
        )
        try:
            if stream is not None:
                stream.tell(message, control=True)
                return
        except ActorError as error:
            logger.debug("turns of %s: %s", ticket.holder, error)
        # The stream is gone for good, and what it had asked for with it.
        self._forget(ticket.holder)
        self._settle(self._view.turns.release(ticket.holder))

    # --- waiting for a key to come free

    def _await_free(self, message: AwaitTurnFree) -> object:
        holder = message.execution_id, message.token_id
        if not self._view.turns.wanted().taken(message.key, holder):
            return True
        until = self.clock.monotonic() + self._timeout_s
        self._waiters.append(_Waiter(message.key, holder, self.defer(), until))
        self._arm()
        return DEFERRED

    def _answer_free(self) -> None:
        if not self._waiters:
            return
        waiting = []
        wanted = self._view.turns.wanted()
        for one in self._waiters:
            if not one.reply.wanted:
                continue
            if wanted.taken(one.key, one.holder):
                waiting.append(one)
            else:
                one.reply.set(True)
        self._waiters = waiting

    # --- time

    def _expire(self) -> None:
        now = self.clock.monotonic()
        for waiter in [one for one in self._waiters if one.until <= now]:
            self._waiters.remove(waiter)
            waiter.reply.set(False)
        for holder in [one for one, until in self._until.items() if until <= now]:
            self._forget(holder)
            ticket = self._view.turns.tickets.get(holder)
            if ticket is not None:
                self._settle(self._view.turns.release(holder))
                self._tell(ticket, timed_out=True)

    def _arm(self) -> None:
        if self._timer is not None:
            return
        dues = [*self._until.values(), *(one.until for one in self._waiters)]
        if dues:
            wait_s = max(0.0, min(dues) - self.clock.monotonic())
            self._timer = self.schedule(wait_s, TurnsDue())
