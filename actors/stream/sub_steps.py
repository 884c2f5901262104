"""Sub-steps that wait for one commit go into the next one together."""

from collections import deque

from greenroom.actors.stream.live import Answers, Pending
from greenroom.protocol.engine.ticks import Progressed


def next_pending(ticks: deque[Pending]) -> Pending:
    """Take what comes next; sub-steps of one node run that wait in a row are taken as one.

    A node whose calls end at the same time would else wait for one sync of the disk after another.
    """
    first = ticks.popleft()
    run = first.tick
    if not isinstance(run, Progressed):
        return first
    changes = [*run.changes]
    replies = [first.reply]
    while ticks:
        other = ticks[0].tick
        if not isinstance(other, Progressed) or _of(other) != _of(run):
            break
        changes += other.changes
        replies.append(ticks.popleft().reply)
    if len(replies) == 1:
        return first
    together = Progressed(run.token_id, run.visit, run.attempt, tuple(changes))
    return Pending(together, reply=Answers([one for one in replies if one is not None]))


def _of(tick: Progressed) -> tuple[int, int, int]:
    return tick.token_id, tick.visit, tick.attempt
