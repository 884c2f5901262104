"""Standing still and going on: what Pause and Resume do to an execution."""

from typing import Any, Final

import msgspec

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.fanning import reopen
from greenroom.protocol.engine.going_on import go_on_or_wait
from greenroom.protocol.engine.opening import ask_again, await_answers
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.spending import renew
from greenroom.protocol.engine.ticks import Pause, Resume
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import ExecutionState, Phase, Status, Token, asked_again
from greenroom.protocol.patch import Cause

PAUSABLE: Final = frozenset({Status.QUEUED, Status.RUNNING, Status.WAITING})
RESUMABLE: Final = frozenset({Status.PAUSED, Status.FAILED, Status.EXHAUSTED, Status.HELD})

_RESUMED: Final = EventType.EXECUTION_RESUMED.value


def pause(plan: Plan, state: ExecutionState, tick: Pause, now: float) -> Transition | None:
    """Pause what is queued, runs or waits; None for everything else."""
    if state.status not in PAUSABLE:
        return None
    draft = Draft(plan, state, now)
    nodes = {token.node for token in state.tokens.values()}
    node = nodes.pop() if len(nodes) == 1 else None
    draft.pause(node, tick.reason)
    return draft.finish(Cause(tick="pause", node=node))


def resume(plan: Plan, state: ExecutionState, tick: Resume, now: float) -> Transition | None:
    """Take up what is paused, failed, exhausted or held, with `tick.memory` over its memory.

    None for everything else, while the graph has not the node at which it stands, and when its
    branches had all come to their ends and could not be joined, or may not run at all. A node that
    had not ended runs again in its visit, its attempts counted on, when what was asked about its
    effects is answered; a failure or a hold is forgiven: `failures`, `crashes` and the time that it
    has run start from 0. From a node that had ended the way is chosen with its output and the new
    input over it: now, or when its questions are answered and its sleep is over.
    """
    if state.status not in RESUMABLE:
        return None
    tokens = state.tokens.items()
    if any(token.node not in plan.nodes for _, token in tokens):
        return None
    draft = Draft(plan, state, now)
    forgiven = state.status is not Status.PAUSED
    draft.active_from_zero = forgiven
    if tick.budget is not None:
        renew(draft, tick.budget)
    if state.status is Status.FAILED:
        reopen(draft)
        if all(token.phase is Phase.FAILED for token in draft.standing_tokens().values()):
            return None  # every branch had come to its end, and they could not be joined
        fans = {} if draft.parallel is None else draft.parallel.open_fans()
        if any(fan.timeout_s == 0 for fan in fans.values()):
            return None  # its branches may not run at all
    again = [one for one in asked_again(state) if one[0] not in state.questions]
    if any(number not in tick.asked for number, _ in again):
        return None
    ask_again(draft, [(token_id, tick.asked[number]) for number, token_id in again])
    for _, token_id in again:
        token = draft.standing_tokens()[token_id]
        draft.tokens[token_id] = msgspec.structs.replace(token, unanswered=())
    take_up(draft, tick.memory, {"was": state.status.value}, forgiven=forgiven)
    return draft.finish(Cause(tick="resume"))


def take_up(
    draft: Draft, memory: dict[str, msgspec.Raw], data: dict[str, Any], *, forgiven: bool
) -> None:
    """Let every token of the draft's state, all at rest, go on with `memory` as new input. `data`
    is what the event says beside the number of the run.
    """
    draft.run = draft.state.run + 1
    draft.clear_error = True
    standing = draft.standing_tokens().values()
    nodes = {token.node for token in standing if token.phase is not Phase.FAILED}
    node = nodes.pop() if len(nodes) == 1 else None
    draft.event(_RESUMED, node, {"run": draft.run, **data})
    let_all_go(draft, memory, forgiven=forgiven)


def let_all_go(draft: Draft, memory: dict[str, msgspec.Raw], *, forgiven: bool) -> None:
    """Let every token at rest go on, but those of branches that have failed, with `memory` as new
    input.
    """
    draft.memory = dict(memory)
    if memory and draft.parallel is not None:
        draft.parallel.renew(memory)
    for token_id, token in draft.standing_tokens().items():
        # Another may have failed as it went on, and with it the branch of this one.
        stands = draft.tokens.get(token_id, draft.state.tokens.get(token_id)) is token
        if stands and token.phase is not Phase.FAILED and not draft.over:
            _let_go(draft, token_id, token, memory, forgiven=forgiven)


def _let_go(
    draft: Draft,
    token_id: int,
    token: Token,
    memory: dict[str, msgspec.Raw],
    *,
    forgiven: bool,
) -> None:
    """Let a token at rest go on, with `memory` as new input."""
    if token.ended is not None:
        go_on_or_wait(draft, token_id, token, token.ended, memory, permit=False)
        return
    if forgiven:
        token = msgspec.structs.replace(token, failures=0, crashes=0, conflicts=0)
    if draft.awaits_answers(token_id):
        await_answers(draft, token_id, token)
    else:
        draft.queue(token_id, token)
