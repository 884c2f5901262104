"""What one node run reads and changes, gathered until its closing step.

Nothing here waits. Own changes are seen by later reads of the same run; a run that fails drops all.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from greenroom.actors.nodes.functions import FunctionRegistry
from greenroom.actors.nodes.notes import NodeNotes
from greenroom.protocol.commit import StateKey, StateRead, StateWrite
from greenroom.protocol.errors import InvalidInput, IsolationError, KeyNotAllowed
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.isolation import IsolationLevel, StateScope
from greenroom.protocol.questions import AskedQuestion
from greenroom.protocol.shared_state import check_key
from greenroom.protocol.stream_messages import UpdateMade
from greenroom.protocol.values import decode_value, encode_value
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store

NIL: Final = msgspec.Raw(encode_value(None))

Pair = tuple[msgspec.Raw | None, int]


class StepBuffer:
    """The reads and writes of one node run.

    Under `synchronized` everything that is read outside the execution's own memory is noted with
    its version (0 when it was never written); under `shared` only what `update` and
    `compare_and_set` depend on. Keys of execution memory are restricted to what the node declares.
    """

    __slots__ = (
        "_functions",
        "_isolation",
        "_memory",
        "_node",
        "_outputs",
        "_plain",
        "_reads",
        "_store",
        "_stream_id",
        "_updates",
        "_writes",
        "events",
        "notes",
        "questions",
        "sleep_until",
    )

    def __init__(
        self,
        store: Store,
        functions: FunctionRegistry,
        isolation: IsolationLevel,
        stream_id: str,
        node: NodeSpec,
        memory: dict[str, msgspec.Raw],
    ) -> None:
        self._store = store
        self._functions = functions
        self._isolation = isolation
        self._stream_id = stream_id
        self._node = node
        self._memory = memory
        self._outputs: dict[str, msgspec.Raw | None] = {}
        self._reads: dict[StateKey, int] = {}
        self._writes: dict[StateKey, msgspec.Raw | None] = {}
        self._updates: list[UpdateMade] = []
        self._plain: set[StateKey] = set()  # touched otherwise than by `update`
        self.events: list[msgspec.Raw] = []
        self.notes = NodeNotes()
        self.sleep_until: float | None = None  # wall UTC seconds
        self.questions: list[AskedQuestion] = []

    @property
    def node(self) -> NodeSpec:
        """The node that runs."""
        return self._node

    # --- what the closing step takes

    def outputs(self) -> dict[str, msgspec.Raw]:
        """What was written to execution memory; a deleted key is None there."""
        return {key: NIL if raw is None else raw for key, raw in self._outputs.items()}

    def reads(self) -> tuple[StateRead, ...]:
        """The versions on which the step depends."""
        return tuple(StateRead(key, version) for key, version in self._reads.items())

    def writes(self) -> tuple[StateWrite, ...]:
        """The last write to each shared key."""
        return tuple(StateWrite(key, raw) for key, raw in self._writes.items())

    def updates(self) -> tuple[UpdateMade, ...]:
        """The updates of keys that nothing but updates touched: these can be made again alone."""
        return tuple(one for one in self._updates if one.key not in self._plain)

    # --- keys

    def shared_keys(self, key: str, scope: StateScope | None) -> tuple[StateKey, ...]:
        """Return the shared keys that a read of `key` looks at, after execution memory, in order.

        Raises IsolationError for an explicit wider scope under `isolated`.
        """
        if scope is None:
            if self._isolation is IsolationLevel.ISOLATED:
                return ()
            return (
                StateKey(StateScope.STREAM.value, self._stream_id, check_key(key)),
                StateKey(StateScope.GLOBAL.value, "", key),
            )
        if scope is StateScope.EXECUTION:
            return ()
        return (self.shared_key(key, scope),)

    def shared_key(self, key: str, scope: StateScope) -> StateKey:
        """Return the key in scope stream or global. Raises IsolationError under `isolated`."""
        self._refuse_isolated(scope)
        owner = self._stream_id if scope is StateScope.STREAM else ""
        return StateKey(scope.value, owner, check_key(key))

    def scopes(self, scope: StateScope | None) -> tuple[StateKey, ...]:
        """Return the shared scopes that a read of everything looks at, widest first."""
        if scope is None:
            if self._isolation is IsolationLevel.ISOLATED:
                return ()
            return (
                StateKey(StateScope.GLOBAL.value, "", ""),
                StateKey(StateScope.STREAM.value, self._stream_id, ""),
            )
        if scope is StateScope.EXECUTION:
            return ()
        self._refuse_isolated(scope)
        owner = self._stream_id if scope is StateScope.STREAM else ""
        return (StateKey(scope.value, owner, ""),)

    def _refuse_isolated(self, scope: StateScope) -> None:
        if self._isolation is IsolationLevel.ISOLATED:
            raise IsolationError(
                f"scope {scope.value!r} cannot be used by an isolated execution: declare the entry "
                "point shared or synchronized"
            )

    # --- reads

    def inputs(self, keys: Iterable[str]) -> dict[str, msgspec.Raw]:
        """Resolve declared input keys: execution memory, then stream, then global state."""
        found: dict[str, msgspec.Raw] = {}
        missing: list[str] = []
        for key in keys:
            raw = self._memory.get(key)
            if raw is not None:
                found[key] = raw
            else:
                missing.append(key)
        if missing and self._isolation is not IsolationLevel.ISOLATED:
            for key in missing:
                raw = self._first(self.shared_keys(key, None))
                if raw is not None:
                    found[key] = raw
        return found

    def read(self, key: str, default: object, scope: StateScope | None) -> Any:
        """Return a fresh copy of the value, `default` when there is none."""
        if scope is None or scope is StateScope.EXECUTION:
            self._check_read(key)
            raw = self._outputs[key] if key in self._outputs else self._memory.get(key)
            if raw is not None:
                return decode_value(raw)
        raw = self._first(self.shared_keys(key, scope))
        return default if raw is None else decode_value(raw)

    def read_all(self, scope: StateScope | None) -> dict[str, Any]:
        """Return every key of the scope; without a scope global, stream and execution in one, the
        narrower winning."""
        scopes = self.scopes(scope)
        merged: dict[str, msgspec.Raw] = {}

        def load(reader: Reader) -> list[tuple[list[tuple[str, msgspec.Raw, int]], int]]:
            return [reader.state_scope(one.scope, one.owner) for one in scopes]

        for one, (entries, version) in zip(
            scopes, self._store.read(load) if scopes else (), strict=True
        ):
            if self._isolation is IsolationLevel.SYNCHRONIZED:
                self._reads.setdefault(one, version)
            layer = {key: raw for key, raw, _ in entries}
            for key, own in self._writes.items():
                if key.scope == one.scope:
                    self._touch(key)
                    _overlay(layer, key.key, own)
            merged.update(layer)
        if scope is None or scope is StateScope.EXECUTION:
            layer = dict(self._memory)
            for name, own in self._outputs.items():
                _overlay(layer, name, own)
            merged.update({key: raw for key, raw in layer.items() if self._may_read(key)})
        return {key: decode_value(raw) for key, raw in merged.items()}

    def _first(self, keys: tuple[StateKey, ...]) -> msgspec.Raw | None:
        for key in keys:
            if key in self._writes:
                self._touch(key)
                raw = self._writes[key]
            else:
                raw, version = self._committed(key)
                if self._isolation is IsolationLevel.SYNCHRONIZED:
                    self._plain.add(key)
                    self._reads.setdefault(key, version)
            if raw is not None:
                return raw
        return None

    def _touch(self, key: StateKey) -> None:
        # What was seen of an own update is only true for the version it was made on.
        if self._isolation is IsolationLevel.SYNCHRONIZED:
            self._plain.add(key)

    def _committed(self, key: StateKey) -> Pair:
        return self._store.read(lambda reader: reader.state_get(key))

    # --- writes

    def write(self, values: dict[str, object], scope: StateScope) -> None:
        """Set keys, all or none: everything is checked and encoded before the first is set."""
        if not isinstance(values, dict):
            raise InvalidInput(f"write_batch takes a dict, not a {type(values).__name__}")
        encoded = {
            check_key(key): msgspec.Raw(encode_value(value, f"$.{key}"))
            for key, value in values.items()
        }
        if scope is StateScope.EXECUTION:
            for key in encoded:
                self._check_write(key)
            self._outputs.update(encoded)
            return
        shared = {self.shared_key(key, scope): raw for key, raw in encoded.items()}
        self._plain.update(shared)
        self._writes.update(shared)

    def delete(self, key: str, scope: StateScope) -> None:
        """Remove a key; in execution memory it becomes None."""
        if scope is StateScope.EXECUTION:
            self._check_write(check_key(key))
            self._outputs[key] = None
            return
        shared = self.shared_key(key, scope)
        self._plain.add(shared)
        self._writes[shared] = None

    def update(self, key: str, name: str, arguments: tuple[Any, ...], scope: StateScope) -> None:
        """Replace the value by `function(value, *arguments)`; None stands for no value."""
        function = self._functions.get(name)
        if function.is_async:
            raise InvalidInput(f"function {name!r} is async: an update takes a plain, pure one")
        if scope is StateScope.EXECUTION:
            self._check_read(key)
            self._check_write(check_key(key))
            raw = self._outputs[key] if key in self._outputs else self._memory.get(key)
            self._outputs[key] = applied(function.call, raw, arguments, key)
            return
        shared = self.shared_key(key, scope)
        stored = msgspec.Raw(encode_value(list(arguments), "$.arguments"))
        if shared in self._writes:
            raw = self._writes[shared]
        else:
            raw, version = self._committed(shared)
            self._reads.setdefault(shared, version)
        # The arguments come back from their stored form now too, as when the update is made again.
        self._writes[shared] = applied(function.call, raw, decode_value(stored), key)
        self._updates.append(UpdateMade(shared, name, stored))

    def compare_and_set(self, key: str, expected: object, value: object, scope: StateScope) -> bool:
        """Set `value` if the present value equals `expected`; None stands for no value."""
        wanted = decode_value(encode_value(expected, "$.expected"))
        new = msgspec.Raw(encode_value(value, f"$.{check_key(key)}"))
        if scope is StateScope.EXECUTION:
            self._check_read(key)
            self._check_write(key)
            raw = self._outputs[key] if key in self._outputs else self._memory.get(key)
            if (None if raw is None else decode_value(raw)) != wanted:
                return False
            self._outputs[key] = new
            return True
        shared = self.shared_key(key, scope)
        version: int | None = None
        if shared in self._writes:
            raw = self._writes[shared]
        else:
            raw, version = self._committed(shared)
        equal = bool((None if raw is None else decode_value(raw)) == wanted)
        if version is not None and (equal or self._isolation is IsolationLevel.SYNCHRONIZED):
            self._reads.setdefault(shared, version)
        self._plain.add(shared)
        if equal:
            self._writes[shared] = new
        return equal

    # --- permissions on execution memory

    def _may_read(self, key: str) -> bool:
        node = self._node
        return not node.input_keys or key in node.input_keys or key in node.output_keys

    def _check_read(self, key: str) -> None:
        if not self._may_read(key):
            raise KeyNotAllowed(f"Not allowed to read key: {key}")

    def _check_write(self, key: str) -> None:
        if self._node.output_keys and key not in self._node.output_keys:
            raise KeyNotAllowed(f"Not allowed to write key: {key}")


def applied(
    function: Callable[..., Any], raw: msgspec.Raw | None, arguments: Iterable[Any], key: str
) -> msgspec.Raw:
    """Return the encoded result of an update function on the present encoded value."""
    value = function(None if raw is None else decode_value(raw), *arguments)
    return msgspec.Raw(encode_value(value, f"$.{key}"))


def _overlay(layer: dict[str, msgspec.Raw], key: str, own: msgspec.Raw | None) -> None:
    if own is None:
        layer.pop(key, None)
    else:
        layer[key] = own
