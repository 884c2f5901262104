"""From a transition to a commit: encode each part once."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from greenroom.actors.nodes.answer_schemas import answer_fits
from greenroom.actors.stream.live import Live
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.codec import decode_state, encode
from greenroom.protocol.commit import Commit, IdempotencyClaim, NewEvent, Summary
from greenroom.protocol.engine.due import stored_due, timer_move
from greenroom.protocol.engine.naming import names_of
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import NodeErrored, NodeSucceeded
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import Accepted, ExecutionState, Status
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.protocol.limits import PRIORITY_STEP_S, SNAPSHOT_PATCH_BYTES
from greenroom.protocol.patch import JournalRecord, Patch, apply
from greenroom.protocol.shared_state import state_changed_events
from greenroom.protocol.stream_messages import NodeResult, Trigger
from greenroom.protocol.timers import TimerMove
from greenroom.storage.store import Store


class CommitMaker:
    """Builds the commits of one incarnation of one stream."""

    def __init__(
        self,
        stream: str,
        incarnation: int,
        plan: bytes,
        store: Store,
        checkpoints: CheckpointConfig | None = None,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._stream = stream
        self._incarnation = incarnation
        self._plan = plan

    def step(
        self,
        commit_id: int,
        live: Live,
        transition: Transition,
        now: float,
        *,
        result: NodeResult | None = None,
        trigger: Trigger | None = None,
    ) -> Commit:
        """The commit of one step; with `result` it also holds the node run's shared state and
        events, with `trigger` what the trigger brought."""
        state = live.state if live.base is None else live.base
        expected = 0 if state is None else state.seq
        plan = self._plan if live.version is None else self._stands_at(live.version, transition)
        record = encode(
            JournalRecord(
                seq=expected + 1,
                at=now,
                incarnation=self._incarnation,
                plan=plan,
                cause=transition.cause,
                patch=transition.patch,
                notes=0 if result is None else len(result.notes),
            )
        )
        live.patch_bytes += len(record)
        events = [NewEvent(Raw(encode(body))) for body in transition.events]
        if trigger is not None:
            events[:0] = [NewEvent(body) for body in trigger.events]
        if result is not None and (result.events or result.writes):
            events[:0] = self._of_node(live, result, now)
        # No more than 15 keywords: from there on Python builds a dict for the call first.
        commit = Commit(
            commit_id=commit_id,
            stream=self._stream,
            incarnation=self._incarnation,
            execution_id=live.execution_id,
            ordinal=live.ordinal,
            expected_seq=expected,
            record=Raw(record),
            summary=_summary(live, transition, now, plan),
            snapshot=_snapshot(live, transition),
            events=tuple(events),
            reads=() if result is None else result.reads,
            writes=() if result is None else result.writes,
            notes=() if result is None else result.notes,
            timer=timer_move(state, transition.patch),
            questions=transition.questions,
        )
        seldom: dict[str, Any] = {}
        if trigger is not None:
            seldom.update(idempotency=_claims(trigger, now), cursor=trigger.cursor)
        if self._checkpoints is not None:
            seldom["naming"] = names_of(self._checkpoints, state, transition, now)
        if expected <= 1 and state is not None and state.accepted.forked is not None:
            seldom["fork"] = _fork_change(live, state, state.accepted.forked, len(record))
        return replace(commit, **seldom) if seldom else commit

    def _stands_at(self, version: bytes, transition: Transition) -> bytes:
        """The version of the graph at which an execution stands after a step: its own, until it is
        known to fit today's, or made to. One that goes back goes to a position that fits.
        """
        patch = transition.patch
        return version if patch.rewound is None and patch.migrated is None else self._plan

    def version_after(self, live: Live, transition: Transition) -> bytes | None:
        """What `live.version` is once the step is durable."""
        assert live.version is not None, "else nothing changes"
        at = self._stands_at(live.version, transition)
        return None if at == self._plan else at

    def deletion(self, commit_id: int, live: Live) -> Commit:
        """The commit by which a settled execution leaves the store."""
        assert live.state is not None, "what was never accepted is not in the store"
        commit = deletion_of(live.ordinal, live.state)
        return replace(
            commit, commit_id=commit_id, stream=self._stream, incarnation=self._incarnation
        )

    def _of_node(self, live: Live, result: NodeResult, now: float) -> list[NewEvent]:
        """What the node run itself published, and the shared keys that it changed."""
        assert live.state is not None, "only an accepted execution runs nodes"
        accepted, token = live.state.accepted, live.state.tokens.get(result.token_id)
        published = [NewEvent(body) for body in result.events]
        changed = state_changed_events(
            result.writes,
            now,
            lambda key: self._store.read(lambda reader: reader.state_get(key))[0],
            stream=self._stream,
            execution=live.execution_id,
            node=None if token is None else token.node,
            correlation=accepted.correlation_id,
            hops=accepted.hops,
        )
        return [*published, *changed]

    def events(self, commit_id: int, bodies: Sequence[EventBody]) -> Commit:
        """A commit of events alone."""
        return Commit(
            commit_id=commit_id,
            stream=self._stream,
            incarnation=self._incarnation,
            events=tuple(NewEvent(Raw(encode(body))) for body in bodies),
        )


def deletion_of(ordinal: int, state: ExecutionState) -> Commit:
    """The commit by which an execution leaves the store that no stream owns."""
    due = stored_due(state)
    return Commit(
        commit_id=0,
        stream="",
        incarnation=0,
        execution_id=state.accepted.execution_id,
        ordinal=ordinal,
        expected_seq=state.seq,
        timer=None if due is None else TimerMove(due, None),
        delete=True,
    )


def _fork_change(live: Live, state: ExecutionState, origin: Forked, size: int) -> ForkChange:
    """A fork is accepted as a reference, and gets its own beginning with its next step."""
    if not state.seq:
        return ForkChange(origin=origin)
    live.patch_bytes = size
    return ForkChange(origin=origin, base=Raw(encode(state)))


def _summary(live: Live, transition: Transition, now: float, plan: bytes) -> Summary | None:
    status, error, unfit = transition.patch.status, transition.patch.error, transition.patch.unfit
    if status is None:
        if transition.patch.migrated is None:
            return None
        assert live.state is not None, "only what was accepted is migrated"
        status, error, unfit = live.state.status, live.state.error, live.state.unfit
    accepted = transition.patch.accepted
    if accepted is None:
        assert live.state is not None, "only an accepting step has no state"
        accepted = live.state.accepted
    return Summary(
        execution_id=live.execution_id,
        entry_point=accepted.entry_point,
        goal_id=accepted.goal_id,
        correlation_id=accepted.correlation_id,
        status=status,
        accepted_at=accepted.accepted_at,
        updated_at=now,
        queue_key=queue_key(accepted),
        error=error,
        concurrency_key=accepted.concurrency_key,
        takes_key=bool(accepted.concurrency_key) and _begins(live, status, transition.patch),
        forked=accepted.forked,
        version=plan if status is Status.WAITING or status is Status.QUEUED else b"",
        unfit=bool(unfit),
    )


def _begins(live: Live, status: Status, patch: Patch) -> bool:
    """It came up, and a node was entered; it may stand at a pause node now. Routers that it passes
    on its way to the queue are not its turn.
    """
    if status is Status.RUNNING:
        return True
    if live.base is not None:
        return False
    came_up = live.state is None or live.state.status is Status.QUEUED
    return came_up and patch.steps > 0


def queue_key(accepted: Accepted) -> float:
    """Order among the queued: a static key, so that waiting ages an execution for free."""
    return accepted.accepted_at - accepted.priority * PRIORITY_STEP_S


def _snapshot(live: Live, transition: Transition) -> Raw | None:
    """A snapshot is due when the patches since the last one outweigh the state itself, as large as
    that was when it was last looked at: to look is to encode all of it.
    """
    if live.patch_bytes <= max(SNAPSHOT_PATCH_BYTES, live.state_bytes) or live.state is None:
        return None
    held = encode(live.state)
    live.state_bytes = len(held)
    if live.patch_bytes <= len(held):
        return None
    copy: ExecutionState = decode_state(held)
    apply(copy, transition.patch, copy.seq + 1)
    live.patch_bytes = 0
    return Raw(encode(copy))


def _claims(trigger: Trigger, now: float) -> tuple[IdempotencyClaim, ...]:
    if trigger.idempotency_key is None:
        return ()
    return (
        IdempotencyClaim(
            trigger.idempotency_namespace,
            trigger.idempotency_key,
            trigger.digest,
            now + trigger.idempotency_window_s,
        ),
    )


def accepted_from(
    trigger: Trigger, entry: EntryPointSpec, plan: Plan, goal_id: str, now: float
) -> Accepted:
    """What is fixed when the trigger becomes an execution."""
    # No more than 15 keywords: from there on Python builds a dict for the call first.
    accepted = Accepted(
        execution_id=trigger.execution_id,
        entry_point=entry.id,
        entry_node=entry.entry_node,
        graph_id=plan.graph_id,
        goal_id=goal_id,
        correlation_id=trigger.correlation_id or trigger.execution_id,
        accepted_at=now,
        isolation=entry.isolation.value,
        priority=entry.priority + trigger.priority,
        hops=trigger.hops,
        idempotency_key=trigger.idempotency_key,
        concurrency_key=trigger.concurrency_key,
        timeout_s=entry.timeout_s if trigger.timeout_s is None else trigger.timeout_s,
        deadline=trigger.deadline,
    )
    return accepted if trigger.fork is None else replace(accepted, forked=trigger.fork)


def tick_of(result: NodeResult) -> NodeSucceeded | NodeErrored:
    """The tick that a node's result is."""
    if result.error is None:
        return NodeSucceeded(
            result.token_id,
            result.visit,
            result.attempt,
            result.outputs,
            result.latency_ms,
            result.route,
            result.sleep_until,
            result.questions,
            answer_fits if result.questions else None,
        )
    return NodeErrored(
        result.token_id,
        result.visit,
        result.attempt,
        result.error,
        result.error_types,
        result.latency_ms,
        result.retryable,
    )
