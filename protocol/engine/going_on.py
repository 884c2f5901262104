"""Going on after a pause, or another wait: from a node that has ended and was not left, or with one
that has not.
"""

from collections import deque

import msgspec

from greenroom.protocol.engine.draft import Draft, parked
from greenroom.protocol.engine.due import is_due
from greenroom.protocol.engine.fanning import Moves
from greenroom.protocol.engine.joining import end, leave
from greenroom.protocol.engine.opening import await_answers
from greenroom.protocol.engine.retry import rerun
from greenroom.protocol.engine.routing import route_label
from greenroom.protocol.engine.spending import breach, used_up
from greenroom.protocol.engine.walk import enter, walk
from greenroom.protocol.execution import Ended, Phase, Token


def sleep(draft: Draft, token_id: int, token: Token, until: float) -> None:
    """Let the token of a node that has ended wait for a time; it holds no permit then."""
    draft.tokens[token_id] = msgspec.structs.replace(token, phase=Phase.SLEEPING, due=until)
    draft.wait(token.node, until)


def awake(token: Token) -> Token:
    """Return the token of a node that has ended, its sleep over."""
    return msgspec.structs.replace(token, phase=Phase.READY, due=None)


def go_on_or_wait(
    draft: Draft,
    token_id: int,
    token: Token,
    ended: Ended,
    added: dict[str, msgspec.Raw],
    *,
    permit: bool,
) -> None:
    """Go on, unless a question of the token is open still, or its sleep is not over."""
    draft.branch = token.branch
    asking, until = draft.awaits_answers(token_id), token.due
    if not asking and (until is None or is_due(until, draft.now)):
        go_on(draft, token_id, awake(token), ended, added, permit=permit)
        return
    outputs = tuple(dict.fromkeys((*ended.outputs, *added)))
    token = msgspec.structs.replace(token, ended=msgspec.structs.replace(ended, outputs=outputs))
    if asking or until is None:
        await_answers(draft, token_id, token)
    else:
        sleep(draft, token_id, token, until)


def go_on(
    draft: Draft,
    token_id: int,
    token: Token,
    ended: Ended,
    added: dict[str, msgspec.Raw],
    *,
    permit: bool,
) -> None:
    """Let the token leave a node that is done, by the way that is right now.

    `added` lies over the output of the node. With `permit` the next node is entered in the same
    transition, else the token queues for it.
    """
    draft.branch = token.branch
    draft.tokens[token_id] = token
    node = draft.plan.nodes[token.node]
    output = {key: raw for key in ended.outputs if (raw := draft.read(key)) is not None} | added
    if node.pause and node.resume_at is not None:
        if permit:
            draft.start()
        enter(draft, token_id, node.resume_at, output, succeeded=True, permit=permit)
        return
    moves: Moves = deque()
    if node.terminal:
        end(draft, moves, token_id)
    else:
        label = ended.route
        if label is None and node.routes:
            label = route_label(draft, node, output, succeeded=True)
        leave(draft, moves, token_id, token_id, token, output, label=label)
    if permit and not draft.over:
        draft.start()
    walk(draft, moves, permit=permit)


def set_out(draft: Draft, token_id: int, token: Token, *, permit: bool) -> None:
    """Let a token enter its node, or run the node that it had entered once more, in its visit;
    without a permit it queues for one.
    """
    draft.branch = token.branch
    if not permit:
        draft.queue(token_id, parked(token))
    elif token.attempt == 0:
        draft.start()
        enter(draft, token_id, token.node, draft.all_memory(), succeeded=True)
    elif (spent := used_up(draft, token_id)) is not None:
        breach(draft, token_id, token, spent)
    else:
        draft.start()
        draft.dispatch(token_id, rerun(token, conflicts=token.conflicts))
