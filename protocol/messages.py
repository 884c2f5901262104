"""The messages that the runtime's own actors exchange. Every one crosses as msgpack bytes.

Who receives what: `WriterMessage` the store writer, `BusMessage` the event bus, `TurnMessage` the
state manager, `ConsumerMessage` a log consumer; an execution stream has its own room
(stream_messages.py).
"""

import msgspec

from greenroom.protocol.commit import Commit, StateKey
from greenroom.protocol.message import Message
from greenroom.protocol.outcomes import Answer

# --- to the store writer


class CommitBatch(Message, frozen=True, tag="commit_batch"):
    """Commits of one sender, in order. The outcomes go to `sender` as `CommitAcks`, on its
    control lane.
    """

    sender: str  # address
    commits: tuple[Commit, ...]


class CommitNow(Message, frozen=True, tag="commit_now"):
    """Asked, not told: one commit on its own; the reply is a `CommitOutcome`."""

    commit: Commit


class RaiseFence(Message, frozen=True, tag="raise_fence"):
    """Asked: makes a new incarnation number for the stream (int); older ones are refused from now
    on.
    """

    stream: str


class NotePlan(Message, frozen=True, tag="note_plan"):
    """Asked: what the graph with that digest declares, an encoded PlanVersion (None)."""

    digest: bytes
    description: msgspec.Raw


class Barrier(Message, frozen=True, tag="barrier"):
    """Asked: answered (None) when everything told before it is durable or refused."""


class DropCursor(Message, frozen=True, tag="drop_cursor"):
    """Asked: forgets a log consumer that is gone, so that it holds back no pruning (bool)."""

    consumer: str


class StoreProbe(Message, frozen=True, tag="store_probe"):
    """Time to see whether a store that refused writes takes them again."""


class TidyStore(Message, frozen=True, tag="tidy_store"):
    """Time to drop what has stayed in the store as long as it may; `at_once`: because something has
    become too much, or is left of the last time.
    """

    at_once: bool = False


WriterMessage = (
    CommitBatch | CommitNow | RaiseFence | NotePlan | Barrier | DropCursor | StoreProbe | TidyStore
)


# --- to the state manager


class TakeTurns(Message, frozen=True, tag="take_turns"):
    """Queue for the turns of all `keys`; answered with `TurnsGranted` to `stream` on its control
    lane.
    """

    stream: str  # address
    incarnation: int
    execution_id: str
    token_id: int
    keys: tuple[StateKey, ...]


class ReleaseTurns(Message, frozen=True, tag="release_turns"):
    """Give the node run's turns back, or leave the queues."""

    execution_id: str
    token_id: int


class ReleaseStream(Message, frozen=True, tag="release_stream"):
    """Give back the turns of every execution of a stream's older incarnations."""

    stream: str
    incarnation: int


class AwaitTurnFree(Message, frozen=True, tag="await_turn_free"):
    """Asked: answered when nobody else holds or waits for the key's turn (True), or in vain after
    30 s (False).
    """

    key: StateKey
    execution_id: str
    token_id: int


TurnMessage = TakeTurns | ReleaseTurns | ReleaseStream | AwaitTurnFree


# --- to the event bus and log consumers


class EventsAppended(Message, frozen=True, tag="events_appended"):
    """The log is durable up to `last`. Sent only to those that wait for it."""

    last: int


class FoldTick(Message, frozen=True, tag="fold_tick"):
    """Time to fold and commit what has gathered."""


class CatchUp(Message, frozen=True, tag="catch_up"):
    """Asked: answered with the seq (int) up to which the log has been read, which is at least as
    far as it was durable when this was asked.
    """


class AnswerGiven(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a user's function answered about the execution whose end is event `seq`."""

    seq: int
    criterion: str
    answer: Answer


class CriteriaAnswered(Message, frozen=True, tag="criteria_answered"):
    """The answers that this instance asked for; none when they could not be asked for."""

    incarnation: int
    answers: tuple[AnswerGiven, ...]


BusMessage = EventsAppended | CatchUp
ConsumerMessage = EventsAppended | FoldTick | CatchUp | CriteriaAnswered
