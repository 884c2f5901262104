"""What a cut leaves alone: whatever a checkpoint, a fork or an open question needs."""

import logging
from typing import Any

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.execution import Accepted, Ended, Status, Token
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.questions import (
    Closing,
    OpenQuestion,
    QuestionChange,
    QuestionEnding,
    QuestionRecord,
)
from greenroom.storage.check import check
from greenroom.storage.keys import journal_key
from greenroom.storage.tables import Table

KEEP = 100


def asks(session: Any, seq: int, number: int) -> Any:
    """The step that asks a question."""
    record = QuestionRecord(
        execution_id="e1", entry_point="ep", node="ask", visit=1, prompt="?", to="ok", asked_at=1.0
    )
    patch = {
        "tokens": {1: Token(node="ask", ended=Ended())},
        "questions": {number: OpenQuestion(token=1, to="ok")},
    }
    return session.step(seq, patch=patch, questions=(QuestionChange(number=number, record=record),))


def answers(session: Any, seq: int, number: int) -> Any:
    """The step that closes it."""
    closing = Closing(ending=QuestionEnding.ANSWERED, at=2.0)
    change = QuestionChange(number=number, closing=closing)
    return session.step(seq, patch={"questions": {number: None}}, questions=(change,))


def stored_questions(bench: Any) -> list[int]:
    return [
        number
        for number in range(1, 20)
        if bench.store.read(lambda r, n=number: r.question("e1", n)) is not None
    ]


def test_closed_questions_leave_unless_a_kept_position_knows_them_as_open(
    bench, make, session
) -> None:
    """Going back there asks them again. Those that are open, and those of the records that stay,
    stay too.
    """
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    for number, (asked, answered) in enumerate([(2, 4), (10, 12), (14, 330), (20, 0)], start=1):
        seq = bench.store.read(lambda r: r.execution("e1")).seq
        session.grow(seq + 1, asked - 1)
        bench.apply(asks(session, asked, number))
        if answered and answered < 300:
            session.grow(asked + 1, answered - 1)
            bench.apply(answers(session, answered, number))
    session.grow(21, 329)
    bench.apply(answers(session, 330, 3), asks(session, 331, 5), answers(session, 332, 5))
    session.grow(333, 400)
    bench.apply(session.named(11))
    session.tidy()
    assert stored_questions(bench) == [2, 3, 4, 5]
    assert bench.store.read(lambda r: r.load_state(1, 11)).questions.keys() == {2}
    bench.apply(session.named(forget=(11,)))
    bench.reopen()
    session.tidy()
    assert stored_questions(bench) == [3, 4, 5]


def fork(make: Any, name: str, seq: int) -> Any:
    """The commit that forks e1."""
    origin = Forked(ordinal=1, execution_id="e1", seq=seq)
    accepted = Accepted(
        execution_id=name,
        entry_point="ep",
        entry_node="a",
        graph_id="graph",
        goal_id="goal",
        correlation_id="c",
        accepted_at=make.now,
        forked=origin,
    )
    return make.accept(
        name,
        record=make.record(1, accepted=accepted, status=Status.QUEUED),
        summary=make.summary(name, Status.QUEUED, forked=origin),
        fork=ForkChange(origin=origin),
    )


def test_what_an_untouched_fork_is_read_through_stays_until_its_first_step(
    bench, make, session
) -> None:
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 400)
    bench.apply(fork(make, "f", 40), fork(make, "g", 350))
    before = bench.store.read(lambda r: r.load_state(2))
    session.tidy()
    assert session.seqs() == [1, 40, *range(301, 401)]
    assert bench.store.read(lambda r: r.load_state(2)) == before
    (late,) = bench.commit(fork(make, "h", 41))
    assert late.kind.value == "refused"
    change = ForkChange(origin=before.accepted.forked, base=msgspec.Raw(encode(before)))
    bench.apply(make.step("f", 2, 2, fork=change))
    bench.reopen()
    session.tidy()
    assert session.seqs() == [1, *range(301, 401)]
    assert bench.store.read(lambda r: r.load_state(2, 1)) == before


def test_a_fork_that_lives_long_is_cut_like_any_other(bench, make, session) -> None:
    """And keeps what it began with."""
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 20)
    bench.apply(fork(make, "f", 9))
    base = bench.store.read(lambda r: r.load_state(2))
    change = ForkChange(origin=base.accepted.forked, base=msgspec.Raw(encode(base)))
    bench.apply(make.step("f", 2, 2, fork=change))
    session.grow(3, 300, name="f", ordinal=2)
    session.tidy()
    assert session.seqs(ordinal=2) == [1, *range(201, 301)]
    assert session.seqs(Table.SNAPSHOTS, ordinal=2) == [1, 201]
    path = bench.store.read(lambda r: r.load_state(2)).path
    assert path[:10] == [f"n{seq}" for seq in (*range(2, 10), 3, 4)]


def test_a_journal_that_cannot_be_read_is_left_as_it_is_and_stops_nobody(
    make, session, bench, caplog
) -> None:
    """The writer would never get past it otherwise; `check` says what is wrong."""
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"), make.accept("e2"))
    session.grow(2, 300)
    session.grow(2, 300, name="e2", ordinal=2)
    whole = bench.store.read(lambda r: r.transaction.get(Table.JOURNAL, journal_key(1, 150)))
    bench.store._change(lambda txn: txn.put(Table.JOURNAL, journal_key(1, 150), b"garbled"))
    with caplog.at_level(logging.ERROR, "greenroom.storage"):
        session.tidy()
    assert len(session.seqs()) == 300
    assert session.seqs(ordinal=2) == [1, *range(201, 301)]
    assert "number 1 is left as it is" in caplog.text
    assert any("record 150 cannot be read" in problem for problem in check(bench.store))
    bench.store._change(lambda txn: txn.put(Table.JOURNAL, journal_key(1, 150), whole))
    bench.reopen()
    session.tidy()
    assert session.seqs() == [1, *range(201, 301)]
    with pytest.raises(HistoryPruned):
        bench.store.read(lambda r: r.load_state(1, 150))
