"""What the end of a node run does to its execution: a success, a failure, or a lost race."""

from typing import Final

import msgspec

from greenroom.protocol.codec import encode
from greenroom.protocol.engine.asking import ask
from greenroom.protocol.engine.checking import check_constraints
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.due import is_due
from greenroom.protocol.engine.fanning import ended
from greenroom.protocol.engine.going_on import sleep
from greenroom.protocol.engine.joining import hold_lost, pause_after
from greenroom.protocol.engine.outputs import output_fault
from greenroom.protocol.engine.plan import Plan, PlanNode
from greenroom.protocol.engine.retry import backoff_s, may_retry, note_failure, rerun, retry
from greenroom.protocol.engine.routing import route_label
from greenroom.protocol.engine.spending import breach, used_up
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.engine.ticks import Conflicted, NodeErrored, NodeSucceeded, Progressed
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.engine.unknown_effects import ask_about_effects
from greenroom.protocol.engine.walk import end_branch, fail_node, leave_node
from greenroom.protocol.errors import InvalidValue, StateConflict
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import ExecutionState, Phase, Status, Token
from greenroom.protocol.limits import CONFLICT_RUNS_MAX
from greenroom.protocol.node_errors import NodeTimedOut
from greenroom.protocol.patch import Cause

_STATE_CONFLICT: Final = EventType.STATE_CONFLICT.value
_CONFLICT_KEYS_SHOWN: Final = 16
_CONFLICT_KEY_CHARS: Final = 60


def _type_names(error: type[BaseException]) -> tuple[str, ...]:
    return tuple(one.__name__ for one in error.__mro__ if issubclass(one, Exception))


_INVALID_OUTPUT: Final = (*_type_names(InvalidValue), InvalidValue.code)
_TIMED_OUT: Final = (*_type_names(NodeTimedOut), NodeTimedOut.code)
_LOST_RACES: Final = (*_type_names(StateConflict), StateConflict.code)


def running(
    state: ExecutionState, tick: NodeSucceeded | NodeErrored | Conflicted | Progressed
) -> Token | None:
    """Return the token whose node run the tick is about, None when that run counts no more."""
    token = state.tokens.get(tick.token_id)
    if (
        token is None
        or token.phase is not Phase.RUNNING
        or token.attempt != tick.attempt
        or token.visit != tick.visit
        or state.status is not Status.RUNNING
    ):
        return None
    return token


def node_succeeded(
    plan: Plan, state: ExecutionState, tick: NodeSucceeded, now: float
) -> Transition | None:
    """The node's output becomes memory, and the token goes on; None when the run is stale."""
    token = running(state, tick)
    if token is None:
        return None
    draft = Draft(plan, state, now)
    draft.branch = token.branch
    cause = Cause(tick="node_succeeded", node=token.node, visit=token.visit, attempt=token.attempt)
    node = plan.nodes.get(token.node)
    if node is None:
        hold_lost(draft, tick.token_id, token)
        return draft.finish(msgspec.structs.replace(cause, error=draft.error))
    if _is_late(token, now):
        return draft.finish(run_out_of_time(draft, tick.token_id, token, cause.tick))
    draft.latency_ms = tick.latency_ms
    fault = output_fault(node, tick.outputs, tick.questions) if node.required else None
    if fault is not None:
        _fail(draft, tick.token_id, token, node, fault, _INVALID_OUTPUT, retryable=True)
        return draft.finish(msgspec.structs.replace(cause, error=fault))
    draft.closed = True
    draft.node_runs = 1
    draft.write(tick.outputs)
    draft.node_completed(node, token.visit, token.attempt, tick.latency_ms)
    until = tick.sleep_until
    if until is not None and is_due(until, now):
        until = None
    broken = check_constraints(draft, node.id, tick.outputs) if plan.constraints else None
    if broken is not None:
        draft.tokens[tick.token_id] = ended(token, tick.outputs, tick.route)
        draft.stop(Status.FAILED, broken)
        return draft.finish(cause)
    if tick.questions:
        ask(draft, node, token, tick, until)
        return draft.finish(cause)
    if node.pause:
        here = ended(token, tick.outputs, tick.route)
        pause_after(draft, tick.token_id, msgspec.structs.replace(here, due=until))
        return draft.finish(cause)
    if until is not None:
        sleep(draft, tick.token_id, ended(token, tick.outputs, tick.route), until)
        return draft.finish(cause)
    if node.terminal:
        end_branch(draft, tick.token_id)
        return draft.finish(cause)
    label = tick.route
    if not node.routes:
        label = None
    elif label is None:
        label = route_label(draft, node, tick.outputs, succeeded=True)
    leave_node(draft, tick.token_id, token, tick.outputs, label=label)
    return draft.finish(cause)


def node_errored(
    plan: Plan, state: ExecutionState, tick: NodeErrored, now: float
) -> Transition | None:
    """Another attempt, the way for failures, or the end; None when the run is stale."""
    token = running(state, tick)
    if token is None:
        return None
    draft = Draft(plan, state, now)
    draft.branch = token.branch
    node = plan.nodes.get(token.node)
    if node is None:
        hold_lost(draft, tick.token_id, token)
    elif _is_late(token, now):
        return draft.finish(run_out_of_time(draft, tick.token_id, token, "node_errored"))
    else:
        draft.latency_ms = tick.latency_ms
        error, types = tick.error, tick.error_types
        if not ask_about_effects(draft, token, tick):
            _fail(draft, tick.token_id, token, node, error, types, retryable=tick.retryable)
    return draft.finish(
        Cause(
            tick="node_errored",
            node=token.node,
            visit=token.visit,
            attempt=token.attempt,
            error=bounded_text(tick.error),
        )
    )


def conflicted(
    plan: Plan, state: ExecutionState, tick: Conflicted, now: float
) -> Transition | None:
    """Another run; after too many lost races the node has failed. None when the run is stale."""
    token = running(state, tick)
    if token is None:
        return None
    draft = Draft(plan, state, now)
    draft.branch = token.branch
    shown = [bounded_text(key, _CONFLICT_KEY_CHARS) for key in tick.keys[:_CONFLICT_KEYS_SHOWN]]
    data = {"visit": token.visit, "attempt": token.attempt, "keys": shown}
    draft.event(_STATE_CONFLICT, token.node, data)
    node = plan.nodes.get(token.node)
    lost = token.conflicts + 1
    error: str | None = None
    if node is None:
        hold_lost(draft, tick.token_id, token)
    elif lost < CONFLICT_RUNS_MAX:
        draft.dispatch(tick.token_id, rerun(token, conflicts=lost))
    else:
        error = f"lost the race for {', '.join(shown)} in {lost} runs"
        _fail(draft, tick.token_id, token, node, error, _LOST_RACES, retryable=True)
    return draft.finish(
        Cause(
            tick="conflicted",
            node=token.node,
            visit=token.visit,
            attempt=token.attempt,
            error=error,
        )
    )


def run_out_of_time(draft: Draft, token_id: int, token: Token, tick: str) -> Cause:
    """Fail the token's node run, which is in its plan and took too long; return the cause.

    A function that cannot be stopped may still run: only who says so gets another run beside it.
    """
    draft.branch = token.branch
    node = draft.plan.nodes[token.node]
    error = f"it timed out after {node.spec.timeout_s:g} s"
    draft.latency_ms = int((node.spec.timeout_s or 0) * 1000)
    retryable = not node.blocking or bool(node.spec.retry_on)
    _fail(draft, token_id, token, node, error, _TIMED_OUT, retryable=retryable)
    return Cause(tick=tick, node=token.node, visit=token.visit, attempt=token.attempt, error=error)


def _is_late(token: Token, now: float) -> bool:
    """The end of a run comes after its time, and before anyone has noticed that."""
    return token.due is not None and is_due(token.due, now)


def _fail(
    draft: Draft,
    token_id: int,
    token: Token,
    node: PlanNode,
    error: str,
    error_types: tuple[str, ...],
    *,
    retryable: bool,
) -> None:
    """Count a failed run; retry, else follow the first edge that may be taken after a failure, else
    fail.
    """
    error = bounded_text(error)
    failures = token.failures + 1
    failed = msgspec.structs.replace(token, failures=failures)
    again = may_retry(node, failures, error_types, retryable)
    kind = error_types[0] if error_types else ""
    draft.node_runs = 1
    spent = used_up(draft, token_id) if again else None
    note_failure(draft, token, error, kind, will_retry=again and spent is None)
    broken_rule = check_constraints(draft, node.id, None) if draft.plan.constraints else None
    if broken_rule is not None:
        draft.tokens[token_id] = failed
        draft.stop(Status.FAILED, broken_rule)
        return
    if spent is not None:
        draft.tokens[token_id] = failed
        breach(draft, token_id, failed, spent)
        return
    if again:
        retry(draft, token_id, failed, backoff_s(node, draft.accepted.execution_id, failed))
        return
    output = {"error": msgspec.Raw(encode(error))}
    text = f"Node '{node.name}' failed after {failures} attempts: {error}"
    fail_node(draft, token_id, failed, output, text)
