"""What a stream does with a tick of an execution that stands at another version of the graph."""

from functools import partial

from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.nodes.migrator import Asked
from greenroom.actors.stream.live import Delete, Live, Pending
from greenroom.actors.stream.versions import Versions, in_words
from greenroom.protocol.engine.ticks import Cancel, Hold, Migrate, Release, Resume, Rewind
from greenroom.protocol.errors import ActorStopped
from greenroom.protocol.execution import Status
from greenroom.protocol.stream_messages import MigrationMade, StreamMessage
from greenroom.protocol.version_errors import GraphChanged

_FREE = Cancel | Delete | Hold | Migrate | Rewind
"""Ticks that move nobody on from where the execution stands, or to where it fits."""

_GOING_ON = frozenset({Status.QUEUED, Status.RUNNING, Status.WAITING})


class Judging:
    """Lets nothing go on that does not fit. Belongs to one instance of a stream, whose
    `incarnation` its messages carry. Only on the runtime's loop thread.
    """

    def __init__(
        self, versions: Versions, stream: ActorRef[StreamMessage], incarnation: int
    ) -> None:
        self._versions = versions
        self._stream = stream
        self._incarnation = incarnation

    def stops(self, live: Live, pending: Pending) -> bool:
        """Whether the tick is not for now: it was refused, or waits in the line of its execution,
        behind a migration or a hold.

        What would go on is held first, and the tick then finds it so: an answer is kept. At rest
        everything may be done to an execution but to take it up.
        """
        tick, state = pending.tick, live.state
        assert state is not None, "what has a version was accepted"
        if isinstance(tick, _FREE):
            return False
        goes_on = state.status in _GOING_ON
        if not goes_on and not isinstance(tick, Resume | Release):
            return False
        reasons = live.refused or self._versions.judge(live)
        if not reasons:
            return False
        if self._versions.can_migrate and not live.refused:
            live.ticks.appendleft(pending)
            live.judging = True
            self._versions.ask(live, reasons, partial(self._tell, live.execution_id))
        elif goes_on:
            live.ticks.appendleft(pending)
            live.ticks.appendleft(Pending(Hold(in_words(reasons), reasons)))
        elif pending.reply is not None:
            pending.reply.set_exception(GraphChanged(live.execution_id, reasons))
        return True

    def _tell(self, execution_id: str, asked: Asked) -> None:
        """Where nodes run: send what the user's function said to the stream."""
        message = MigrationMade(
            incarnation=self._incarnation,
            execution_id=execution_id,
            nodes=asked.nodes,
            memory=asked.memory,
            forget=asked.forget,
            reasons=asked.reasons,
        )
        try:
            self._stream.tell(message, control=True)
        except ActorStopped:
            return  # the next start asks again

    def made(self, live: Live, message: MigrationMade) -> bool:
        """Put what the function said before all that waits; False when that comes too late."""
        if message.incarnation != self._incarnation or not live.judging:
            return False
        live.judging = False
        asked = Asked(message.nodes, message.memory, message.forget, message.reasons)
        verdict = self._versions.verdict(live, asked)
        if isinstance(verdict, Migrate):
            live.ticks.appendleft(Pending(verdict))
        else:
            live.refused = verdict
        return True
