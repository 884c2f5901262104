"""Names beside the journal: stored, listed, removed, and what that costs. The same for both
stores.
"""

from itertools import pairwise

import pytest

from greenroom.protocol.checkpoints import (
    CheckpointKey,
    CheckpointType,
    Naming,
    NewCheckpoint,
    Pruning,
)
from greenroom.protocol.execution import Status
from greenroom.storage.check import check
from greenroom.storage.keys import checkpoint_key
from greenroom.storage.tables import Table

MANUAL, COMPLETE, START, PAUSE = CheckpointType
DAY_S = 24 * 3600.0


def name(
    make, seq, kind=COMPLETE, number=0, *, day=0.0, step=0, node="a", text=""
) -> NewCheckpoint:
    return NewCheckpoint(
        seq=seq,
        kind=kind,
        number=number,
        node="a",
        at=make.now + day * DAY_S,
        step=step,
        description=text,
    )


def named(make, *names, ordinal=1, execution="e1", **rest):
    """A commit of names alone."""
    return make.host(execution_id=execution, ordinal=ordinal, naming=Naming(names=names, **rest))


@pytest.fixture
def journal(bench, make):
    """e1 with 20 records: each has an end and, but the last, a start; 5 and 10 are named by hand,
    15 is a pause.
    """
    bench.apply(make.accept("e1"))
    for seq in range(2, 21):
        names = [name(make, seq, COMPLETE, step=seq)]
        if seq < 20:
            names.append(name(make, seq, START, step=seq))
        if seq == 15:
            names.append(name(make, seq, PAUSE, step=seq))
        bench.apply(make.step("e1", 1, seq, naming=Naming(names=tuple(names))))
    bench.apply(named(make, name(make, 5, MANUAL, text="five"), name(make, 10, MANUAL)))
    bench.apply(named(make, name(make, 5, MANUAL, 1)))
    return bench


def ids(found) -> list[str]:
    return [str(one.key) for one in found]


def test_checkpoints_are_listed_newest_first_and_their_ids_sort_like_that(journal) -> None:
    whole = journal.store.read(lambda r: r.checkpoints(1))
    assert len(whole) == 19 + 18 + 1 + 3
    assert all(one > other for one, other in pairwise(ids(whole)))
    assert ids(whole)[0] == "cp_0000000020_node_complete_0000"
    for kind in CheckpointType:
        of_kind = journal.store.read(lambda r, k=kind: r.checkpoints(1, k))
        assert of_kind == [one for one in whole if one.kind is kind]
    five = journal.store.read(lambda r: r.checkpoint(1, CheckpointKey(5, MANUAL, 0)))
    assert (five.description, five.node) == ("five", "a")
    assert journal.store.read(lambda r: r.checkpoint(1, CheckpointKey(5, MANUAL, 2))) is None
    assert journal.store.read(lambda r: r.checkpoints(2)) == []


@pytest.mark.parametrize("kind", [None, *CheckpointType])
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_pages_join_without_gap_or_repeat_also_behind_a_name_that_left(
    journal, make, kind, limit
) -> None:
    whole = journal.store.read(lambda r: r.checkpoints(1, kind))
    joined, before = [], None
    while page := journal.store.read(lambda r, b=before: r.checkpoints(1, kind, b, limit)):
        joined += page
        before = page[-1].key
        journal.apply(named(make, forget=(str(before),)))
    assert joined == whole


def test_names_that_name_nothing_or_are_taken_are_refused(journal, make) -> None:
    """And nothing is stored. The same names once more, as after a writer's crash, are applied."""
    before = journal.store.read(lambda r: r.checkpoints(1))
    for wrong in (
        named(make, name(make, 21, MANUAL)),
        named(make, name(make, 0, MANUAL)),
        named(make, name(make, 5, MANUAL, text="another five")),
        named(make, name(make, 5, MANUAL, 5), execution="e2"),
        named(make, name(make, 1, MANUAL), ordinal=9),
    ):
        (outcome,) = journal.commit(wrong)
        assert outcome.code == "version_conflict"
    assert journal.store.read(lambda r: r.checkpoints(1)) == before
    journal.apply(named(make, name(make, 5, MANUAL, text="five")))


def test_old_names_leave_and_nothing_else_does(bench, make) -> None:
    """Names of 30 days, a day each; those from before the last week leave, of every type."""
    bench.apply(make.accept("e1"))
    for seq in range(2, 32):
        kinds = (COMPLETE, START, MANUAL)
        names = tuple(name(make, seq, kind, day=seq, step=seq) for kind in kinds)
        bench.apply(make.step("e1", 1, seq, naming=Naming(names=names)))
    rule = Pruning(older_than=make.now + 24 * DAY_S)
    bench.apply(named(make, prune=rule))
    for kind in (COMPLETE, START, MANUAL):
        found = bench.store.read(lambda r, k=kind: r.checkpoints(1, k))
        assert [one.seq for one in found] == list(range(31, 23, -1))
    assert bench.store.stats().tables["journal"] == 31


def test_only_names_that_were_made_by_themselves_leave_with_the_visits(journal, make) -> None:
    """The journal that all of them name stays as long as a kept one needs it: it always stays."""
    journal.apply(named(make, prune=Pruning(older_than=0.0, before_step=18)))
    kept = journal.store.read(lambda r: r.checkpoints(1))
    assert sorted({one.seq for one in kept if one.kind is not MANUAL}) == [18, 19, 20]
    assert [one.seq for one in kept if one.kind is MANUAL] == [10, 5, 5]
    assert journal.store.read(lambda r: r.load_state(1, 5)).seq == 5


def test_one_commit_prunes_a_bounded_number(bench, make) -> None:
    bench.apply(make.accept("e1"), make.step("e1", 1, 2))
    bench.apply(named(make, *(name(make, 2, COMPLETE, number) for number in range(1_000))))
    left = [1_000]
    while left[-1]:
        bench.apply(named(make, prune=Pruning(older_than=make.now + 1)))
        left.append(bench.store.stats().tables["checkpoints"])
    assert max(one - other for one, other in pairwise(left)) <= 256


def test_names_leave_with_their_execution(journal, make) -> None:
    journal.apply(make.step("e1", 1, 21, status=Status.PAUSED))
    delete = make.host(execution_id="e1", ordinal=1, expected_seq=21, delete=True)
    journal.apply(delete)
    journal.apply(make.host(events=(make.event(),)))
    assert journal.store.stats().tables["checkpoints"] == 0
    (outcome,) = journal.commit(named(make, name(make, 5, MANUAL)))
    assert outcome.code == "version_conflict"


def both(make, seq) -> Naming:
    names = (name(make, seq, COMPLETE, step=seq), name(make, seq, START, step=seq))
    return Naming(names=names)


def test_making_and_listing_cost_the_same_however_long_the_session_is(
    bench, make, cost, commit_cost
) -> None:
    """Entries looked up, returned or changed, at 10 steps and at 10,000."""
    bench.apply(make.accept("e1"))
    costs = []
    seq = 1
    for length in (10, 10_000):
        while seq < length:
            last = min(seq + 500, length)
            steps = [
                make.step("e1", 1, one, naming=both(make, one)) for one in range(seq + 1, last + 1)
            ]
            bench.apply(*steps)
            seq = last
        by_hand = named(make, *(name(make, seq, MANUAL, number) for number in range(3)))
        plain = commit_cost(make.step("e1", 1, seq + 1))
        in_step = Naming(names=(name(make, seq + 2, step=seq), name(make, seq + 2, START)))
        costs.append(
            (
                commit_cost(by_hand),
                commit_cost(make.step("e1", 1, seq + 2, naming=in_step)) - plain,
                cost(lambda r: r.checkpoints(1, limit=3)),
                cost(lambda r: r.checkpoints(1, MANUAL, limit=3)),
                cost(lambda r: r.checkpoint(1, CheckpointKey(5, COMPLETE, 0))),
                commit_cost(named(make, prune=Pruning(older_than=0.0))),
            )
        )
        seq += 2
    assert costs[1] == costs[0]
    assert costs[0][1] == 2, "a name in a step is one put"
    assert max(costs[0]) <= 20


def test_check_finds_a_name_without_a_record(journal) -> None:
    key = checkpoint_key(1, CheckpointKey(99, COMPLETE, 0))
    held = journal.store.read(
        lambda r: r.transaction.get(
            Table.CHECKPOINTS, checkpoint_key(1, CheckpointKey(5, COMPLETE, 0))
        )
    )
    journal.store._change(lambda t: t.put(Table.CHECKPOINTS, key, held))
    assert any("names no record" in one for one in check(journal.store))
    journal.store._change(lambda t: t.put(Table.CHECKPOINTS, key, b"\xc1"))
    assert any("cannot be read" in one for one in check(journal.store))
    journal.store._change(lambda t: t.delete(Table.CHECKPOINTS, key))
    stray = checkpoint_key(9, CheckpointKey(1, COMPLETE, 0))
    journal.store._change(lambda t: t.put(Table.CHECKPOINTS, stray, held))
    assert any("names no record" in one for one in check(journal.store))
    journal.store._change(lambda t: t.delete(Table.CHECKPOINTS, stray))
