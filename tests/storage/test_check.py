"""A check that finds nothing is only worth something if it finds what is wrong."""

from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from greenroom.protocol.budget import Budget
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import CursorMove, IdempotencyClaim, StateKey, StateWrite
from greenroom.protocol.decisions import DecisionMade
from greenroom.protocol.execution import Ended, Phase, Status, Token
from greenroom.protocol.questions import (
    Closing,
    OpenQuestion,
    QuestionChange,
    QuestionEnding,
    QuestionRecord,
)
from greenroom.storage.check import PROBLEMS_MAX, check, verify_pages
from greenroom.storage.executions import find_ordinal
from greenroom.storage.keys import (
    entry_digest,
    finished_key,
    journal_key,
    pack_number,
    pending_key,
    question_key,
    scope_key,
    status_key,
    text_key,
)
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.memory_store import MemoryStore
from greenroom.storage.records import CursorEntry, QuestionEntry, ScopeEntry, pack_summary
from greenroom.storage.tables import Table, Transaction

ENTRY = entry_digest("ep")
DECISION = encode(DecisionMade(id="d", at=1.0, intent="pick"))
QUESTION = OpenQuestion(token=1, to="ok")
RECORD = QuestionRecord(
    execution_id="e3",
    entry_point="ep",
    node="ask",
    visit=1,
    prompt="?",
    to="ok",
    asked_at=1.0,
    assignee="ada",
)
CLOSED = Closing(ending=QuestionEnding.CLOSED, at=2.0)


@pytest.fixture
def store(make):
    """One running, one finished and one asking execution, a snapshot, events, state, a claim and a
    cursor.
    """
    made = MemoryStore()
    claim = IdempotencyClaim("n", "k", b"d", make.now + 10)
    running = make.accept("e1", idempotency=(claim,), events=(make.event(payload=1),))
    made.commit([running, make.accept("e2", events=(make.event(),) * 2)], make.now)
    done = make.step("e2", 2, 2, status=Status.COMPLETED)
    write = make.host(writes=(StateWrite(StateKey("global", "", "k"), make.raw(1)),))
    move = make.host(cursor=CursorMove("c", 0, 2), events=(make.event(),))
    step = make.step("e1", 1, 2, notes=(msgspec.Raw(DECISION),))
    made.commit([done, write, move, step], make.now)
    state = made.read(lambda reader: reader.load_state(1))
    state.seq = 3
    snapshot = make.step("e1", 1, 3, snapshot=make.raw(state))
    assert made.commit([snapshot], make.now)[0].kind.value == "applied"
    asked = make.accept(
        "e3",
        status=Status.WAITING,
        patch={"tokens": {1: Token(node="ask", ended=Ended())}, "questions": {1: QUESTION}},
        questions=(QuestionChange(number=1, record=RECORD),),
    )
    assert made.commit([asked], make.now)[0].kind.value == "applied"
    assert check(made) == []
    return made


def first(txn: Transaction, table: Table) -> tuple[bytes, bytes]:
    return txn.range(table, b"", b"\xff" * 255, 1)[0]


def forget_first(table: Table) -> Callable[[Transaction], None]:
    return lambda txn: txn.delete(table, first(txn, table)[0])


WRONG: dict[str, tuple[Callable[[Transaction], object], str]] = {
    "gap": (
        lambda t: (
            t.delete(Table.JOURNAL, journal_key(1, 2)),
            t.delete(Table.SNAPSHOTS, journal_key(1, 3)),
        ),
        "does not fold",
    ),
    "no journal": (lambda t: t.delete(Table.JOURNAL, journal_key(1, 1)), "has no record 1"),
    "stray snapshot": (
        lambda t: t.put(Table.SNAPSHOTS, journal_key(1, 9), first(t, Table.SNAPSHOTS)[1]),
        "snapshot 9 is of no record",
    ),
    "orphan": (lambda t: t.put(Table.JOURNAL, journal_key(9, 1), b""), "number 9 has no summary"),
    "living garbage": (
        lambda t: t.put(Table.GARBAGE, pack_number(1), b""),
        "garbage: number 1 is being deleted, and is listed",
    ),
    "garbled record": (lambda t: t.put(Table.JOURNAL, journal_key(1, 2), b"x"), "cannot be read"),
    "wrong snapshot": (
        lambda t: t.put(
            Table.SNAPSHOTS, journal_key(1, 3), first(t, Table.SNAPSHOTS)[1].replace(b"c", b"d")
        ),
        "snapshot",
    ),
    "no id": (lambda t: t.delete(Table.IDS, text_key("e1")), "does not lead to number 1"),
    "stray id": (lambda t: t.put(Table.IDS, text_key("x"), pack_number(9)), "ids: 4 entries for 3"),
    "not indexed": (
        lambda t: t.delete(Table.STATUSES, status_key(Status.QUEUED, ENTRY, 1)),
        "not in the index of status queued",
    ),
    "indexed twice": (
        lambda t: t.put(Table.STATUSES, status_key(Status.FAILED, ENTRY, 1), b""),
        "statuses: 4 entries for 3",
    ),
    "not finished": (
        lambda t: t.delete(Table.FINISHED, finished_key(ENTRY, 1, 2)),
        "not in the index of finished",
    ),
    "lost chunk": (
        lambda t: t.put(Table.EVENTS, pack_number(9), encode([{"type": "t", "at": 1.0}])),
        "a chunk holds 9 to 9, where 5 was next",
    ),
    "lost decision": (forget_first(Table.DECISIONS), "record 2 counts 1 decisions and problems"),
    "stray decision": (
        lambda t: t.put(Table.DECISIONS, journal_key(1, 9) + b"\0\0\0\1", DECISION),
        "decisions lie beside record 9",
    ),
    "nobody's decision": (
        lambda t: t.put(Table.DECISIONS, journal_key(9, 9) + b"\0\0\0\1", DECISION),
        "decisions: number 9 has no summary",
    ),
    "garbled decision": (
        lambda t: t.put(Table.DECISIONS, journal_key(1, 2) + b"\0\0\0\1", b"x"),
        "a note beside record 2 of number 1 cannot be read",
    ),
    "stray payload": (lambda t: t.put(Table.PAYLOADS, pack_number(99), b"\xc0"), "event 99"),
    "no claim": (forget_first(Table.CLAIMS), "leads to no claim"),
    "no expiry": (forget_first(Table.EXPIRIES), "never expires"),
    "no scope": (lambda t: t.delete(Table.STATE, scope_key("global", "")), "has no scope"),
    "old scope": (
        lambda t: t.put(Table.STATE, scope_key("global", ""), encode(ScopeEntry(9, "global", ""))),
        "a scope has version 9, its newest key 1",
    ),
    "no question": (forget_first(Table.QUESTIONS), "asked 1 questions, and 0 others are stored"),
    "stray question": (
        lambda t: t.put(Table.QUESTIONS, question_key(9, 1), first(t, Table.QUESTIONS)[1]),
        "number 9 has no summary",
    ),
    "open for one only": (
        lambda t: t.put(
            Table.QUESTIONS, first(t, Table.QUESTIONS)[0], encode(QuestionEntry(RECORD, CLOSED))
        ),
        "question 1 is open in its journal or in its record, not in both",
    ),
    "closed, but indexed": (
        lambda t: t.put(
            Table.QUESTIONS, first(t, Table.QUESTIONS)[0], encode(QuestionEntry(RECORD, CLOSED))
        ),
        "pending: question 1 of number 3 is not open",
    ),
    "not pending": (forget_first(Table.PENDING), "question 1 of number 3 is not in the index"),
    "pending twice": (
        lambda t: t.put(Table.PENDING, pending_key(b"12345678", 1.0, 3, 1), b""),
        "pending: 7 entries for 6 places",
    ),
    "garbled fence": (lambda t: t.put(Table.FENCES, b"tx", b"\xc1"), "cannot be read further"),
    "far cursor": (
        lambda t: t.put(Table.CURSORS, text_key("c"), encode(CursorEntry("c", 99))),
        "the log ends at 4",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found_and_named(store, name: str) -> None:
    change, expected = WRONG[name]
    store._change(change)
    problems = check(store)
    assert any(expected in problem for problem in problems), problems


def test_a_summary_that_lies_is_found(store, make) -> None:
    def lie(txn: Transaction) -> None:
        number = find_ordinal(txn, "e1")
        summary = make.summary("e1", Status.PAUSED)
        txn.put(Table.SUMMARIES, pack_number(number), pack_summary(0, summary))
        txn.delete(Table.STATUSES, status_key(Status.QUEUED, ENTRY, number))
        txn.put(Table.STATUSES, status_key(Status.PAUSED, ENTRY, number), b"")

    store._change(lie)
    assert check(store) == ["execution e1: its journal says queued, its summary paused"]


@pytest.mark.parametrize(
    ("budget", "ended", "problem"),
    [
        (Budget(steps=2, on_breach="ask"), None, None),
        (Budget(steps=3, on_breach="ask"), None, "is about a budget that is not used up"),
        (Budget(wall_s=1, on_breach="ask"), None, "is about a budget that is not used up"),
        (None, None, "is about a budget that is not used up"),
        (Budget(steps=2, on_breach="ask"), Ended(), "is about a budget that is not used up"),
    ],
)
def test_a_question_about_a_budget_is_open_while_that_is_used_up(
    make, budget: Budget | None, ended: Ended | None, problem: str | None
) -> None:
    token = Token(node="ask", phase=Phase.ASKING, ended=ended)
    asked = make.accept(
        "e3",
        status=Status.WAITING,
        patch={
            "tokens": {1: token},
            "questions": {1: OpenQuestion(token=1, to="", budget="steps")},
            "budget": budget,
            "node_runs": 2,
            "wall_s": 1.0,
        },
        questions=(QuestionChange(number=1, record=replace(RECORD, to="", budget="steps")),),
    )
    store = MemoryStore()
    store.commit([asked], make.now)
    found = check(store)
    assert found == ([] if problem is None else [f"execution e3: question 1 {problem}"])


def test_the_report_is_bounded(store) -> None:
    def spoil(txn: Transaction) -> None:
        for number in range(3 * PROBLEMS_MAX):
            txn.put(Table.PAYLOADS, pack_number(1000 + number), b"\xc0")

    store._change(spoil)
    assert len(check(store)) == PROBLEMS_MAX


def test_broken_pages_are_found(tmp_path, make) -> None:
    path = tmp_path / "store"
    store = open_store(path)
    store.commit([make.accept(f"e{number}") for number in range(200)], make.now)
    store.close()
    assert verify_pages(path) == []
    data = bytearray((path / "data.mdb").read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 + 10] ^= 0xFF
    (path / "data.mdb").write_bytes(data)
    assert verify_pages(path) != []
    assert verify_pages(tmp_path / "none") != []
