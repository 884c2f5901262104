"""What a failed node run leads to: another attempt now, one later, or the failure of the node."""

from hashlib import blake2b
from typing import Final

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.plan import PlanNode
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Phase, Token
from greenroom.protocol.limits import BACKOFF_HELD_S_MAX

_NODE_FAILED: Final = EventType.NODE_FAILED.value


def may_retry(node: PlanNode, failures: int, error_types: tuple[str, ...], retryable: bool) -> bool:
    """Say whether the node gets another attempt after its `failures`-th failure.

    `max_retries` counts attempts. `retry_on`, unless empty, must name one of `error_types`, and
    `no_retry_on` may name none.
    """
    spec = node.spec
    if not retryable or failures >= spec.attempts_max:
        return False
    if spec.no_retry_on and any(one in spec.no_retry_on for one in error_types):
        return False
    return not spec.retry_on or any(one in spec.retry_on for one in error_types)


def note_failure(
    draft: Draft, token: Token, error: str, error_type: str, *, will_retry: bool
) -> None:
    """Count a failed attempt and publish it."""
    draft.failures[token.node] = draft.failures.get(token.node, 0) + 1
    data = {
        "visit": token.visit,
        "attempt": token.attempt,
        "error": error,
        "error_type": error_type,
        "will_retry": will_retry,
    }
    draft.event(_NODE_FAILED, token.node, data)


def backoff_s(node: PlanNode, execution_id: str, token: Token) -> float:
    """Return how long the next attempt has to wait; the token's `failures` are counted already."""
    spec = node.spec
    wait_s = spec.backoff_s(token.failures)
    if not spec.backoff_jitter:
        return wait_s
    # Not random: whoever decides this again must decide the same.
    text = f"{execution_id}/{token.node}/{token.visit}/{token.failures}"
    share = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    return wait_s * (1 - spec.backoff_jitter * share)


def retry(draft: Draft, token_id: int, token: Token, wait_s: float) -> None:
    """Give the token its next attempt after `wait_s` seconds; its `failures` are counted already.

    0 runs it again at once. A short wait keeps the permit, a longer one frees it. Races lost by
    earlier attempts do not count against the next one.
    """
    draft.retries += 1
    if wait_s <= 0:
        draft.dispatch(token_id, rerun(token, conflicts=0))
        return
    due = draft.now + wait_s
    draft.tokens[token_id] = Token(
        node=token.node,
        visit=token.visit,
        attempt=token.attempt,
        failures=token.failures,
        crashes=token.crashes,
        phase=Phase.BACKOFF,
        due=due,
        known_as=token.known_as,
        branch=token.branch,
    )
    if wait_s >= BACKOFF_HELD_S_MAX:
        draft.wait(token.node, due)


def rerun(token: Token, *, conflicts: int) -> Token:
    """Return the token dispatched once more."""
    return Token(
        node=token.node,
        visit=token.visit,
        attempt=token.attempt + 1,
        failures=token.failures,
        crashes=token.crashes,
        conflicts=conflicts,
        phase=Phase.RUNNING,
        known_as=token.known_as,
        branch=token.branch,
    )
