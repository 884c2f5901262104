"""What `advance` decides: the patch to commit, and what to do once it is committed."""

import msgspec

from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import Status
from greenroom.protocol.patch import Cause, Patch
from greenroom.protocol.questions import QuestionChange


class RunNode(msgspec.Struct, frozen=True, gc=False):
    """Run the node's function; its end comes back as a tick with the same visit and attempt."""

    token_id: int
    node: str
    visit: int
    attempt: int


class StopNode(msgspec.Struct, frozen=True, gc=False):
    """Stop the token's node run; its end is stale from now on."""

    token_id: int


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The execution has ended, is held or paused: give its permit back, release who waits."""

    status: Status


Command = RunNode | StopNode | Finish


class Transition(msgspec.Struct, frozen=True, gc=False):
    """One step. Commit `patch`, `events` and `questions` together, then carry out `commands` in
    order.

    `closed`: a node run counts as done, so all that it buffered belongs into the commit.
    """

    patch: Patch
    cause: Cause
    commands: tuple[Command, ...]
    events: tuple[EventBody, ...]
    closed: bool = False
    questions: tuple[QuestionChange, ...] = ()
