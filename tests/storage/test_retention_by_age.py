"""Finished executions leave when they are too old: the same for both stores."""

import msgspec
import pytest

from greenroom.protocol.commit import IdempotencyClaim
from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.execution import Status
from greenroom.storage import executions
from greenroom.storage.retention import EXPIRE_MAX
from greenroom.storage.store import StoreOptions
from greenroom.storage.tables import Table, Transaction


def accept(bench, make, name: str, entry: str = "ep", **rest: object) -> int:
    (outcome,) = bench.apply(make.accept(name, entry=entry, **rest))
    return outcome.ordinal


def finish(bench, make, name: str, at: float, entry: str = "ep", status: Status | None = None):
    """Accept an execution and end it at that time."""
    ordinal = accept(bench, make, name, entry)
    ended = status or Status.COMPLETED
    summary = msgspec.structs.replace(make.summary(name, ended, entry), updated_at=at)
    bench.apply(make.step(name, ordinal, 2, status=ended, entry=entry, summary=summary))


def there(bench, *names: str) -> list[str]:
    """Those of the executions that the store still has."""
    return [name for name in names if bench.store.read(lambda r, n=name: r.execution(n))]


def test_what_ended_too_long_ago_leaves_and_nothing_else(bench, make) -> None:
    """Each entry point by itself; what has not ended stays, however old it is."""
    bench.open(results_ttl_s=100.0)
    accept(bench, make, "running")
    held = accept(bench, make, "held")
    bench.apply(make.step("held", held, 2, status=Status.HELD))
    finish(bench, make, "a1", make.now + 10)
    finish(bench, make, "b1", make.now + 20, entry="other", status=Status.FAILED)
    finish(bench, make, "a2", make.now + 30, status=Status.CANCELLED)
    everything = ("running", "held", "a1", "b1", "a2")
    assert not bench.store.tidy(make.now + 110)
    assert there(bench, *everything) == list(everything)
    bench.store.tidy(make.now + 120.5)
    assert there(bench, *everything) == ["running", "held", "a2"]
    bench.reopen()
    assert there(bench, *everything) == ["running", "held", "a2"]
    bench.store.tidy(make.now + 10_000)
    assert there(bench, *everything) == ["running", "held"]


@pytest.mark.parametrize("status", Status)
def test_every_end_leaves_and_what_is_not_an_end_stays(bench, make, status: Status) -> None:
    """By number, and by age: what stands still is somebody's unfinished business."""
    bench.open(results_ttl_s=100.0, results_max=1)
    finish(bench, make, "one", make.now, status=status)
    for number in range(101):
        finish(bench, make, f"by number {number}", make.now + 1_000)
    ends = {"completed", "failed", "cancelled", "timed_out", "exhausted"}
    assert there(bench, "one") == ([] if status in ends else ["one"])
    finish(bench, make, "two", make.now + 1_000, status=status)
    bench.store.tidy(make.now + 1_101)
    assert there(bench, "two") == ([] if status in ends else ["two"])


def test_without_a_limit_of_age_nothing_leaves(bench, make) -> None:
    """Which is the default."""
    finish(bench, make, "old", make.now)
    assert not bench.store.tidy(make.now + 10**9)
    assert there(bench, "old") == ["old"]


def test_a_bounded_part_leaves_at_a_time(bench, make) -> None:
    """And the journals behind it, without a commit of anybody."""
    bench.open(results_ttl_s=1.0, results_max=10_000)
    count = EXPIRE_MAX + 20
    for start in range(0, count, 100):
        names = [f"e{n}" for n in range(start, min(start + 100, count))]
        outcomes = bench.apply(*(make.accept(name) for name in names))
        bench.apply(
            *(
                make.step(name, one.ordinal, 2, status=Status.COMPLETED)
                for name, one in zip(names, outcomes, strict=True)
            )
        )
    assert bench.store.tidy(make.now + 2)
    assert bench.store.stats().tables["summaries"] == 20
    rounds = 0
    while bench.store.tidy(make.now + 2):
        rounds += 1
        assert rounds < 100
    tables = bench.store.stats().tables
    assert tables["summaries"] == tables["journal"] == tables["garbage"] == 0
    assert bench.store.stats().executions_pruned == count


def test_the_limit_of_number_counts_what_age_left(bench, make) -> None:
    """Both limits hold together."""
    bench.open(results_ttl_s=100.0, results_max=10)
    for number in range(60):
        finish(bench, make, f"old{number}", make.now)
    bench.store.tidy(make.now + 101)
    for number in range(60):
        finish(bench, make, f"new{number}", make.now + 100)
    assert len(there(bench, *(f"new{number}" for number in range(60)))) == 60
    for number in range(50):
        finish(bench, make, f"newer{number}", make.now + 100)
    assert there(bench, "new0", "newer49") == ["newer49"]


def test_ids_and_keys_stay_their_own_time(bench, make) -> None:
    """A repeat of a trigger is answered with an id whose result is gone."""
    bench.open(results_ttl_s=1.0)
    claim = IdempotencyClaim("ep", "k", b"d", make.now + 1_000)
    ordinal = accept(bench, make, "first", idempotency=(claim,))
    bench.apply(make.step("first", ordinal, 2, status=Status.COMPLETED))
    bench.store.tidy(make.now + 50)
    assert there(bench, "first") == []
    (outcome,) = bench.commit(make.accept("second", idempotency=(claim,)), now=make.now + 50)
    assert (outcome.kind.value, outcome.duplicate_of) == ("duplicate", "first")


def test_an_ordinal_is_not_given_again_after_the_newest_left(bench, make) -> None:
    """Nor after a restart."""
    bench.open(results_ttl_s=1.0)
    finish(bench, make, "only", make.now)
    bench.store.tidy(make.now + 2)
    bench.reopen()
    assert accept(bench, make, "next") == 2


class Counting:
    """A transaction that counts the entries that are read of it."""

    def __init__(self, txn: Transaction) -> None:
        self.txn = txn
        self.entries = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        self.entries += 1
        return self.txn.get(table, key)

    def range(self, table: Table, *where: object) -> list[tuple[bytes, bytes]]:
        found = self.txn.range(table, *where)
        self.entries += len(found)
        return found


def test_looking_costs_the_same_however_many_are_young_enough(bench, make) -> None:
    """The index gives the oldest first, so what is kept is hardly read."""
    read: list[int] = []
    for number in range(400):
        finish(bench, make, f"e{number}", make.now)
        if number in (120, 399):

            def look(reader) -> int:
                counting = Counting(reader.transaction)
                assert executions.finished_before(counting, make.now, 500) == {}
                return counting.entries

            read.append(bench.store.read(look))
    assert read[0] == read[1] <= 102


@pytest.mark.parametrize("age", [-1.0, 1e12, float("nan")])
def test_an_age_out_of_range_is_refused(age: float) -> None:
    """None and 0 are ages."""
    with pytest.raises(InvalidConfig, match="results_ttl_s"):
        StoreOptions(results_ttl_s=age).validate()
    StoreOptions(results_ttl_s=0.0).validate()
