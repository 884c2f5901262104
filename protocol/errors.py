"""The one tree of errors: the class says whose fault and who may retry, the fields carry numbers.

GreenroomError
|- InvalidInput               the caller's data; mend it and call again
|  |- InvalidId  InvalidValue  InvalidConfig  InvalidGraph  UnsupportedSetting
|  |- EntryPointNotFound  NodeNotFound  FunctionNotFound  EntryPointExists  InvalidExpression
|  |- ExecutionNotFound  EffectMismatch  TooManyEffects  InvalidItem  BatchTooLarge
|  |- CheckpointNotFound  PositionNotFound  InvalidAnswer  AmbiguousInput
|- RuntimeStateError          the call does not fit the runtime's present state
|  |- RuntimeNotRunning  RuntimeIsRunning  RuntimeStopped  IdempotencyConflict  NotResumable
|  |- NotDeletable  NotForkable
|- AdmissionError             refused now, may work later
|  |- Overloaded  RateLimited  StreamUnavailable  InboxFull
|- StorageError
|  |- StoreInUse  StoreTooNew  StoreCorrupt  StoreNotFound  StoreClosed    opening, misuse
|  |- StoreUnavailable  StoreStalled                                        retryable
|  |- CommitRefused -> VersionConflict  Fenced  StateConflict  ValueTooLarge
|  |- EventsPruned  HistoryPruned
|- ActorError
|  |- MailboxOverflow  ActorStopped  AskTimedOut
|  |- PoisonMessage  UnknownMessage  SupervisionFailed
|- StateAccessError -> IsolationError  KeyNotAllowed
|- NodeFailed -> NonRetryable  NodeTimedOut   (node_errors.py)
|- PortInUse
|- OutcomeUnknown  EffectNotDone  StaleNodeRun   (effect_errors.py)
"""

from typing import Any, ClassVar


class GreenroomError(Exception):
    """Root of every error this project raises on purpose.

    `code` is the stable name that crosses a wire; `retryable` says whether the same call may
    succeed later unchanged.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Copying and pickling must not call constructors whose arguments are not the message.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[GreenroomError], args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class InvalidInput(GreenroomError, ValueError):
    """The caller's data cannot be used; nothing was stored. Mend it and call again."""

    code = "invalid_input"


class InvalidId(InvalidInput):
    """An id is empty, too long, or has a character outside `[A-Za-z0-9._:-]`, or contains `..`."""

    code = "invalid_id"


class InvalidValue(InvalidInput):
    """A value cannot be stored. `path` is the place in the value: `$.tickets[3].due`."""

    code = "invalid_value"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


class InvalidConfig(InvalidInput):
    """A setting of the runtime, an entry point or a checkpoint policy is out of its range."""

    code = "invalid_config"


class InvalidGraph(InvalidInput):
    """The graph has problems; `problems` lists them all, each with the ids that it concerns."""

    code = "invalid_graph"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("Invalid graph: " + "; ".join(problems))
        self.problems = problems


class UnsupportedSetting(InvalidInput):
    """The setting is declared but has no behaviour yet; only its default is accepted."""

    code = "unsupported_setting"

    def __init__(self, name: str, hint: str = "") -> None:
        why = f" ({hint})" if hint else ""
        super().__init__(f"{name} is not supported yet: leave it at its default{why}")
        self.name = name


class InvalidExpression(InvalidInput):
    """A condition does not parse, or uses what conditions may not use."""

    code = "invalid_expression"


class EntryPointNotFound(InvalidInput):
    """No entry point has that id."""

    code = "entry_point_not_found"


class EntryPointExists(InvalidInput):
    """An entry point with that id is registered already."""

    code = "entry_point_exists"


class NodeNotFound(InvalidInput):
    """No node of the graph has that id."""

    code = "node_not_found"


class FunctionNotFound(InvalidInput):
    """A function node names a callable that was never registered."""

    code = "function_not_found"


class RuntimeStateError(GreenroomError, RuntimeError):
    """The call does not fit the present state of the runtime or of the execution."""

    code = "runtime_state"


class RuntimeNotRunning(RuntimeStateError):
    """The call needs a started runtime; `await runtime.start()` or use `async with runtime:`."""

    code = "runtime_not_running"


class RuntimeIsRunning(RuntimeStateError):
    """The call is only possible before `start()` or after `stop()`."""

    code = "runtime_is_running"


class RuntimeStopped(RuntimeStateError):
    """The runtime stopped while the caller waited. The work is kept and goes on at the next start.

    `execution_id` names the execution; repeating the trigger with its id or key is safe.
    """

    code = "runtime_stopped"
    retryable = True

    def __init__(self, execution_id: str | None = None) -> None:
        kept = f" (execution {execution_id} keeps its state and resumes at the next start)"
        super().__init__("the runtime was stopped" + (kept if execution_id else ""))
        self.execution_id = execution_id


class IdempotencyConflict(RuntimeStateError):
    """The idempotency key was used with another payload: by execution `execution_id`."""

    code = "idempotency_conflict"

    def __init__(self, key: str, execution_id: str) -> None:
        super().__init__(
            f"idempotency key {key!r} was used with a different payload by execution "
            f"{execution_id}: use a new key for new input"
        )
        self.key, self.execution_id = key, execution_id


class AdmissionError(GreenroomError):
    """Refused now and nothing was stored; may succeed later."""

    code = "admission"
    retryable = True


class Overloaded(AdmissionError):
    """The entry point's queue is full. `retry_after` is a hint in seconds."""

    code = "overloaded"

    def __init__(self, entry_point: str, queued: int, limit: int, retry_after: float) -> None:
        super().__init__(
            f"entry point {entry_point!r} is overloaded: {queued} of {limit} places taken; "
            f"retry in {retry_after:g} s"
        )
        self.entry_point = entry_point
        self.queued = queued
        self.limit = limit
        self.retry_after = retry_after


class StreamUnavailable(AdmissionError):
    """The entry point's stream is down, past its restart limit; `restart_child()` revives it."""

    code = "stream_unavailable"


class StorageError(GreenroomError):
    """Something about the store. Subclasses say what."""

    code = "storage"


class StoreNotFound(StorageError):
    """There is no store at that path."""

    code = "store_not_found"


class StoreInUse(StorageError):
    """Another process (`pid`, None when unknown) has the store open for writing."""

    code = "store_in_use"

    def __init__(self, path: str, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"the store {path} is in use by {who}: stop it, or choose another path")
        self.path, self.pid = path, pid


class StoreTooNew(StorageError):
    """The store was written by a newer version; install that version to open it."""

    code = "store_too_new"

    def __init__(self, path: str, found: int, supported: int) -> None:
        super().__init__(
            f"the store {path} has format {found}, this version reads up to {supported}: "
            "install a newer greenroom; nothing was changed"
        )
        self.path = path
        self.found = found
        self.supported = supported


class StoreCorrupt(StorageError):
    """The store's data contradicts itself or cannot be read; `greenroom check STORE` says where."""

    code = "store_corrupt"


class StoreClosed(StorageError):
    """The store was closed, or belongs to another process after a fork."""

    code = "store_closed"


class StoreUnavailable(StorageError):
    """The disk refuses writes (full, read-only, I/O error). Nothing of this commit is stored."""

    code = "store_unavailable"
    retryable = True


class StoreStalled(StorageError):
    """The store writer has been silent for too long; the commit may still be applied."""

    code = "store_stalled"
    retryable = True


class CommitRefused(StorageError):
    """One commit was refused whole; the others of its group are not affected."""

    code = "commit_refused"


class VersionConflict(CommitRefused):
    """The execution's journal is not where the commit expected it. Reload, then decide again."""

    code = "version_conflict"


class Fenced(CommitRefused):
    """The commit comes from an incarnation that has been replaced."""

    code = "fenced"


class StateConflict(CommitRefused):
    """A `synchronized` step lost the race for a key too often; the step may be tried again."""

    code = "state_conflict"
    retryable = True


class ValueTooLarge(CommitRefused, InvalidValue):
    """A value or key is over its limit in bytes."""

    code = "value_too_large"

    def __init__(self, path: str, size: int, limit: int) -> None:
        InvalidValue.__init__(self, path, f"{size} bytes, over the limit of {limit}")
        self.size, self.limit = size, limit


class EventsPruned(StorageError):
    """The events asked for are gone; `oldest` is the first seq still kept."""

    code = "events_pruned"

    def __init__(self, oldest: int) -> None:
        super().__init__(f"events before seq {oldest} were pruned: read from there")
        self.oldest = oldest


class ActorError(GreenroomError):
    """Something about an actor, its mailbox or its supervisor."""

    code = "actor"


class MailboxOverflow(ActorError):
    """The mailbox is full; the message was not taken."""

    code = "mailbox_overflow"
    retryable = True

    def __init__(self, address: str, limit: int) -> None:
        full = f"the mailbox of {address!r} is full ({limit} messages)"
        super().__init__(f"{full}: retry later, or use tell_async")
        self.address, self.limit = address, limit


class ActorStopped(ActorError):
    """The actor is stopped and will not answer."""

    code = "actor_stopped"


class AskTimedOut(ActorError, TimeoutError):
    """No reply in time; the request may still take effect unless it was skipped unread."""

    code = "ask_timed_out"
    retryable = True


class PoisonMessage(ActorError):
    """Serving this message crashed the actor three times; it went to the dead letters."""

    code = "poison_message"


class UnknownMessage(ActorError):
    """The receiver does not know a message with that tag."""

    code = "unknown_message"


class SupervisionFailed(ActorError):
    """A child could not be started, or restarted too often."""

    code = "supervision_failed"


class StateAccessError(GreenroomError):
    """Shared state was used in a way the execution's isolation level does not allow."""

    code = "state_access"


class IsolationError(StateAccessError):
    """An `isolated` execution touched stream or global state."""

    code = "isolation"


class KeyNotAllowed(StateAccessError, PermissionError):
    """A key was read or written without permission."""

    code = "key_not_allowed"


class NodeFailed(GreenroomError):
    """Raised or returned by user code to fail a node; `retryable` False allows no retry."""

    code = "node_failed"
    retryable = True


class PortInUse(GreenroomError):
    """The webhook server's port is taken."""

    code = "port_in_use"

    def __init__(self, host: str, port: int) -> None:
        in_use = f"port {port} on {host} is in use"
        super().__init__(f"{in_use}: choose another webhook_port, or 0 for a free one")
        self.host, self.port = host, port
