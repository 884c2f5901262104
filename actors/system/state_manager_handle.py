"""What hosts hold of shared state: read and write it, and look at what changed."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.stream_memory import StateLink, StreamMemory
from greenroom.actors.system.turns import TurnView
from greenroom.protocol.commit import StateKey
from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.events import EventBody, EventType
from greenroom.protocol.ids import validate_id
from greenroom.protocol.isolation import IsolationLevel, StateScope
from greenroom.protocol.limits import EXECUTION_RESULTS_DEFAULT, STATE_CHANGES_MAX
from greenroom.protocol.messages import TurnMessage, WriterMessage
from greenroom.protocol.values import decode_value
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store


class StateManagerHandle:
    """Shared state of one runtime. Every method may be called from any thread.

    Before the start and after the stop reads find nothing and writes raise RuntimeNotRunning.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.turns = TurnView()
        self._link = StateLink(self.turns, clock)
        self._streams: set[str] = set()

    # --- for the runtime

    def attach(
        self,
        store: Store,
        writer: ActorRef[WriterMessage],
        state_manager: ActorRef[TurnMessage],
        streams: Iterable[str] = (),
    ) -> None:
        """The runtime has started. `streams` are those that `get_stats` counts."""
        self._link.store, self._link.writer = store, writer
        self._streams.update(streams)
        self.turns.attach(state_manager)

    def detach(self) -> None:
        """The runtime stops."""
        self._link.store = self._link.writer = None
        self._link.scratch.clear()
        self.turns.attach(None)

    # --- for everybody

    def create_memory(
        self,
        execution_id: str,
        stream_id: str,
        isolation: IsolationLevel | str = IsolationLevel.SHARED,
    ) -> StreamMemory:
        """Return the state as that execution of that stream sees it.

        Raises InvalidId for ids that cannot be, InvalidInput for an unknown isolation level.
        """
        validate_id("execution", execution_id)
        validate_id("stream", stream_id)
        try:
            level = IsolationLevel(isolation)
        except ValueError:
            choices = ", ".join(IsolationLevel)
            raise InvalidInput(f"isolation is {isolation!a:.40}: use one of {choices}") from None
        self._streams.add(stream_id)
        scratch = self._link.scratch
        while len(scratch) >= EXECUTION_RESULTS_DEFAULT:  # the oldest; nothing durable is lost
            scratch.pop(next(iter(scratch)), None)
        return StreamMemory(self._link, execution_id, stream_id, level)

    async def read(
        self,
        key: str,
        default: Any = None,
        *,
        scope: StateScope = StateScope.GLOBAL,
        stream_id: str | None = None,
    ) -> Any:
        """Return a copy of the committed value; `stream_id` is needed for scope stream."""
        return self.read_sync(key, default, scope=scope, stream_id=stream_id)

    def read_sync(
        self,
        key: str,
        default: Any = None,
        *,
        scope: StateScope = StateScope.GLOBAL,
        stream_id: str | None = None,
    ) -> Any:
        """As `read`, for plain code."""
        return self._memory(scope, stream_id).read_sync(key, default, scope)

    async def read_all(
        self, *, scope: StateScope = StateScope.GLOBAL, stream_id: str | None = None
    ) -> dict[str, Any]:
        """Return a copy of everything in the scope."""
        return await self._memory(scope, stream_id).read_all(scope)

    async def write(
        self,
        key: str,
        value: Any,
        *,
        scope: StateScope = StateScope.GLOBAL,
        stream_id: str | None = None,
    ) -> None:
        """Set a key; it is durable when this returns.

        Raises InvalidValue with the path of what cannot be stored, StoreUnavailable when the store
        cannot write now, RuntimeNotRunning.
        """
        await self._memory(scope, stream_id).write(key, value, scope)

    async def write_batch(
        self,
        values: dict[str, Any],
        *,
        scope: StateScope = StateScope.GLOBAL,
        stream_id: str | None = None,
    ) -> None:
        """Set several keys in one commit: all or none."""
        await self._memory(scope, stream_id).write_batch(values, scope)

    async def delete(
        self,
        key: str,
        *,
        scope: StateScope = StateScope.GLOBAL,
        stream_id: str | None = None,
    ) -> None:
        """Remove a key."""
        await self._memory(scope, stream_id).delete(key, scope)

    async def compare_and_set(
        self,
        key: str,
        expected: Any,
        value: Any,
        *,
        scope: StateScope = StateScope.GLOBAL,
        stream_id: str | None = None,
    ) -> bool:
        """Set `value` if the present one equals `expected` (None: no value); say whether it did."""
        return await self._memory(scope, stream_id).compare_and_set(key, expected, value, scope)

    def write_sync(
        self,
        key: str,
        value: Any,
        *,
        scope: StateScope = StateScope.GLOBAL,
        stream_id: str | None = None,
    ) -> None:
        """As `write`, for plain code; raises RuntimeError on a thread with a running loop."""
        self._memory(scope, stream_id).write_sync(key, value, scope)

    def cleanup_execution(self, execution_id: str) -> None:
        """Forget what hosts wrote to that execution's scope; its own memory stays in the store."""
        self._link.scratch.pop(execution_id, None)

    def get_recent_changes(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return changes of shared state among the newest 1,000 events of the log, newest first.

        Each is {seq, key, scope, owner, value or bytes or deleted, stream_id, execution_id,
        node_id, timestamp}. Reads the store on the calling thread.
        """
        return [_change(seq, body) for seq, body in self._changes()[:limit]]

    def get_stats(self) -> dict[str, int]:
        """Return {global_keys, stream_count, execution_count, total_changes, version}.

        `stream_count` counts streams with state of their own, `execution_count` executions for
        which hosts hold state, `total_changes` what `get_recent_changes` can show; `version` is
        that of the newest write. Reads the store on the calling thread; zeros when not running.
        """
        store = self._link.store
        keys = versions = 0
        streams: list[int] = []
        if store is not None:

            def load(reader: Reader) -> tuple[int, int, list[int]]:
                entries, version = reader.state_scope(StateScope.GLOBAL.value, "")
                own = [
                    reader.state_version(StateKey(StateScope.STREAM.value, one, ""))
                    for one in sorted(self._streams)
                ]
                return len(entries), version, own

            keys, versions, streams = store.read(load)
        return {
            "global_keys": keys,
            "stream_count": sum(1 for version in streams if version),
            "execution_count": len(self._link.scratch),
            "total_changes": len(self._changes()),
            "version": max([versions, *streams]),
        }

    # --- inside

    def _memory(self, scope: StateScope, stream_id: str | None) -> StreamMemory:
        try:
            given = StateScope(scope)
        except ValueError:
            choices = f"{StateScope.STREAM}, {StateScope.GLOBAL}"
            raise InvalidInput(f"scope is {scope!a:.40}: use one of {choices}") from None
        if given is StateScope.EXECUTION:
            raise InvalidInput("scope execution needs an execution: use create_memory()")
        if given is StateScope.STREAM and stream_id is None:
            raise InvalidInput("scope stream needs stream_id, the id of an entry point")
        if stream_id is not None:
            validate_id("stream", stream_id)
            self._streams.add(stream_id)
        # The host waits for the turn of a contended key like a synchronized execution of its own.
        return StreamMemory(self._link, "", stream_id or "", IsolationLevel.SYNCHRONIZED)

    def _changes(self) -> list[tuple[int, EventBody]]:
        store = self._link.store
        if store is None:
            return []

        def load(reader: Reader) -> list[tuple[int, EventBody]]:
            last = reader.last_event()
            first = max(reader.oldest_event(), last - STATE_CHANGES_MAX + 1)
            return reader.events(first, last - first + 1) if last >= first else []

        kind = EventType.STATE_CHANGED.value
        return [(seq, body) for seq, body in reversed(store.read(load)) if body.type == kind]


def _change(seq: int, body: EventBody) -> dict[str, Any]:
    data: dict[str, Any] = {} if body.data is None else decode_value(body.data)
    return {
        "seq": seq,
        **data,
        "stream_id": body.stream,
        "execution_id": body.execution,
        "node_id": body.node,
        "timestamp": datetime.fromtimestamp(body.at, UTC),
    }
