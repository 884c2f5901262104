"""What a host, or the command line, is shown of stored executions. Session id == execution id."""

from datetime import datetime
from typing import Any

import msgspec

from greenroom.protocol.commit import Summary
from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.pausing import RESUMABLE
from greenroom.protocol.execution import ExecutionState, Status
from greenroom.protocol.questions import question_id
from greenroom.protocol.timers import moment
from greenroom.protocol.values import decode_value


class ForkedFrom(msgspec.Struct, frozen=True, kw_only=True):
    """Where a fork came from: the session that stood there after its step `seq`, and may be gone
    by now.
    """

    session_id: str
    seq: int


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A session in a listing. `accepted_at` is when it was triggered, `status_since` when it came
    into its status; both aware, UTC. `forked_from` says where a fork came from.
    """

    session_id: str
    status: Status
    entry_point: str
    goal_id: str
    correlation_id: str
    accepted_at: datetime
    status_since: datetime
    error: str | None = None
    forked_from: ForkedFrom | None = None

    @property
    def is_resumable(self) -> bool:
        """Whether `resume` can take it up: paused, failed, exhausted or held."""
        return self.status in RESUMABLE


class SessionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a listing, newest first. `after` is where the next page begins, None when there is
    none; it stays good whatever is accepted or deleted meanwhile.
    """

    sessions: list[SessionSummary]
    after: str | None = None


class Session(SessionSummary, frozen=True, kw_only=True):
    """A session as it stood after its step `seq`, committed at `updated_at`.

    `input_data` is what it was triggered with, `memory` what has become of it. `current_nodes` are
    where it stands, which of an ended session is where it stopped; empty when completed.
    `next_due` is when something comes due of it: a sleep or a backoff ends, or its time runs out;
    `open_questions` are the ids of what it asked people and nobody answered. `run` counts resumes
    from 1, `rewinds` those that began at a checkpoint. The `input_data` of a fork is what was put
    over the memory that it began with, and its counts, but for `run`, go on from those that it
    began with. `steps_executed` counts visits of nodes;
    `total_retries` the further attempts that the failed attempts in `retry_details`, by node, led
    to.
    """

    graph_id: str
    isolation_level: str
    priority: int
    seq: int
    run: int
    rewinds: int
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    next_due: datetime | None
    open_questions: list[str]
    current_nodes: list[str]
    path: list[str]
    steps_executed: int
    node_visit_counts: dict[str, int]
    total_retries: int
    retry_details: dict[str, int]
    total_latency_ms: int
    input_data: dict[str, Any]
    memory: dict[str, Any]


def summary_of(summary: Summary) -> SessionSummary:
    """Return what a listing shows."""
    return SessionSummary(**_shown(summary))


def session_of(
    summary: Summary,
    state: ExecutionState,
    input_memory: dict[str, msgspec.Raw],
    updated_at: float,
) -> Session:
    """Return the whole session, with values of its own. `updated_at` is wall UTC seconds."""
    accepted = state.accepted
    due = due_at(state)
    return Session(
        **_shown(summary),
        graph_id=accepted.graph_id,
        isolation_level=accepted.isolation,
        priority=accepted.priority,
        seq=state.seq,
        run=state.run,
        rewinds=state.rewinds,
        updated_at=moment(updated_at),
        started_at=None if state.started_at is None else moment(state.started_at),
        ended_at=None if state.ended_at is None else moment(state.ended_at),
        next_due=None if due is None else moment(due),
        open_questions=[question_id(accepted.execution_id, one) for one in state.questions],
        current_nodes=[token.node for token in state.tokens.values()],
        path=list(state.path),
        steps_executed=state.steps,
        node_visit_counts=dict(state.visits),
        total_retries=state.retries,
        retry_details=dict(state.retry_details),
        total_latency_ms=state.latency_ms,
        input_data=_decoded(input_memory),
        memory=_decoded(state.memory),
    )


def forked_from(summary: Summary) -> ForkedFrom | None:
    """Return where a session was forked; None when it is no fork."""
    origin = summary.forked
    if origin is None:
        return None
    return ForkedFrom(session_id=origin.execution_id, seq=origin.seq)


def _shown(summary: Summary) -> dict[str, Any]:
    return {
        "session_id": summary.execution_id,
        "status": summary.status,
        "entry_point": summary.entry_point,
        "goal_id": summary.goal_id,
        "correlation_id": summary.correlation_id,
        "accepted_at": moment(summary.accepted_at),
        "status_since": moment(summary.updated_at),
        "error": summary.error,
        "forked_from": forked_from(summary),
    }


def _decoded(memory: dict[str, msgspec.Raw]) -> dict[str, Any]:
    return {key: decode_value(raw) for key, raw in memory.items()}
