"""Questions to people, for hosts: which are open, and answering them. Any event loop."""

from typing import Any

from msgspec import Raw

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.pausing import check_served
from greenroom.actors.host.waiting import may_be_execution, wish
from greenroom.actors.nodes.answer_schemas import check_answer
from greenroom.protocol.asked import asked_text
from greenroom.protocol.errors import CommitRefused, InvalidInput
from greenroom.protocol.limits import PERSON_CHARS_MAX, QUESTIONS_PAGE_MAX
from greenroom.protocol.questions import (
    AnswerOutcome,
    Closing,
    Question,
    QuestionEnding,
    checked_text,
    question_id,
    split_question_id,
)
from greenroom.protocol.settings import check_integer
from greenroom.protocol.stream_messages import AnswerQuestion
from greenroom.protocol.timers import moment
from greenroom.protocol.values import answer_digest, decode_value, encode_value
from greenroom.storage.questions import StoredQuestion, Wanted


def pending(
    assembly: Assembly,
    *,
    entry_point: str | None,
    assignee: str | None,
    session_id: str | None,
    limit: int,
    after: str | None,
) -> list[Question]:
    """The open questions of which all that is given is true. Raises InvalidInput."""
    check_integer("limit", limit, 1, QUESTIONS_PAGE_MAX)
    wanted = Wanted(
        asked_text("entry_point", entry_point) or "",
        asked_text("assignee", assignee, PERSON_CHARS_MAX) or "",
        asked_text("session_id", session_id) or "",
    )
    last = None if after is None else stored_question(assembly, after)
    if after is not None and last is None:
        raise InvalidInput(f"after is {after!a:.200}: give the id of a question, or None")
    found = assembly.store.read(lambda reader: reader.pending_questions(wanted, last, limit))
    return [_shown(one) for one in found]


def get(assembly: Assembly, asked: str) -> Question | None:
    """One question, open or closed; None when it is unknown."""
    found = stored_question(assembly, asked)
    return None if found is None else _shown(found)


async def answer(assembly: Assembly, asked: str, value: Any, by: str | None) -> AnswerOutcome:
    """What became of the answer, after its commit; see `PeopleCalls.answer`."""
    raw = Raw(encode_value(value))
    if by is not None:
        checked_text("by", by, PERSON_CHARS_MAX)
    digest = answer_digest(raw)
    found = stored_question(assembly, asked)
    if found is None:
        return AnswerOutcome.UNKNOWN
    if found.closing is not None:
        return _of_closed(found.closing, digest)
    if found.record.schema is not None:
        check_answer(found.record.schema, raw)
    entry_point, execution_id = found.record.entry_point, found.record.execution_id
    check_served(assembly, entry_point, execution_id)
    message = AnswerQuestion(
        execution_id=execution_id, number=found.number, value=raw, digest=digest, by=by
    )
    if await wish(assembly, entry_point, message):
        return AnswerOutcome.ACCEPTED
    now = stored_question(assembly, asked)  # somebody else was faster
    if now is None:
        return AnswerOutcome.UNKNOWN
    if now.closing is None:
        raise CommitRefused(f"the answer to {asked} was not stored: the log says why")
    return _of_closed(now.closing, digest)


def stored_question(assembly: Assembly, asked: object) -> StoredQuestion | None:
    """A question as the store has it, None when it has none of that id."""
    found = split_question_id(asked)
    if found is None or not may_be_execution(found[0]):
        return None
    return assembly.store.read(lambda reader: reader.question(*found))


def _of_closed(closing: Closing, digest: bytes) -> AnswerOutcome:
    match closing.ending:
        case QuestionEnding.ANSWERED:
            equal = closing.digest == digest
            return AnswerOutcome.DUPLICATE if equal else AnswerOutcome.CONFLICTING
        case QuestionEnding.EXPIRED:
            return AnswerOutcome.LATE
        case QuestionEnding.CLOSED:
            return AnswerOutcome.CLOSED


def _shown(found: StoredQuestion) -> Question:
    record, closing = found.record, found.closing
    return Question(
        id=question_id(record.execution_id, found.number),
        session_id=record.execution_id,
        entry_point=record.entry_point,
        node_id=record.node,
        prompt=record.prompt,
        to=record.to,
        asked_at=moment(record.asked_at),
        schema=None if record.schema is None else decode_value(record.schema),
        assignee=record.assignee,
        effect=record.effect,
        budget=record.budget,
        deadline=None if record.deadline is None else moment(record.deadline),
        has_default=record.default is not None,
        default=None if record.default is None else decode_value(record.default),
        ending=None if closing is None else closing.ending,
        closed_at=None if closing is None else moment(closing.at),
        answered_by=None if closing is None else closing.by,
    )
