"""What hosts and people ask of an execution, and the tick that each wish is."""

from greenroom.protocol.engine.ticks import Cancel, Pause, Resume
from greenroom.protocol.stream_messages import CancelExecution, PauseExecution, ResumeExecution

Wish = CancelExecution | PauseExecution | ResumeExecution


def tick_of_wish(wish: Wish) -> Cancel | Pause | Resume:
    """The tick that carries the wish out."""
    match wish:
        case CancelExecution():
            return Cancel(wish.reason)
        case PauseExecution():
            return Pause(wish.reason)
        case ResumeExecution():
            return Resume(wish.memory)
