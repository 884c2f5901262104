"""Questions to people, checked from both sides: the journals, the questions, and their index."""

from collections.abc import Iterator

from greenroom.protocol.effects import EffectOutcome
from greenroom.protocol.execution import ExecutionState, Token
from greenroom.protocol.questions import BRANCHES_FROM, OpenQuestion
from greenroom.storage.executions import is_terminal
from greenroom.storage.keys import (
    KEY_END,
    pack_number,
    question_key,
    unpack_journal_key,
    unpack_pending_key,
)
from greenroom.storage.questions import find, index_keys
from greenroom.storage.records import QuestionEntry, decode_question
from greenroom.storage.tables import Table, Transaction

_PAGE = 1_000


def of_execution(
    txn: Transaction, ordinal: int, state: ExecutionState, name: str, *, cut: bool
) -> Iterator[str]:
    """The questions that a folded journal opened and closed are those that the store has; closed
    ones may have left with a part that was cut out.
    """
    if state.questions and is_terminal(state.status):
        yield f"{name}: is {state.status}, with open questions"
    counted = 0  # of those that no branch asked: all of their numbers are there
    lacking = set(state.questions)
    for number, raw in _rows(txn, ordinal):
        if number < BRANCHES_FROM:
            counted += 1
            if number != counted and not cut:
                break
        lacking.discard(number)
        yield from _of_one(number, decode_question(raw), state, name)
    if not (counted <= state.asked if cut else counted == state.asked):
        yield f"{name}: asked {state.asked} questions, and {counted} others are stored"
    for number in sorted(lacking):
        yield f"{name}: question {number} is open in its journal, and is not stored"


def _rows(txn: Transaction, ordinal: int) -> Iterator[tuple[int, bytes]]:
    start, end = question_key(ordinal, 0), question_key(ordinal + 1, 0)
    while page := txn.range(Table.QUESTIONS, start, end, _PAGE):
        for key, raw in page:
            yield unpack_journal_key(key)[1], raw
        start = page[-1][0] + b"\0"


def _of_one(number: int, entry: QuestionEntry, state: ExecutionState, name: str) -> Iterator[str]:
    record, wanted = entry.record, state.questions.get(number)
    if (entry.closing is None) != (wanted is not None):
        yield f"{name}: question {number} is open in its journal or in its record, not in both"
    if record.execution_id != state.accepted.execution_id:
        yield f"{name}: question {number} is one of {record.execution_id}"
    if wanted is None:
        return
    token = state.tokens.get(wanted.token)
    if token is None or token.node != record.node:
        yield f"{name}: no node waits for question {number}"
    elif wanted.to and token.ended is None:
        yield f"{name}: a node that has not ended waits for question {number}"
    elif wanted.effect is not None and not _is_unknown(state, wanted):
        yield f"{name}: question {number} is about an effect that is not unknown"
    elif wanted.budget is not None and not _is_used_up(state, wanted, token):
        yield f"{name}: question {number} is about a budget that is not used up"
    told = (wanted.to, wanted.effect, wanted.budget, wanted.deadline)
    if told != (record.to, record.effect, record.budget, record.deadline):
        yield f"{name}: question {number} is another in its journal than in its record"


def _is_unknown(state: ExecutionState, question: OpenQuestion) -> bool:
    known = state.effects.get(question.token, {}).get(question.effect or "")
    return known is not None and known.outcome is EffectOutcome.UNKNOWN


def _is_used_up(state: ExecutionState, question: OpenQuestion, token: Token) -> bool:
    spent = None if state.budget is None else state.budget.used_up(state.node_runs, state.wall_s)
    return spent is not None and spent.part == question.budget and token.ended is None


def index(txn: Transaction) -> Iterator[str]:
    """Every open question stands in the index in each of its places, and nothing else does."""
    expected = 0
    start = b""
    while page := txn.range(Table.QUESTIONS, start, KEY_END, _PAGE):
        for key, raw in page:
            ordinal, number = unpack_journal_key(key)
            owner = pack_number(ordinal)
            if txn.get(Table.SUMMARIES, owner) is None and txn.get(Table.GARBAGE, owner) is None:
                yield f"questions: number {ordinal} has no summary"
            entry = decode_question(raw)
            if entry.closing is None:
                keys = index_keys(entry.record, ordinal, number)
                expected += len(keys)
                if any(txn.get(Table.PENDING, one) is None for one in keys):
                    yield f"pending: question {number} of number {ordinal} is not in the index"
        start = page[-1][0] + b"\0"
    start = b""
    while page := txn.range(Table.PENDING, start, KEY_END, _PAGE):
        for key, _ in page:
            ordinal, number = unpack_pending_key(key)
            stored = find(txn, ordinal, number)
            if stored is None or stored.closing is not None:
                yield f"pending: question {number} of number {ordinal} is not open"
        start = page[-1][0] + b"\0"
    if txn.count(Table.PENDING) != expected:
        yield f"pending: {txn.count(Table.PENDING)} entries for {expected} places"
