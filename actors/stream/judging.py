"""What a stream does with a tick of an execution that stands at another version of the graph."""

from greenroom.actors.stream.live import Delete, Live, Pending
from greenroom.actors.stream.versions import Versions, in_words
from greenroom.protocol.engine.ticks import Cancel, Hold, Release, Resume, Rewind
from greenroom.protocol.execution import Status
from greenroom.protocol.version_errors import GraphChanged

_FREE = Cancel | Delete | Hold | Rewind
"""Ticks that move nobody on from where the execution stands."""

_GOING_ON = frozenset({Status.QUEUED, Status.RUNNING, Status.WAITING})


class Judging:
    """Lets nothing go on that does not fit. Only on the runtime's loop thread."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    def stops(self, live: Live, pending: Pending) -> bool:
        """Whether the tick is not for now: it was refused, or waits behind others.

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
        reasons = self._versions.judge(live)
        if not reasons:
            return False
        if goes_on:
            live.ticks.appendleft(pending)
            live.ticks.appendleft(Pending(Hold(in_words(reasons), reasons)))
        else:
            refuse(live, pending, reasons)
        return True


def refuse(live: Live, pending: Pending, reasons: tuple[str, ...]) -> None:
    """Tell whoever asked; the execution is left as it is."""
    if pending.reply is not None:
        pending.reply.set_exception(GraphChanged(live.execution_id, reasons))
