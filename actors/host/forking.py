"""Forking sessions, from the caller's event loop."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.checkpoint_reading import session_at
from greenroom.actors.host.pausing import check_served, summary_of
from greenroom.actors.host.trigger_options import TriggerOptions
from greenroom.actors.host.triggering import (
    build_trigger,
    digest_of,
    encode_input,
    execution_of,
)
from greenroom.actors.host.waiting import may_be_execution
from greenroom.actors.stream.versions import unfit_at
from greenroom.protocol.checkpoints import CheckpointKey
from greenroom.protocol.codec import encode
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.errors import IdempotencyConflict, InvalidInput, InvalidValue, NodeNotFound
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.forked import Forked
from greenroom.protocol.people_errors import ExecutionNotFound
from greenroom.protocol.session_errors import CheckpointNotFound, NotForkable, PositionNotFound
from greenroom.protocol.stream_messages import Trigger
from greenroom.protocol.values import payload_digest
from greenroom.protocol.version_errors import GraphChanged
from greenroom.storage.reader import Reader


class Wanted(msgspec.Struct, frozen=True):
    """What is to be forked: where a session stands, or one of its checkpoints or records."""

    session_id: str
    checkpoint: str | None
    seq: int | None


async def fork(
    assembly: Assembly,
    wanted: Wanted,
    memory: Mapping[str, Any] | None,
    correlation_id: str | None,
    options: TriggerOptions,
    now: float,
) -> str:
    """The id of the fork, after the commit that accepts it.

    Raises ExecutionNotFound, EntryPointNotFound, CheckpointNotFound, PositionNotFound, NotForkable,
    NodeNotFound, GraphChanged, and as `trigger` does.
    """
    _check(wanted)
    digest = _digest(wanted, memory)
    found = summary_of(assembly, wanted.session_id)
    if found is None:
        known = assembly.store.read(partial(_known, wanted.session_id, digest, options, now))
        if known is not None:
            return known
        raise ExecutionNotFound(f"there is no execution {wanted.session_id!a:.140} in the store")
    check_served(assembly, found.entry_point, wanted.session_id)
    parts = assembly.streams.parts[found.entry_point]
    trigger = build_trigger(
        parts.entry_point, memory, now, correlation_id=correlation_id, **options
    )
    known = assembly.store.read(partial(_known, wanted.session_id, digest, options, now))
    if known is not None:
        return known
    parts.gate.check()
    origin, state = assembly.store.read(partial(_position, wanted))
    _check_position(assembly.plan, origin, state)
    reasons = assembly.store.read(partial(_unfit_at, assembly, origin))
    if reasons:
        raise GraphChanged(wanted.session_id, reasons)
    trigger = _fork_of(trigger, origin, state, digest)
    outcome = await assembly.submit(found.entry_point, trigger)
    return execution_of(outcome, trigger)[0]


def _check(wanted: Wanted) -> None:
    may_be_execution(wanted.session_id)
    if wanted.checkpoint is not None and wanted.seq is not None:
        raise InvalidInput("give a checkpoint or a seq to fork at, not both")
    check_seq(wanted.seq)


def check_seq(seq: object) -> None:
    """Raises InvalidInput unless it is None, or a whole number."""
    if seq is not None and type(seq) is not int:
        raise InvalidInput(f"seq is {seq!a:.80}: give the seq of one of the session's records")


def _digest(wanted: Wanted, memory: Mapping[str, Any] | None) -> bytes:
    """Equal for a repeat, also when the session has gone on since."""
    if memory is not None and not isinstance(memory, Mapping):
        raise InvalidValue("memory", f"is a {type(memory).__name__}: pass a dict")
    asked = [digest_of(encode_input(memory)), wanted.checkpoint, wanted.seq]
    try:
        return payload_digest(encode(asked))
    except (OverflowError, TypeError, ValueError):  # no checkpoint's id, and no seq
        raise InvalidInput(
            f"checkpoint {wanted.checkpoint!a:.80} and seq {wanted.seq!a:.80} name no position"
        ) from None


def _namespace(session_id: str) -> str:
    return f"fork:{session_id}"


def _known(
    session_id: str, digest: bytes, options: TriggerOptions, now: float, reader: Reader
) -> str | None:
    """The fork that stands for an earlier call with the same key or id, None when there is none."""
    key, execution_id = options.get("idempotency_key"), options.get("execution_id")
    if isinstance(key, str):
        claim = reader.claim(_namespace(session_id), key)
        if claim is not None and claim.expires_at > now:
            if claim.digest != digest:
                raise IdempotencyConflict(key, claim.execution_id)
            return claim.execution_id
    if execution_id is None or not may_be_execution(execution_id):
        return None
    found = reader.execution(execution_id)
    if found is None:
        return None
    origin = found.summary.forked
    if origin is None or origin.execution_id != session_id:
        raise InvalidInput(
            f"execution {execution_id} is there already, and is no fork of {session_id}: "
            "give another execution_id"
        )
    return execution_id


def _position(wanted: Wanted, reader: Reader) -> tuple[Forked, ExecutionState]:
    session = session_at(wanted.session_id, reader)
    seq = session.seq if wanted.seq is None else wanted.seq
    if wanted.checkpoint is not None:
        key = CheckpointKey.parse(wanted.checkpoint)
        if key is None or reader.checkpoint(session.ordinal, key) is None:
            raise CheckpointNotFound(wanted.session_id, wanted.checkpoint)
        seq = key.seq
    if not 1 <= seq <= session.seq:
        raise PositionNotFound(wanted.session_id, seq, session.seq)
    origin = Forked(ordinal=session.ordinal, execution_id=wanted.session_id, seq=seq)
    return origin, reader.load_state(session.ordinal, seq)


def _check_position(plan: Plan, origin: Forked, state: ExecutionState) -> None:
    if not state.tokens:
        raise NotForkable(origin.execution_id, origin.seq)
    for token in state.tokens.values():
        if token.node not in plan.nodes:
            raise NodeNotFound(
                f"session {origin.execution_id} stood at node {token.node!r} after record "
                f"{origin.seq}, which graph {plan.graph_id!r} has not"
            )


def _unfit_at(assembly: Assembly, origin: Forked, reader: Reader) -> tuple[str, ...]:
    knows = assembly.knows_function
    return unfit_at(reader, origin.ordinal, origin.seq, assembly.plan, knows)


def _fork_of(trigger: Trigger, origin: Forked, state: ExecutionState, digest: bytes) -> Trigger:
    """The trigger that forks. What belongs together keeps its correlation id, and a chain of
    executions that events drive does not become shorter.
    """
    keyed = trigger.idempotency_key is not None
    return msgspec.structs.replace(
        trigger,
        correlation_id=trigger.correlation_id or state.accepted.correlation_id,
        idempotency_namespace=_namespace(origin.execution_id) if keyed else "",
        digest=digest if keyed else b"",
        hops=state.accepted.hops,
        fork=origin,
    )
