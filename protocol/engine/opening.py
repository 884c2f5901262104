"""Opening questions to people, and waiting for their answers."""

from collections.abc import Iterable
from typing import Final

import msgspec

from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import Phase, Token
from greenroom.protocol.questions import (
    BRANCHES_FROM,
    AskedQuestion,
    OpenQuestion,
    QuestionChange,
    QuestionRecord,
    number_of,
    question_id,
)

_REQUESTED: Final = EventType.CLIENT_INPUT_REQUESTED.value
_TEXT_CHARS: Final = 500  # of each text of an event


def open_question(
    draft: Draft, token_id: int, token: Token, question: AskedQuestion, nth: int = 0
) -> int:
    """Open a question about the token's node; return its number. It is the `nth` that the node
    itself asked, from 1, and has the number that the node was told; 0 is for all others.
    """
    accepted = draft.accepted
    if nth and token_id < 0:
        number = number_of(0, token_id, nth)
    else:
        opened = [one for one in draft.questions if one < BRANCHES_FROM]
        number = max((draft.state.asked, *opened)) + 1
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
        budget=question.budget,
        deadline=question.deadline,
        default=question.default,
    )
    draft.questions[number] = OpenQuestion(
        token=token_id,
        to=question.to,
        effect=question.effect,
        budget=question.budget,
        deadline=question.deadline,
        default=question.default,
    )
    draft.question_changes.append(QuestionChange(number=number, record=record))
    data = {
        "question_id": question_id(accepted.execution_id, number),
        "prompt": shown(question.prompt),
        "to": shown(question.to),
        "assignee": question.assignee,
        "deadline": question.deadline,
    }
    if question.effect is not None:
        data["effect"] = question.effect
    if question.budget is not None:
        data["budget"] = question.budget
    draft.event(_REQUESTED, token.node, data)
    return number


def ask_again(draft: Draft, asked: Iterable[tuple[int, QuestionRecord]]) -> None:
    """Ask what was open at a position, each for the token with that id; answers that were given
    belong to a time after it. What became of an effect is not asked: it is made anew; nor for more
    budget, as what it has now counts. A deadline is as far away as it was when the question was
    asked.
    """
    for token_id, record in asked:
        again = AskedQuestion(
            prompt=record.prompt,
            to=record.to,
            schema=record.schema,
            assignee=record.assignee,
            deadline=record.deadline and draft.now + record.deadline - record.asked_at,
            default=record.default,
        )
        open_question(draft, token_id, draft.state.tokens[token_id], again)


def await_answers(draft: Draft, token_id: int, token: Token) -> None:
    """Let the token wait for the answers to what was asked about its node, without a permit."""
    draft.tokens[token_id] = msgspec.structs.replace(token, phase=Phase.ASKING)
    draft.wait(token.node, None)


def shown(text: str) -> str:
    """Return as much of a question's text as its events hold."""
    return bounded_text(text, _TEXT_CHARS)
