"""Questions to people: a node that asks has ended, and its execution waits for the answers."""

from typing import Final

import msgspec

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.effects import run_again, settle
from greenroom.protocol.engine.going_on import await_answers, go_on_or_wait
from greenroom.protocol.engine.plan import Plan, PlanNode
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.engine.ticks import Answer, NodeSucceeded
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.engine.walk import PAUSE_NODE, ended, hold_lost
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import ExecutionState, Status, Token
from greenroom.protocol.patch import Cause
from greenroom.protocol.questions import (
    AskedQuestion,
    Closing,
    OpenQuestion,
    QuestionChange,
    QuestionEnding,
    QuestionRecord,
    question_id,
)

_REQUESTED: Final = EventType.CLIENT_INPUT_REQUESTED.value
_ANSWERED: Final = EventType.QUESTION_ANSWERED.value
_PROMPT_SHOWN: Final = 500  # characters of it that an event holds


def ask(
    draft: Draft, node: PlanNode, token: Token, tick: NodeSucceeded, until: float | None
) -> None:
    """Open what the node asked, and wait for the answers, then until a time, if there is one.

    A pause node pauses at once, its questions open.
    """
    keys = dict.fromkeys((*tick.outputs, *(one.to for one in tick.questions)))
    here = msgspec.structs.replace(ended(token, keys, tick.route), due=until)
    for number, question in enumerate(tick.questions, start=draft.state.asked + 1):
        open_question(draft, number, tick.token_id, token, question)
    if node.pause:
        draft.tokens[tick.token_id] = here
        draft.pause(node.id, PAUSE_NODE)
    else:
        await_answers(draft, tick.token_id, here)


def open_question(
    draft: Draft, number: int, token_id: int, token: Token, question: AskedQuestion
) -> None:
    """Open the execution's `number`-th question, about the token's node."""
    accepted = draft.accepted
    record = QuestionRecord(
        execution_id=accepted.execution_id,
        entry_point=accepted.entry_point,
        node=token.node,
        visit=token.visit,
        prompt=question.prompt,
        to=question.to,
        asked_at=draft.now,
        schema=question.schema,
        assignee=question.assignee,
        effect=question.effect,
    )
    draft.questions[number] = OpenQuestion(token=token_id, to=question.to, effect=question.effect)
    draft.question_changes.append(QuestionChange(number=number, record=record))
    data = {
        "question_id": question_id(accepted.execution_id, number),
        "prompt": bounded_text(question.prompt, _PROMPT_SHOWN),
        "to": bounded_text(question.to, _PROMPT_SHOWN),
        "assignee": question.assignee,
    }
    if question.effect is not None:
        data["effect"] = question.effect
    draft.event(_REQUESTED, token.node, data)


def answer(plan: Plan, state: ExecutionState, tick: Answer, now: float) -> Transition | None:
    """Store an answer; the last one that a waiting execution needs lets it go on. None when the
    question is not open.

    What is paused or held keeps the answer, and goes on when it is resumed.
    """
    question = state.questions.get(tick.number)
    if question is None:
        return None
    draft = Draft(plan, state, now)
    closing = Closing(ending=QuestionEnding.ANSWERED, at=now, digest=tick.digest, by=tick.by)
    draft.close_question(tick.number, closing)
    token = state.tokens[question.token]
    if question.effect is None:
        draft.memory[question.to] = tick.value
    else:
        settle(draft, question.token, token, question.effect, tick.value)
    name = question_id(draft.accepted.execution_id, tick.number)
    draft.event(_ANSWERED, token.node, {"question_id": name, "to": question.to, "by": tick.by})
    if state.status is Status.WAITING and not draft.awaits_answers(question.token):
        _stop_waiting(draft, question.token, token, permit=tick.permit)
    return draft.finish(Cause(tick="answer", node=token.node))


def _stop_waiting(draft: Draft, token_id: int, token: Token, *, permit: bool) -> None:
    if token.node not in draft.plan.nodes:
        hold_lost(draft, token_id, token)
        return
    if token.ended is None:  # what it was asked about are its effects
        run_again(draft, token_id, token, permit=permit)
    else:
        go_on_or_wait(draft, token_id, token, token.ended, {}, permit=permit)
