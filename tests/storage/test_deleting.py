"""Deleting an execution: what leaves, what stays, and who is refused. The same for both stores."""

from itertools import pairwise

import msgspec
import pytest

from greenroom.protocol.commit import IdempotencyClaim
from greenroom.protocol.execution import SETTLED, Status
from greenroom.storage.executions import find_ordinal
from greenroom.storage.tables import Table

OF_ONE = ("ids", "summaries", "statuses", "finished", "journal", "snapshots", "garbage")


def deletion(make, name="e1", ordinal=1, seq=2, **rest):
    return make.host(execution_id=name, ordinal=ordinal, expected_seq=seq, delete=True, **rest)


def settle(bench, make, status, name="e1", ordinal=1, **rest) -> None:
    bench.apply(make.accept(name, **rest))
    bench.apply(make.step(name, ordinal, 2, status=status))


@pytest.mark.parametrize("status", sorted(SETTLED))
def test_nothing_of_a_settled_execution_is_left(bench, make, status) -> None:
    settle(bench, make, status)
    bench.apply(deletion(make))
    bench.apply(make.host(events=(make.event(),)))
    tables = bench.store.stats().tables
    assert {name: tables[name] for name in OF_ONE} == dict.fromkeys(OF_ONE, 0)
    assert bench.store.read(lambda r: r.execution("e1")) is None


@pytest.mark.parametrize("status", [one for one in Status if one not in SETTLED])
def test_what_goes_on_is_refused_and_untouched(bench, make, status) -> None:
    settle(bench, make, status)
    (outcome,) = bench.commit(deletion(make))
    assert outcome.code == "commit_refused"
    assert bench.store.read(lambda r: r.execution("e1")).seq == 2


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"expected_seq": 1}, "version_conflict"),  # it was taken up meanwhile
        ({"expected_seq": 3}, "version_conflict"),
        ({"execution_id": "e2"}, "version_conflict"),
        ({"ordinal": 7}, "version_conflict"),
        ({"ordinal": 0}, "commit_refused"),
        ({"stream": "ep", "incarnation": 9}, "fenced"),
    ],
)
def test_a_deletion_that_does_not_follow_the_head_is_refused(bench, make, wrong, code) -> None:
    settle(bench, make, Status.PAUSED)
    (outcome,) = bench.commit(msgspec.structs.replace(deletion(make), **wrong))
    assert outcome.code == code
    assert bench.store.read(lambda r: r.execution("e1")) is not None


def test_a_step_in_the_same_group_wins_or_loses_whole(bench, make) -> None:
    """A resume before the deletion, and one after it."""
    settle(bench, make, Status.PAUSED)
    resumed = make.step("e1", 1, 3, status=Status.QUEUED)
    outcomes = bench.commit(resumed, deletion(make))
    assert [one.code for one in outcomes] == ["", "version_conflict"]
    settle(bench, make, Status.PAUSED, "e2", 2)
    outcomes = bench.commit(deletion(make, "e2", 2), make.step("e2", 2, 3, status=Status.QUEUED))
    assert [one.code for one in outcomes] == ["", "version_conflict"]
    assert bench.store.read(lambda r: r.execution("e2")) is None


def test_its_idempotency_key_answers_as_long_as_it_would_have(bench, make) -> None:
    claim = IdempotencyClaim("n", "k", b"d", make.now + 100)
    settle(bench, make, Status.COMPLETED, idempotency=(claim,))
    bench.apply(deletion(make))
    (outcome,) = bench.commit(make.accept("e2", idempotency=(claim,)))
    assert (outcome.kind.value, outcome.duplicate_of) == ("duplicate", "e1")


def test_a_long_journal_leaves_a_bounded_part_at_a_time(bench, make) -> None:
    bench.apply(make.accept("e1"))
    bench.apply(*(make.step("e1", 1, seq) for seq in range(2, 1000)))
    bench.apply(make.step("e1", 1, 1000, status=Status.FAILED))
    bench.apply(deletion(make, seq=1000))
    left = [bench.store.stats().tables["journal"]]
    while bench.store.stats().tables["garbage"]:
        bench.reopen()
        bench.apply(make.host(events=(make.event(),)))
        left.append(bench.store.stats().tables["journal"])
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 256


def test_an_ordinal_is_not_given_again_after_the_newest_was_deleted(bench, make) -> None:
    settle(bench, make, Status.HELD)
    bench.apply(deletion(make))
    bench.reopen()
    (outcome,) = bench.apply(make.accept("e1"))
    assert outcome.ordinal == 2


def test_deleted_ones_do_not_count_towards_the_limit_of_results(bench, make) -> None:
    """100 finished, 60 deleted, 60 finished: nothing is pruned; a restart counts the same."""
    bench.open(results_max=1)
    for number in range(100):
        settle(bench, make, Status.COMPLETED, f"e{number}", number + 1)
    for number in range(60):
        bench.apply(deletion(make, f"e{number}", number + 1))
    bench.reopen()
    for number in range(100, 160):
        settle(bench, make, Status.COMPLETED, f"e{number}", number + 1)
    assert bench.store.stats().executions_pruned == 0
    assert bench.store.stats().tables["finished"] == 100


def test_a_drop_of_what_is_not_there_is_corruption_and_not_silence(bench, make) -> None:
    settle(bench, make, Status.COMPLETED)
    number = bench.store.read(lambda r: find_ordinal(r.transaction, "e1"))
    raw = bench.store.read(lambda r: r.transaction.get(Table.SUMMARIES, number.to_bytes(8, "big")))
    bench.store._change(lambda t: t.delete(Table.SUMMARIES, number.to_bytes(8, "big")))
    (outcome,) = bench.commit(deletion(make))
    assert outcome.kind.value == "refused"
    bench.store._change(lambda t: t.put(Table.SUMMARIES, number.to_bytes(8, "big"), raw))
