"""What hosts and people ask of an execution, and the tick that each wish is."""

from greenroom.actors.stream.live import Delete
from greenroom.protocol.engine.ticks import Answer, Cancel, Inject, Pause, Resume
from greenroom.protocol.stream_messages import (
    AnswerQuestion,
    CancelExecution,
    DeleteExecution,
    InjectInput,
    PauseExecution,
    ResumeExecution,
)

Wish = (
    CancelExecution
    | PauseExecution
    | ResumeExecution
    | DeleteExecution
    | AnswerQuestion
    | InjectInput
)
TickOfWish = Cancel | Pause | Resume | Delete | Answer | Inject
ALSO_ENDED = ResumeExecution | DeleteExecution
"""Wishes that may be about an execution that has ended."""


def tick_of_wish(wish: Wish, *, permit: bool) -> TickOfWish:
    """The tick that carries the wish out; `permit` says whether its execution has one."""
    match wish:
        case CancelExecution():
            return Cancel(wish.reason)
        case PauseExecution():
            return Pause(wish.reason)
        case ResumeExecution():
            return Resume(wish.memory, wish.budget)
        case DeleteExecution():
            return Delete()
        case AnswerQuestion():
            number, value, digest = wish.number, wish.value, wish.digest
            return Answer(number=number, value=value, digest=digest, by=wish.by, permit=permit)
        case InjectInput():
            return Inject(node=wish.node, value=wish.value)
