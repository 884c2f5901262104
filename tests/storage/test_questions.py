"""Questions in a store of either kind: open ones are listed, closed ones are remembered."""

from typing import Any

import pytest

from greenroom.protocol.execution import Ended, Status, Token
from greenroom.protocol.questions import (
    Closing,
    OpenQuestion,
    QuestionChange,
    QuestionEnding,
    QuestionRecord,
)
from greenroom.storage.questions import StoredQuestion, Wanted
from greenroom.storage.reader import Reader
from greenroom.storage.tables import Table

OPEN = OpenQuestion(token=1, to="ok")
ANSWERED = Closing(ending=QuestionEnding.ANSWERED, at=2.0, digest=b"d", by="ada")


def record(execution_id: str, **rest: Any) -> QuestionRecord:
    parts: dict[str, Any] = {
        "execution_id": execution_id, "entry_point": "ep", "node": "ask", "visit": 1,
        "prompt": "may I?", "to": "ok", "asked_at": 1.0,
    }  # fmt: skip
    return QuestionRecord(**(parts | rest))


def asking(make: Any, execution_id: str, *records: QuestionRecord, entry: str = "ep") -> Any:
    """The commit of an execution that begins by asking."""
    changes = [QuestionChange(number=n, record=one) for n, one in enumerate(records, start=1)]
    tokens = {1: Token(node=records[0].node, ended=Ended())}
    patch = {"tokens": tokens, "questions": {one.number: OPEN for one in changes}}
    return make.accept(
        execution_id, entry=entry, status=Status.WAITING, patch=patch, questions=tuple(changes)
    )


def closing(make: Any, execution_id: str, ordinal: int, number: int, seq: int = 2) -> Any:
    change = QuestionChange(number=number, closing=ANSWERED)
    return make.step(
        execution_id, ordinal, seq, patch={"questions": {number: None}}, questions=(change,)
    )


def listed(bench: Any, *, after: Any = None, limit: int = 100, **wanted: str) -> list[Any]:
    found = bench.store.read(
        lambda reader: reader.pending_questions(Wanted(**wanted), after, limit)
    )
    return [(one.record.execution_id, one.number) for one in found]


def test_open_questions_are_found_in_every_way_and_the_oldest_come_first(bench, make) -> None:
    bench.apply(
        asking(make, "e1", record("e1", asked_at=5.0), record("e1", asked_at=5.0, assignee="ada")),
        asking(make, "e2", record("e2", asked_at=3.0, entry_point="other"), entry="other"),
        asking(make, "e3", record("e3", asked_at=4.0, assignee="ada", node="n")),
    )
    every = [("e2", 1), ("e3", 1), ("e1", 1), ("e1", 2)]
    assert listed(bench) == every
    assert listed(bench, entry_point="ep") == every[1:]
    assert listed(bench, assignee="ada") == [("e3", 1), ("e1", 2)]
    assert listed(bench, assignee="ada", entry_point="other") == []
    assert listed(bench, assignee="ada", execution_id="e1") == [("e1", 2)]
    assert listed(bench, execution_id="e1") == [("e1", 1), ("e1", 2)]
    assert listed(bench, node="n") == [("e3", 1)]
    for nobody in ({"assignee": "eve"}, {"execution_id": "e9"}, {"entry_point": "e"}):
        assert listed(bench, **nobody) == []
    bench.reopen()
    assert listed(bench) == every


def test_a_closed_question_leaves_the_lists_and_is_remembered(bench, make) -> None:
    one = record("e1", assignee="ada")
    bench.apply(asking(make, "e1", one, one))
    bench.apply(closing(make, "e1", 1, 1))
    assert listed(bench) == [("e1", 2)] == listed(bench, assignee="ada")
    bench.reopen()
    found = bench.store.read(lambda reader: reader.question("e1", 1))
    assert found == StoredQuestion(1, 1, one, ANSWERED)
    for unknown in (("e1", 3), ("e1", 2**40), ("e2", 1)):
        assert bench.store.read(lambda reader, at=unknown: reader.question(*at)) is None


def test_pages_follow_each_other_also_behind_a_question_that_was_closed(bench, make) -> None:
    bench.apply(*(asking(make, f"e{n}", record(f"e{n}", asked_at=1.0 + n)) for n in range(1, 8)))
    last, pages = None, []
    while page := listed(bench, limit=3, after=last):
        pages.append([name for name, _ in page])
        last = bench.store.read(lambda reader, at=page[-1]: reader.question(*at))
        bench.apply(closing(make, last.record.execution_id, last.ordinal, 1))
    assert pages == [["e1", "e2", "e3"], ["e4", "e5", "e6"], ["e7"]]


def test_a_question_that_was_opened_and_closed_in_one_step_is_never_listed(bench, make) -> None:
    change = QuestionChange(number=1, record=record("e1"), closing=ANSWERED)
    bench.apply(make.accept("e1", patch={"questions": {1: None}}, questions=(change,)))
    assert listed(bench) == []
    found = bench.store.read(lambda reader: reader.question("e1", 1))
    assert found.closing == ANSWERED


@pytest.mark.parametrize("number", [1, 3])
def test_a_commit_that_closes_what_is_not_open_stores_nothing(bench, make, kinds, number) -> None:
    bench.apply(asking(make, "e1", record("e1"), record("e1")))
    bench.apply(closing(make, "e1", 1, 1))
    bad, good = closing(make, "e1", 1, number, 3), make.accept("e2")
    assert kinds(bench.commit(bad, good)) == ["refused", "applied"]
    assert listed(bench) == [("e1", 2)]
    again = QuestionChange(number=1, record=record("e1"))
    assert kinds(bench.commit(make.step("e1", 1, 3, questions=(again,)))) == ["refused"]
    assert kinds(bench.commit(make.host(questions=(again,)))) == ["refused"]


def test_the_questions_of_dropped_executions_are_deleted(bench, make) -> None:
    bench.open(results_max=1)
    names = [f"e{n}" for n in range(120)]
    bench.apply(*(asking(make, name, record(name)) for name in names))
    for ordinal, name in enumerate(names, start=1):
        change = QuestionChange(number=1, closing=ANSWERED)
        done = make.step(
            name, ordinal, 2, status=Status.COMPLETED, questions=(change,),
            patch={"tokens": {1: None}, "questions": {1: None}},
        )  # fmt: skip
        bench.apply(done)
    while bench.store.stats().tables["garbage"]:
        bench.apply(make.host(events=(make.event(),)))
    kept = bench.store.stats().tables
    assert kept["questions"] == kept["summaries"] < 120
    assert kept["pending"] == 0


class Counting:
    """A transaction that counts what is read through it."""

    def __init__(self, txn: Any) -> None:
        self._txn, self.read = txn, 0

    def get(self, table: Table, key: bytes) -> Any:
        self.read += 1
        return self._txn.get(table, key)

    def range(self, table: Table, start: bytes, stop: bytes, limit: int) -> Any:
        page = self._txn.range(table, start, stop, limit)
        self.read += 1 + len(page)
        return page


def entries_read(reader: Reader, wanted: Wanted) -> int:
    counting = Counting(reader.transaction)
    assert Reader(counting).pending_questions(wanted, None, 1)
    return counting.read


def test_what_an_answer_and_a_page_cost_does_not_depend_on_how_many_wait(lmdb_bench, make) -> None:
    """Counted in puts, and in entries read."""
    lmdb_bench.open()
    costs = {}
    ordinal = 0
    for waiting in (10, 10_000):
        while ordinal < waiting:
            names = [f"e{n}" for n in range(ordinal + 1, min(ordinal + 500, waiting) + 1)]
            lmdb_bench.apply(*(asking(make, one, record(one, assignee="ada")) for one in names))
            ordinal += len(names)
        before = lmdb_bench.store.stats()
        lmdb_bench.apply(closing(make, f"e{waiting // 2}", waiting // 2, 1))
        after = lmdb_bench.store.stats()
        ways = (Wanted(), Wanted("ep"), Wanted("ep", "ada"), Wanted("", "ada"), Wanted(node="ask"))
        read = [lmdb_bench.store.read(lambda reader, way=way: entries_read(reader, way))
                for way in (*ways, Wanted(execution_id="e1"))]  # fmt: skip
        costs[waiting] = (after.puts - before.puts, read)
    assert costs[10] == costs[10_000] == (2, [3, 3, 3, 3, 3, 4])
    assert lmdb_bench.store.stats().tables["pending"] == 9_998 * 6
