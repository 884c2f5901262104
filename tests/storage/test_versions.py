"""What digests of graphs stand for, and who waits at which version."""

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import Status
from greenroom.protocol.versions import NodeVersion, PlanVersion
from greenroom.storage.check import check
from greenroom.storage.keys import entry_digest, version_key
from greenroom.storage.tables import Table

OLD, NEW = b"old plan", b"new plan"
PLAN = PlanVersion(digest=OLD, graph_id="g", version="1", nodes={"a": NodeVersion(node_type="x")})


def raw(plan: PlanVersion) -> msgspec.Raw:
    return msgspec.Raw(encode(plan))


def at(bench, version, entry="ep"):
    return bench.store.read(lambda reader: reader.ordinals_at(entry, version, 0, 100))


def step(make, name, ordinal, seq, status, version=b""):
    summary = make.summary(name, status, version=version)
    return make.step(name, ordinal, seq, status=status, summary=summary)


def test_what_a_digest_stands_for_is_kept_as_it_was_first_noted(bench) -> None:
    bench.store.note_plan(OLD, raw(PLAN))
    bench.store.note_plan(OLD, raw(msgspec.structs.replace(PLAN, version="2")))
    bench.reopen()
    assert bench.store.read(lambda reader: reader.plan(OLD)) == PLAN
    assert bench.store.read(lambda reader: reader.plan(NEW)) is None


def test_a_description_that_is_another_graphs_is_corrupt(bench_of, tmp_path) -> None:
    bench = bench_of("memory", tmp_path)
    bench.store.note_plan(NEW, raw(PLAN))
    with pytest.raises(StoreCorrupt):
        bench.store.read(lambda reader: reader.plan(NEW))
    assert any("stands in the place of" in problem for problem in check(bench.store))
    bench.store._change(lambda txn: txn.delete(Table.PLANS, NEW))


def test_whoever_waits_is_found_by_its_version_and_nobody_else(bench, make) -> None:
    bench.apply(*(make.accept(f"e{n}") for n in range(1, 5)))
    bench.apply(step(make, "e1", 1, 2, Status.WAITING, OLD))
    bench.apply(step(make, "e2", 2, 2, Status.WAITING, NEW))
    bench.apply(step(make, "e3", 3, 2, Status.WAITING, OLD))
    bench.apply(step(make, "e4", 4, 2, Status.PAUSED, OLD))
    bench.reopen()
    assert bench.store.read(lambda reader: reader.versions("ep")) == [NEW, OLD]
    assert bench.store.read(lambda reader: reader.versions("other")) == []
    assert (at(bench, OLD), at(bench, NEW), at(bench, OLD, "other")) == ([1, 3], [2], [])
    assert bench.store.read(lambda reader: reader.ordinals_at("ep", OLD, 1, 1)) == [3]
    bench.apply(step(make, "e1", 1, 3, Status.WAITING, NEW))  # it was migrated
    bench.apply(step(make, "e3", 3, 3, Status.RUNNING))
    assert (at(bench, OLD), at(bench, NEW)) == ([], [1, 2])
    bench.apply(step(make, "e2", 2, 3, Status.COMPLETED), step(make, "e1", 1, 4, Status.CANCELLED))
    assert bench.store.read(lambda reader: reader.versions("ep")) == []


def test_two_changes_of_status_in_one_group_leave_no_trace_in_the_index(bench, make) -> None:
    bench.apply(make.accept("e1"))
    waits = step(make, "e1", 1, 2, Status.WAITING, OLD)
    between = make.step("e1", 1, 3)
    bench.apply(waits, between, step(make, "e1", 1, 4, Status.RUNNING))
    assert at(bench, OLD) == []


KEY = version_key(entry_digest("ep"), OLD, 1)
WRONG = {
    "lost": (
        lambda txn: txn.delete(Table.VERSIONS, KEY),
        f"execution e1: not among those who wait at graph {OLD.hex()}",
    ),
    "of another version": (
        lambda txn: txn.put(Table.VERSIONS, version_key(entry_digest("ep"), NEW, 1), b""),
        f"versions: number 1 does not wait at graph {NEW.hex()}",
    ),
    "of another entry point": (
        lambda txn: txn.put(Table.VERSIONS, version_key(entry_digest("no"), OLD, 1), b""),
        f"versions: number 1 does not wait at graph {OLD.hex()}",
    ),
    "of nobody": (
        lambda txn: txn.put(Table.VERSIONS, version_key(entry_digest("ep"), OLD, 9), b""),
        f"versions: number 9 does not wait at graph {OLD.hex()}",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_index_that_is_wrong_is_found_from_either_side(bench_of, make, tmp_path, name) -> None:
    change, expected = WRONG[name]
    bench = bench_of("memory", tmp_path)
    bench.apply(make.accept("e1"))
    bench.apply(step(make, "e1", 1, 2, Status.WAITING, OLD))
    assert check(bench.store) == []
    bench.store._change(change)
    assert check(bench.store) == [expected]
