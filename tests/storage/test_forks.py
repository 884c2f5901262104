"""Forks: what accepting one costs, and that none ever loses its beginning, whatever becomes of the
execution that it came from. The same for both stores.
"""

from typing import Any

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit
from greenroom.protocol.execution import Accepted, Status
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.storage import forks
from greenroom.storage.check import check
from greenroom.storage.keys import fork_key, journal_key
from greenroom.storage.tables import Table


def fork(make: Any, name: str, origin: Forked, **memory: Any) -> Commit:
    """The commit that accepts a fork."""
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
    values = {key: make.raw(value) for key, value in memory.items()}
    return make.accept(
        name,
        record=make.record(1, accepted=accepted, status=Status.QUEUED, memory=values),
        summary=make.summary(name, Status.QUEUED, forked=origin),
        fork=ForkChange(origin=origin),
    )


def first_step(bench: Any, make: Any, name: str, ordinal: int, **rest: Any) -> Commit:
    """The first step of a fork's own, which brings its beginning."""
    state = bench.store.read(lambda r: r.load_state(ordinal))
    change = ForkChange(origin=state.accepted.forked, base=msgspec.Raw(encode(state)))
    return make.step(name, ordinal, 2, fork=change, **rest)


def memory_of(bench: Any, ordinal: int, seq: int | None = None) -> dict[str, Any]:
    found = bench.store.read(lambda r: r.load_state(ordinal, seq)).memory
    return {key: msgspec.msgpack.decode(raw) for key, raw in found.items()}


def origin(seq: int, ordinal: int = 1, name: str = "e1") -> Forked:
    return Forked(ordinal=ordinal, execution_id=name, seq=seq)


@pytest.fixture
def parent(bench, make):
    """e1 with 20 records; record n sets n."""
    bench.apply(make.accept("e1"))
    for seq in range(2, 21):
        bench.apply(make.step("e1", 1, seq, patch={"memory": {"n": make.raw(seq)}}))
    return bench


def needed(bench: Any) -> list[int]:
    """Where forks are read through e1."""
    return bench.store.read(lambda r: list(forks.positions(r.transaction, 1, 0, 10_000)))


def delete(bench: Any, make: Any, name: str, ordinal: int) -> None:
    found = bench.store.read(lambda r: r.execution_at(ordinal))
    seq, forked = found.seq, found.summary.forked
    summary = make.summary(name, Status.PAUSED, forked=forked)
    bench.apply(make.step(name, ordinal, seq + 1, status=Status.PAUSED, summary=summary))
    gone = make.host(execution_id=name, ordinal=ordinal, expected_seq=seq + 1, delete=True)
    bench.apply(gone)


def sweep(bench: Any) -> None:
    while bench.store.tidy(bench.store.epoch):
        pass


def test_accepting_a_fork_costs_the_same_however_long_its_parent_is(
    bench, make, commit_cost
) -> None:
    """Keys looked up or changed, and bytes put, at 10 steps and at 10,000, each of which adds to
    the memory; 10 snapshots of it lie in between.
    """
    bench.apply(make.accept("e1"))
    costs = []
    seq = 1
    for length in (10, 10_000):
        while seq < length:
            last = min(seq + 1_000, length)
            steps = [
                make.step("e1", 1, one, patch={"memory": {f"k{one}": make.raw("v" * 50)}})
                for one in range(seq + 1, last + 1)
            ]
            bench.apply(*steps)
            state = bench.store.read(lambda r: r.load_state(1))
            assert len(encode(state)) > 50 * (last - 1)
            seq = last + 1
            snapshot = msgspec.structs.replace(state, seq=seq)
            bench.apply(make.step("e1", 1, seq, snapshot=make.raw(snapshot)))
        before = bench.store.stats()
        entries = commit_cost(fork(make, f"fork{length:05d}", origin(seq), extra=1))
        after = bench.store.stats()
        costs.append((entries, after.puts - before.puts, after.put_bytes - before.put_bytes))
    (few, puts, small), (many, more_puts, large) = costs
    assert (few, puts) == (many, more_puts)
    assert abs(large - small) <= 16, "the seq takes a few bytes more"
    assert few <= 20
    assert large < 2_000
    assert len(bench.store.read(lambda r: r.load_state(3)).memory) > 9_900


def test_a_fork_is_what_its_parent_was_with_its_own_changes_over_it(parent, make) -> None:
    before = parent.store.read(lambda r: r.transaction.range(Table.JOURNAL, b"", b"\xff" * 13, 100))
    for ordinal, seq in enumerate((2, 7, 20), start=2):
        name = f"f{seq}"
        parent.apply(fork(make, name, origin(seq), own=seq))
        assert memory_of(parent, ordinal) == {"n": seq, "own": seq}
        state = parent.store.read(lambda r, o=ordinal: r.load_state(o))
        assert (state.accepted.execution_id, state.seq) == (name, 1)
        parent.apply(first_step(parent, make, name, ordinal))
        parent.apply(make.step(name, ordinal, 3, patch={"memory": {"n": make.raw(0)}}))
        assert memory_of(parent, ordinal) == {"n": 0, "own": seq}
        assert memory_of(parent, ordinal, 1) == {"n": seq, "own": seq}
    after = parent.store.read(lambda r: r.transaction.range(Table.JOURNAL, b"", b"\xff" * 13, 20))
    assert after == before, "the parent's own records are as they were"
    assert parent.store.stats().tables["forks"] == 0
    assert parent.store.stats().tables["snapshots"] == 3


@pytest.mark.parametrize("touched", [False, True])
def test_deleting_the_parent_takes_nothing_from_a_fork(parent, make, touched) -> None:
    """More forks than one transaction gives their own beginnings to."""
    count = 3 * forks.RELEASE_MAX
    for number in range(count):
        parent.apply(fork(make, f"f{number}", origin(number % 20 + 1), own=number))
        if touched:
            parent.apply(first_step(parent, make, f"f{number}", number + 2))
    expected = [memory_of(parent, number + 2, 1) for number in range(count)]
    delete(parent, make, "e1", 1)
    for _ in range(3):
        assert check(parent.store) == []
        assert [memory_of(parent, number + 2, 1) for number in range(count)] == expected
        parent.reopen()
        parent.apply(make.host(events=(make.event(),)))
    sweep(parent)
    tables = parent.store.stats().tables
    assert (tables["forks"], tables["garbage"]) == (0, 0)
    assert tables["snapshots"] == count
    assert parent.store.read(lambda r: r.journal(1)) == []
    assert [memory_of(parent, number + 2, 1) for number in range(count)] == expected


def test_pruning_by_number_and_by_age_takes_nothing_from_a_fork(bench, make) -> None:
    bench.open(results_max=1, results_ttl_s=100.0)
    names = [f"e{number}" for number in range(1, 103)]
    for ordinal, name in enumerate(names, start=1):
        bench.apply(make.accept(name))
        bench.apply(make.step(name, ordinal, 2, patch={"memory": {"n": make.raw(ordinal)}}))
    for number in (1, 50, 102):
        bench.apply(fork(make, f"f{number}", origin(2, number, f"e{number}")))
    for ordinal, name in enumerate(names, start=1):
        bench.apply(make.step(name, ordinal, 3, status=Status.COMPLETED))
    assert bench.store.stats().executions_pruned == 100
    while bench.store.tidy(make.now + 200):
        assert check(bench.store) == []
    assert bench.store.stats().executions_pruned == 102
    assert bench.store.stats().tables["forks"] == 0
    assert [memory_of(bench, ordinal)["n"] for ordinal in (103, 104, 105)] == [1, 50, 102]


def test_no_chain_of_forks_is_followed_further_than_one_link(parent, make, cost) -> None:
    """A fork of a fork that has done nothing gives that one its own beginning first."""
    parent.apply(fork(make, "f2", origin(5), f2=1))
    for ordinal in range(3, 30):
        name = f"f{ordinal}"
        before = Forked(ordinal=ordinal - 1, execution_id=f"f{ordinal - 1}", seq=1)
        parent.apply(fork(make, name, before, **{name: 1}))
        assert parent.store.stats().tables["forks"] == 1
    assert memory_of(parent, 29) == {"n": 5} | {f"f{number}": 1 for number in range(2, 30)}
    assert cost(lambda r: r.load_state(29)) <= 10
    delete(parent, make, "f28", 28)
    assert memory_of(parent, 29)["f28"] == 1


def test_a_position_that_is_not_there_is_refused_and_leaves_no_trace(parent, make) -> None:
    before = parent.store.stats().tables
    for wrong in (origin(21), origin(0), origin(2, 9), origin(2, 1, "e2")):
        (outcome,) = parent.commit(fork(make, "f", wrong))
        assert (outcome.kind, outcome.code) == ("refused", "execution_not_found")
    assert parent.store.stats().tables == before


def test_a_fork_and_the_end_of_its_parent_in_one_group_go_by_their_order(parent, make) -> None:
    parent.apply(make.step("e1", 1, 21, status=Status.PAUSED))
    gone = make.host(execution_id="e1", ordinal=1, expected_seq=21, delete=True)
    kinds = [
        one.kind.value
        for one in parent.commit(
            fork(make, "early", origin(9)), gone, fork(make, "late", origin(9))
        )
    ]
    assert kinds == ["applied", "applied", "refused"]
    assert memory_of(parent, 2) == {"n": 9}


def test_a_fork_that_is_deleted_before_its_first_step_is_forgotten(parent, make) -> None:
    commit = fork(make, "f", origin(9))
    paused = make.summary("f", Status.PAUSED, forked=origin(9))
    parent.apply(msgspec.structs.replace(commit, summary=paused, record=_paused(make, commit)))
    assert needed(parent) == [9]
    parent.apply(make.host(execution_id="f", ordinal=2, expected_seq=1, delete=True))
    assert needed(parent) == []
    assert parent.store.stats().tables["forks"] == 0


def _paused(make: Any, commit: Commit) -> msgspec.Raw:
    accepted = msgspec.msgpack.decode(commit.record)["patch"]["accepted"]
    return make.record(1, accepted=msgspec.convert(accepted, Accepted), status=Status.PAUSED)


def test_what_a_position_is_needed_for_is_told_and_can_be_released(parent, make) -> None:
    """For whoever wants to let go of the beginning of a journal."""
    for number, seq in enumerate((12, 4, 8)):
        parent.apply(fork(make, f"f{number}", origin(seq)))
    assert needed(parent) == [4, 8, 12]
    assert parent.store._change(lambda t: forks.release(t, 1, until=8)) == 2
    assert needed(parent) == [12]
    assert parent.store.stats().tables["snapshots"] == 2


def test_check_finds_a_fork_that_has_lost_its_beginning(parent, make) -> None:
    parent.apply(fork(make, "f", origin(9)))
    store, key = parent.store, fork_key(1, 9, 2)
    store._change(lambda t: t.delete(Table.FORKS, key))
    assert any("neither on its own nor through e1" in one for one in check(store))
    store._change(lambda t: t.put(Table.FORKS, key, b""))
    held = store.read(lambda r: r.transaction.get(Table.JOURNAL, journal_key(1, 9)))
    store._change(lambda t: t.delete(Table.JOURNAL, journal_key(1, 9)))
    found = check(store)
    assert any("number 2 is read through record 9 of number 1" in one for one in found)
    assert any("was forked at record 9 of e1, which cannot be read" in one for one in found)
    store._change(lambda t: t.put(Table.JOURNAL, journal_key(1, 9), held))
    store._change(lambda t: t.put(Table.FORKS, fork_key(1, 8, 2), b""))
    assert any("was not forked at record 8" in one for one in check(store))
    store._change(lambda t: t.delete(Table.FORKS, fork_key(1, 8, 2)))


def test_check_finds_a_fork_that_began_as_something_else(parent, make) -> None:
    parent.apply(fork(make, "f", origin(9)))
    store, own = parent.store, journal_key(2, 1)
    right = store.read(lambda r: r.load_state(2))
    wrong = msgspec.structs.replace(right, memory={"n": make.raw(8)})
    store._change(lambda t: t.put(Table.SNAPSHOTS, own, encode(wrong)))
    assert any("both on its own and through e1" in one for one in check(store))
    store._change(lambda t: t.delete(Table.FORKS, fork_key(1, 9, 2)))
    assert any("did not begin as record 9 left e1" in one for one in check(store))
    store._change(lambda t: t.put(Table.SNAPSHOTS, own, encode(right)))
