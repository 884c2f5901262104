"""The executions of one stream that are in memory, and how the others are brought there."""

import logging
from functools import partial

from greenroom.actors.stream.live import Live
from greenroom.actors.stream.recovery import load
from greenroom.protocol.engine.ticks import Resume, Rewind
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import ExecutionState, Status, asked_again
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.questions import QuestionRecord
from greenroom.protocol.stream_messages import ResumeExecution
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.stream")


class Roster:
    """Holds what runs or is about to; what waits is in the store only. On the runtime's loop."""

    def __init__(self, entry_point: str, store: Store) -> None:
        self._entry_point = entry_point
        self._store = store
        self._live: dict[str, Live] = {}

    def __len__(self) -> int:
        return len(self._live)

    def get(self, execution_id: str) -> Live | None:
        """The execution, if it is in memory."""
        return self._live.get(execution_id)

    def at_node(self, node: str) -> list[str]:
        """Two at most of the executions in memory that stand at a node, which has not ended."""
        found: list[str] = []
        for live in self._live.values():
            tokens = () if live.state is None else live.state.tokens.values()
            if any(token.node == node and token.ended is None for token in tokens):
                found.append(live.execution_id)
                if len(found) == 2:
                    break
        return found

    def find(self, execution_id: str, *, also_ended: bool = False) -> Live | None:
        """The execution, from memory or from the store; None when it is unknown here or ended."""
        live = self._live.get(execution_id)
        if live is None:
            read = partial(load, execution_id, self._entry_point, also_ended=also_ended)
            try:
                live = self._store.read(read)
            except StoreCorrupt:
                logger.exception("%s cannot be read: it stays where it is", execution_id)
            if live is not None:
                self._live[execution_id] = live
        return live

    def fill(self, live: Live) -> None:
        """Make it the execution of its id that the store has, if there is one: what was to be
        accepted under that id was a repeat.
        """
        self._live.pop(live.execution_id, None)
        found = self.find(live.execution_id)
        if found is not None:
            live.state, live.ordinal = found.state, found.ordinal
            live.patch_bytes, live.version = found.patch_bytes, found.version
        self._live[live.execution_id] = live

    def reload(self, live: Live) -> None:
        """Give the execution the state that the store has. Raises StoreCorrupt."""
        loaded = self._store.read(lambda reader: reader.load(live.ordinal))
        live.state, live.patch_bytes = loaded.state, loaded.patch_bytes

    def owner_of_key(self, concurrency_key: str) -> int:
        """The ordinal of the execution that has begun with that key and not ended, or 0."""
        return self._store.read(
            lambda reader: reader.owner_of_key(self._entry_point, concurrency_key)
        )

    def way_on(self, live: Live, wish: ResumeExecution) -> Resume | Rewind | None:
        """How an execution goes on from where it stands, or from an earlier record; None when what
        that takes cannot be read.
        """
        try:
            if wish.seq == 0:
                asked: dict[int, QuestionRecord] = {}
                if live.state is not None and any(t.unanswered for t in live.state.tokens.values()):
                    asked = self._store.read(partial(_read_asked, wish.execution_id, live.state))
                return Resume(wish.memory, wish.budget, asked)
            return self._store.read(partial(_read_way_back, live.ordinal, wish))
        except (StoreCorrupt, HistoryPruned):
            logger.exception("%s has no record %d that can be read", wish.execution_id, wish.seq)
            return None

    def add(self, live: Live) -> None:
        """A new execution, or one that recovery brings."""
        self._live[live.execution_id] = live

    def let_go(self, live: Live) -> None:
        """Keep it in the store only, unless something of it is under way here: whoever loaded it
        meanwhile would decide on a state that is about to change, and the end of a node run would
        find nobody.
        """
        running = live.state is not None and live.state.status is Status.RUNNING
        if live.in_flight is None and not live.ticks and not running:
            self._live.pop(live.execution_id, None)


def _read_way_back(ordinal: int, wish: ResumeExecution, reader: Reader) -> Rewind:
    target = reader.load_state(ordinal, wish.seq)
    asked = _read_asked(wish.execution_id, target, reader)
    return Rewind(target, wish.memory, asked, wish.budget)


def _read_asked(
    execution_id: str, state: ExecutionState, reader: Reader
) -> dict[int, QuestionRecord]:
    """The questions that are asked again when the execution goes on from that state, by number."""
    asked = {}
    for number, _ in asked_again(state):
        found = reader.question(execution_id, number)
        if found is None:
            raise StoreCorrupt(f"question {number} of {execution_id} is not in the store")
        asked[number] = found.record
    return asked
