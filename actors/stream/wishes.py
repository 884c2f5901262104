"""What hosts and people ask of an execution, and the tick that each wish is."""

from collections.abc import Callable

from greenroom.actors.stream.live import Delete
from greenroom.protocol.engine.ticks import Answer, Cancel, Inject, Pause, Resume, Rewind
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
TickOfWish = Cancel | Pause | Resume | Rewind | Delete | Answer | Inject
ALSO_ENDED = ResumeExecution | DeleteExecution
"""Wishes that may be about an execution that has ended."""


def tick_of_wish(
    wish: Wish, way_on: Callable[[ResumeExecution], Resume | Rewind | None], *, permit: bool
) -> TickOfWish | None:
    """The tick that carries the wish out; None when the position that it names cannot be read.

    `way_on(wish)` reads that position. What has been recorded never changes, so it is right
    whenever the tick's turn comes. `permit` says whether the execution has one.
    """
    match wish:
        case CancelExecution():
            return Cancel(wish.reason)
        case PauseExecution():
            return Pause(wish.reason)
        case ResumeExecution():
            return way_on(wish)
        case DeleteExecution():
            return Delete()
        case AnswerQuestion():
            number, value, digest = wish.number, wish.value, wish.digest
            return Answer(number=number, value=value, digest=digest, by=wish.by, permit=permit)
        case InjectInput():
            return Inject(node=wish.node, value=wish.value, request=wish.request)
