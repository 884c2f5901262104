"""What hosts and people ask of an execution, and the tick that each wish is."""

from greenroom.actors.stream.live import Delete
from greenroom.protocol.engine.ticks import Cancel, Pause, Resume
from greenroom.protocol.stream_messages import (
    CancelExecution,
    DeleteExecution,
    PauseExecution,
    ResumeExecution,
)

Wish = CancelExecution | PauseExecution | ResumeExecution | DeleteExecution
ALSO_ENDED = ResumeExecution | DeleteExecution
"""Wishes that may be about an execution that has ended."""


def tick_of_wish(wish: Wish) -> Cancel | Pause | Resume | Delete:
    """The tick that carries the wish out."""
    match wish:
        case CancelExecution():
            return Cancel(wish.reason)
        case PauseExecution():
            return Pause(wish.reason)
        case ResumeExecution():
            return Resume(wish.memory)
        case DeleteExecution():
            return Delete()
