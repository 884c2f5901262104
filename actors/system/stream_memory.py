"""State for hosts: scopes and isolation levels as nodes have them, each write a durable commit."""

from collections.abc import Collection
from itertools import count
from typing import Any

import msgspec

from greenroom.actors.kernel.clock import Clock, SystemClock
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.system.turns import TurnView
from greenroom.protocol.commit import (
    Commit,
    CommitOutcome,
    OutcomeKind,
    StateKey,
    StateRead,
    StateWrite,
)
from greenroom.protocol.errors import (
    CommitRefused,
    InvalidInput,
    IsolationError,
    KeyNotAllowed,
    RuntimeNotRunning,
    StoreUnavailable,
)
from greenroom.protocol.isolation import IsolationLevel, StateScope
from greenroom.protocol.messages import CommitNow, WriterMessage
from greenroom.protocol.shared_state import check_key, state_changed_events
from greenroom.protocol.values import decode_value, encode_value
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store

Layer = dict[str, msgspec.Raw]


class StateLink:
    """The way to the store for everything that reads and writes state outside nodes; any thread.

    Shared by a handle and the memories it made. Without a started runtime reads find nothing and
    writes raise RuntimeNotRunning.
    """

    def __init__(self, turns: TurnView, clock: Clock | None = None) -> None:
        self.turns = turns
        self.scratch: dict[str, Layer] = {}  # by execution, in the order of creation
        self.store: Store | None = None
        self.writer: ActorRef[WriterMessage] | None = None
        self._clock = clock or SystemClock()
        self._numbers = count(1)

    def get(self, key: StateKey) -> tuple[msgspec.Raw | None, int]:
        """Return the committed (encoded value, version) of a shared key."""
        if self.store is None:
            return None, 0
        return self.store.read(lambda reader: reader.state_get(key))

    def scopes(self, scopes: Collection[StateKey]) -> list[Layer]:
        """Return everything in each scope, from one consistent state."""
        if self.store is None or not scopes:
            return [{} for _ in scopes]

        def load(reader: Reader) -> list[Layer]:
            return [
                {key: raw for key, raw, _ in reader.state_scope(one.scope, one.owner)[0]}
                for one in scopes
            ]

        return self.store.read(load)

    def memory(self, execution_id: str) -> Layer:
        """Return an execution's committed memory, under what its host set for itself."""
        found: Layer = {}
        if self.store is not None:

            def load(reader: Reader) -> Layer:
                stored = reader.execution(execution_id)
                return {} if stored is None else reader.load_state(stored.ordinal).memory

            found = self.store.read(load)
        return {**found, **self.scratch.get(execution_id, {})}

    def submit(
        self,
        writes: dict[StateKey, msgspec.Raw | None],
        stream: str,
        execution_id: str,
        reads: tuple[StateRead, ...] = (),
    ) -> Future[CommitOutcome]:
        """Send one commit with all of `writes` and their events. Raises RuntimeNotRunning."""
        if self.writer is None:
            raise RuntimeNotRunning("shared state is written in a started runtime")
        made = tuple(StateWrite(key, raw) for key, raw in writes.items())
        commit = Commit(
            commit_id=next(self._numbers),
            stream="",  # no stream's instance: no fence
            incarnation=0,
            events=state_changed_events(
                made,
                self._clock.now(),
                self._value,
                stream=stream or None,
                execution=execution_id or None,
            ),
            reads=reads,
            writes=made,
        )
        return self.writer.ask(CommitNow(commit=commit))

    def _value(self, key: StateKey) -> msgspec.Raw | None:
        store = self.store
        return None if store is None else store.read(lambda reader: reader.state_get(key))[0]


def applied(outcome: CommitOutcome) -> bool:
    """Return True for an applied commit, False for a lost race; raises for everything else."""
    match outcome.kind:
        case OutcomeKind.APPLIED:
            return True
        case OutcomeKind.CONFLICT:
            return False
        case OutcomeKind.UNAVAILABLE:
            raise StoreUnavailable(outcome.text or "the store cannot write now: try again later")
        case _:
            raise CommitRefused(f"the write was refused: {outcome.code} {outcome.text}")


class StreamMemory:
    """State as one execution of one stream sees it, for code outside the nodes.

    Reads see what is committed. A write to scope stream or global is durable when it returns, and
    all of a batch or nothing is stored. Scope execution is the committed memory of that execution;
    what is written there lies over it for this process's hosts only, until `cleanup_execution`:
    a running node's memory belongs to its journal, and nobody else writes to it. Under `isolated`
    the wider scopes raise IsolationError. The sync methods obey the same rules; on a thread with a
    running event loop the writing ones raise RuntimeError, because they would block it.
    """

    def __init__(
        self,
        link: StateLink,
        execution_id: str,
        stream_id: str,
        isolation: IsolationLevel,
        read_keys: frozenset[str] | None = None,
        write_keys: frozenset[str] | None = None,
    ) -> None:
        self._link = link
        self.execution_id = execution_id
        self.stream_id = stream_id
        self.isolation = isolation
        self._read_keys = read_keys
        self._write_keys = write_keys

    def with_permissions(
        self, read_keys: Collection[str], write_keys: Collection[str]
    ) -> "StreamMemory":
        """Return the same memory restricted to these keys; an empty collection denies every key."""
        return StreamMemory(
            self._link,
            self.execution_id,
            self.stream_id,
            self.isolation,
            frozenset(read_keys),
            frozenset(write_keys),
        )

    # --- async

    async def read(self, key: str, default: Any = None, scope: StateScope | None = None) -> Any:
        """Return a copy of the value, from execution, stream, then global without a scope."""
        return self.read_sync(key, default, scope)

    async def read_all(self, scope: StateScope | None = None) -> dict[str, Any]:
        """Return a copy of everything permitted in a scope, or in all: the narrower wins."""
        return self.read_all_sync(scope)

    async def write(self, key: str, value: Any, scope: StateScope = StateScope.EXECUTION) -> None:
        """Set a key. Raises InvalidValue, KeyNotAllowed, IsolationError, StoreUnavailable."""
        await self.write_batch({key: value}, scope)

    async def write_batch(
        self, values: dict[str, Any], scope: StateScope = StateScope.EXECUTION
    ) -> None:
        """Set several keys in one commit: all or none."""
        await self._store(self._encoded(values), scope)

    async def delete(self, key: str, scope: StateScope = StateScope.EXECUTION) -> None:
        """Remove a key."""
        self._check_write(key)
        await self._store({check_key(key): None}, scope)

    async def compare_and_set(
        self, key: str, expected: Any, value: Any, scope: StateScope = StateScope.EXECUTION
    ) -> bool:
        """Set `value` if the present value equals `expected` (None: no value); say whether it did.

        Under `synchronized` it first lets a step finish that holds the key's turn.
        """
        self._check_read(key)
        encoded = self._encoded({key: value})
        if StateScope(scope) is StateScope.EXECUTION:
            return self._swap_scratch(key, expected, encoded)
        shared = self._shared(key, scope)
        await self._wait((shared,))
        raw, version = self._link.get(shared)
        if _decoded(raw) != decode_value(encode_value(expected, "$.expected")):
            return False
        outcome = await self._link.submit(
            {shared: encoded[key]},
            self.stream_id,
            self.execution_id,
            (StateRead(shared, version),),
        )
        return applied(outcome)

    # --- for plain code

    def read_sync(self, key: str, default: Any = None, scope: StateScope | None = None) -> Any:
        """As `read`; a short read of the store on the calling thread."""
        self._check_read(key)
        if scope is None or StateScope(scope) is StateScope.EXECUTION:
            raw = self._link.memory(self.execution_id).get(key)
            if raw is not None:
                return decode_value(raw)
        for shared in self._shared_keys(key, scope):
            raw, _ = self._link.get(shared)
            if raw is not None:
                return decode_value(raw)
        return default

    def read_all_sync(self, scope: StateScope | None = None) -> dict[str, Any]:
        """As `read_all`; scans the scopes on the calling thread."""
        merged: Layer = {}
        scopes = [StateKey(one.scope, one.owner, "") for one in self._shared_keys("-", scope)]
        for layer in self._link.scopes(scopes[::-1]):  # widest first
            merged.update(layer)
        if scope is None or StateScope(scope) is StateScope.EXECUTION:
            merged.update(self._link.memory(self.execution_id))
        allowed = self._read_keys
        return {
            key: decode_value(raw)
            for key, raw in merged.items()
            if allowed is None or key in allowed
        }

    def write_sync(self, key: str, value: Any, scope: StateScope = StateScope.EXECUTION) -> None:
        """As `write`."""
        self.write_batch_sync({key: value}, scope)

    def write_batch_sync(
        self, values: dict[str, Any], scope: StateScope = StateScope.EXECUTION
    ) -> None:
        """As `write_batch`."""
        encoded = self._encoded(values)
        if StateScope(scope) is StateScope.EXECUTION:
            self._set_scratch(encoded)
            return
        writes = {self._shared(key, scope): raw for key, raw in encoded.items()}
        for key in self._contended(writes):
            self._link.turns.when_free(key, (self.execution_id, 0)).get()
        applied(self._link.submit(writes, self.stream_id, self.execution_id).get())

    # --- inside

    async def _store(self, encoded: dict[str, msgspec.Raw | None], scope: StateScope) -> None:
        if StateScope(scope) is StateScope.EXECUTION:
            self._set_scratch(encoded)
            return
        writes = {self._shared(key, scope): raw for key, raw in encoded.items()}
        if writes:
            await self._wait(writes)
            applied(await self._link.submit(writes, self.stream_id, self.execution_id))

    async def _wait(self, keys: Collection[StateKey]) -> None:
        for key in self._contended(keys):
            await self._link.turns.when_free(key, (self.execution_id, 0))

    def _contended(self, keys: Collection[StateKey]) -> list[StateKey]:
        if self.isolation is not IsolationLevel.SYNCHRONIZED:
            return []
        return [key for key in keys if self._link.turns.taken(key, (self.execution_id, 0))]

    def _set_scratch(self, encoded: dict[str, msgspec.Raw | None]) -> None:
        scratch = self._link.scratch.setdefault(self.execution_id, {})
        for key, raw in encoded.items():
            if raw is None:
                scratch.pop(key, None)
            else:
                scratch[key] = raw

    def _swap_scratch(
        self, key: str, expected: Any, encoded: dict[str, msgspec.Raw | None]
    ) -> bool:
        present = _decoded(self._link.memory(self.execution_id).get(key))
        if present != decode_value(encode_value(expected, "$.expected")):
            return False
        self._set_scratch(encoded)
        return True

    def _encoded(self, values: dict[str, Any]) -> dict[str, msgspec.Raw | None]:
        if not isinstance(values, dict):
            raise InvalidInput(f"write_batch takes a dict, not a {type(values).__name__}")
        for key in values:
            self._check_write(key)
        return {
            check_key(key): msgspec.Raw(encode_value(value, f"$.{key}"))
            for key, value in values.items()
        }

    def _shared_keys(self, key: str, scope: StateScope | None) -> tuple[StateKey, ...]:
        if scope is None:
            if self.isolation is IsolationLevel.ISOLATED:
                return ()
            return (self._shared(key, StateScope.STREAM), self._shared(key, StateScope.GLOBAL))
        if StateScope(scope) is StateScope.EXECUTION:
            return ()
        return (self._shared(key, scope),)

    def _shared(self, key: str, scope: StateScope) -> StateKey:
        given = StateScope(scope)
        if self.isolation is IsolationLevel.ISOLATED:
            raise IsolationError(f"scope {given.value!r} cannot be used by an isolated execution")
        owner = self.stream_id if given is StateScope.STREAM else ""
        return StateKey(given.value, owner, check_key(key))

    def _check_read(self, key: str) -> None:
        if self._read_keys is not None and key not in self._read_keys:
            raise KeyNotAllowed(f"Not allowed to read key: {key}")

    def _check_write(self, key: str) -> None:
        if self._write_keys is not None and key not in self._write_keys:
            raise KeyNotAllowed(f"Not allowed to write key: {key}")


def _decoded(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else decode_value(raw)
