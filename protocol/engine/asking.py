"""Questions to people: a node that asks has ended, and its execution waits for the answers."""

from typing import Final

import msgspec

from greenroom.protocol.codec import encode
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.due import is_due
from greenroom.protocol.engine.effects import settle
from greenroom.protocol.engine.fanning import ended
from greenroom.protocol.engine.going_on import awake, go_on_or_wait, set_out
from greenroom.protocol.engine.injecting import take_kept
from greenroom.protocol.engine.joining import hold_lost, pause_after
from greenroom.protocol.engine.opening import open_question, shown
from greenroom.protocol.engine.plan import Plan, PlanNode
from greenroom.protocol.engine.spending import exhaust, extend
from greenroom.protocol.engine.ticks import Answer, NodeSucceeded
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.engine.walk import fail_node
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import ExecutionState, Phase, Status, Token
from greenroom.protocol.patch import Cause
from greenroom.protocol.questions import Closing, OpenQuestion, QuestionEnding, question_id
from greenroom.protocol.values import answer_digest

MOVING: Final = frozenset({Status.WAITING, Status.RUNNING, Status.QUEUED})
"""Something may go on by itself; some of several branches may wait meanwhile."""

_ANSWERED: Final = EventType.QUESTION_ANSWERED.value
_EXPIRED: Final = EventType.QUESTION_EXPIRED.value


def ask(
    draft: Draft, node: PlanNode, token: Token, tick: NodeSucceeded, until: float | None
) -> None:
    """Open what the node asked, and wait for the answers, then until a time, if there is one.

    What was kept for the node answers at once. A pause node pauses at once, its questions open.
    """
    keys = dict.fromkeys((*tick.outputs, *(one.to for one in tick.questions)))
    here = msgspec.structs.replace(ended(token, keys, tick.route), due=until)
    for nth, question in enumerate(tick.questions, start=1):
        number = open_question(draft, tick.token_id, token, question, nth)
        kept = take_kept(draft, node.id, question, tick.fits) if draft.state.inbox else None
        if kept is not None:
            draft.write({question.to: kept})
            _answered(draft, number, token.node, question.to, answer_digest(kept), None)
    if node.pause:
        pause_after(draft, tick.token_id, here)
    else:
        assert here.ended is not None, "a node that asks has ended"
        go_on_or_wait(draft, tick.token_id, here, here.ended, {}, permit=True)


def answer(plan: Plan, state: ExecutionState, tick: Answer, now: float) -> Transition | None:
    """Store an answer; the last one that a waiting execution needs lets it go on. None when the
    question is not open.

    What is paused or held keeps the answer, and goes on when it is resumed; but when it gets no
    more budget, it ends.
    """
    question = state.questions.get(tick.number)
    if question is None:
        return None
    draft = Draft(plan, state, now)
    token = state.tokens[question.token]
    draft.branch = token.branch
    may_go_on = True
    if question.budget is not None:
        may_go_on = extend(draft, question.budget, tick.value)
    elif question.effect is not None:
        settle(draft, question.token, token, question.effect, tick.value)
    else:
        draft.write({question.to: tick.value})
    _answered(draft, tick.number, token.node, question.to, tick.digest, tick.by)
    if question.budget is not None and not may_go_on:
        exhaust(draft, question.budget, token.node)
    elif state.status in MOVING:
        permit = has_permit(state, tick.permit)
        for token_id in _who_waited(draft, question):
            before = state.tokens[token_id]
            if not draft.over and draft.tokens.get(token_id, before) is before:
                _stop_waiting(draft, token_id, before, permit=permit)
    return draft.finish(Cause(tick="answer", node=token.node))


def has_permit(state: ExecutionState, given: bool) -> bool:
    """Say whether what goes on of an execution may run at once: `given` says that there is a permit
    for it. One has it while any of its nodes runs; one that queues has its place in the line.
    """
    if state.status is Status.QUEUED:
        return False
    return given or (
        state.status is Status.RUNNING
        and any(token.phase is Phase.RUNNING for token in state.tokens.values())
    )


def _who_waited(draft: Draft, question: OpenQuestion) -> list[int]:
    """The tokens that go on now that the question is answered: its own, unless more was asked about
    it, and after one about the budget all that have no other.
    """
    asking = {
        token_id
        for token_id, token in draft.state.tokens.items()
        if token.phase is Phase.ASKING and token.ended is None
    }
    waited = asking if question.budget is not None else {question.token}
    return [
        token_id
        for token_id in draft.state.tokens
        if token_id in waited and not draft.awaits_answers(token_id)
    ]


def _answered(draft: Draft, number: int, node: str, to: str, digest: bytes, by: str | None) -> None:
    closing = Closing(ending=QuestionEnding.ANSWERED, at=draft.now, digest=digest, by=by)
    draft.close_question(number, closing)
    name = question_id(draft.accepted.execution_id, number)
    draft.event(_ANSWERED, node, {"question_id": name, "to": shown(to), "by": by})


def expire(draft: Draft, *, permit: bool) -> None:
    """Close the questions whose deadline has passed, and go on from what nobody is asked of any
    more.

    A default is taken for the answer. Without one the node has failed, as after its last attempt:
    what else it asked is closed, and the token takes the way for failures, or the execution fails.
    """
    expired: dict[int, str | None] = {}  # token -> the question that has no answer
    for number, question in draft.state.questions.items():
        if question.deadline is None or not is_due(question.deadline, draft.now):
            continue
        name = question_id(draft.accepted.execution_id, number)
        default, digest = question.default, b""
        if default is None:
            expired[question.token] = expired.get(question.token) or name
        else:
            expired.setdefault(question.token, None)
            draft.branch = draft.state.tokens[question.token].branch
            draft.write({question.to: default})
            digest = answer_digest(default)
        closing = Closing(ending=QuestionEnding.EXPIRED, at=draft.now, digest=digest)
        draft.close_question(number, closing)
        data = {
            "question_id": name,
            "to": shown(question.to),
            "default_taken": default is not None,
        }
        draft.event(_EXPIRED, draft.state.tokens[question.token].node, data)
    for token_id, unanswered in expired.items():
        token = draft.state.tokens[token_id]
        if draft.over or token_id in draft.tokens:
            continue  # another failed, and this one with it
        if unanswered is not None:
            _unanswered(draft, token_id, token, unanswered, permit=permit)
        elif not draft.awaits_answers(token_id):
            _stop_waiting(draft, token_id, token, permit=permit)


def _unanswered(draft: Draft, token_id: int, token: Token, name: str, *, permit: bool) -> None:
    draft.close_questions(token_id)
    node = draft.plan.nodes.get(token.node)
    if node is None:
        hold_lost(draft, token_id, token)
        return
    error = f"question {name} of node {node.name!r} was not answered in time"
    draft.branch = token.branch
    output = {"error": msgspec.Raw(encode(error))}
    fail_node(draft, token_id, awake(token), output, error, permit=permit)


def _stop_waiting(draft: Draft, token_id: int, token: Token, *, permit: bool) -> None:
    if token.node not in draft.plan.nodes:
        hold_lost(draft, token_id, token)
        return
    if token.ended is None:  # what people were asked about are its effects, or its budget
        set_out(draft, token_id, token, permit=permit)
    else:
        go_on_or_wait(draft, token_id, token, token.ended, {}, permit=permit)
