"""The executions of one concurrency key, as the store keeps them: the same for both stores."""

from typing import Any

import pytest

from greenroom.protocol.execution import Status
from greenroom.storage.check import check
from greenroom.storage.keys import concurrency_key, entry_digest
from greenroom.storage.memory_store import MemoryStore
from greenroom.storage.tables import Table, Transaction

ENTRY = entry_digest("ep")


def keyed(make: Any, name: str, status: Status, *, begins: bool = False, key: str = "k") -> Any:
    return make.summary(name, status, concurrency_key=key, takes_key=begins)


def accept(make: Any, name: str, status: Status = Status.QUEUED, **rest: Any) -> Any:
    begins = status is Status.RUNNING
    summary = keyed(make, name, status, begins=begins, **rest)
    return make.accept(name, status=status, summary=summary)


def step(make: Any, name: str, ordinal: int, seq: int, status: Status, **rest: Any) -> Any:
    begins = status is Status.RUNNING
    summary = keyed(make, name, status, begins=begins, **rest)
    return make.step(name, ordinal, seq, status=status, summary=summary)


def entries(bench: Any) -> int:
    return bench.store.stats().tables["concurrency"]


def owner(bench: Any, key: str = "k") -> int:
    return bench.store.read(lambda reader: reader.owner_of_key("ep", key))


def test_a_key_is_taken_by_beginning_and_given_back_by_ending(bench, make) -> None:
    bench.apply(accept(make, "a"), accept(make, "b"), accept(make, "c", Status.RUNNING, key="k2"))
    assert (owner(bench), owner(bench, "k2"), entries(bench)) == (0, 3, 3)
    bench.apply(step(make, "b", 2, 2, Status.RUNNING))
    assert owner(bench) == 2
    bench.reopen()
    assert owner(bench) == 2
    bench.apply(step(make, "b", 2, 3, Status.COMPLETED))
    assert (owner(bench), entries(bench)) == (0, 2)


@pytest.mark.parametrize("status", [Status.WAITING, Status.PAUSED, Status.HELD, Status.QUEUED])
def test_whoever_has_begun_keeps_its_key_while_it_stands_still(bench, make, status) -> None:
    bench.apply(accept(make, "a", Status.RUNNING), accept(make, "b"))
    bench.apply(step(make, "a", 1, 2, status))
    assert (owner(bench), entries(bench)) == (1, 2)
    bench.apply(step(make, "a", 1, 3, Status.CANCELLED))
    assert (owner(bench), entries(bench)) == (0, 1)


def test_a_pause_in_the_line_takes_no_key_and_a_resume_after_an_end_is_behind(bench, make) -> None:
    bench.apply(accept(make, "a"), accept(make, "b"))
    bench.apply(step(make, "a", 1, 2, Status.PAUSED), step(make, "b", 2, 2, Status.RUNNING))
    assert owner(bench) == 2
    bench.apply(step(make, "b", 2, 3, Status.FAILED), step(make, "a", 1, 3, Status.RUNNING))
    assert (owner(bench), entries(bench)) == (1, 1)
    bench.apply(step(make, "b", 2, 4, Status.QUEUED))
    assert (owner(bench), entries(bench)) == (1, 2)


def test_one_that_ends_as_it_is_accepted_leaves_nothing_nor_does_a_refused_one(bench, make) -> None:
    bench.apply(accept(make, "a", Status.COMPLETED))
    (outcome,) = bench.commit(step(make, "a", 1, 9, Status.RUNNING))
    assert outcome.kind.value == "refused"
    assert entries(bench) == 0


@pytest.mark.parametrize("begun", [True, False])
def test_one_that_is_deleted_leaves_nothing(bench, make, begun) -> None:
    status = Status.RUNNING if begun else Status.QUEUED
    bench.apply(accept(make, "a", status), step(make, "a", 1, 2, Status.PAUSED))
    bench.apply(make.host(execution_id="a", ordinal=1, expected_seq=2, delete=True))
    assert (owner(bench), entries(bench)) == (0, 0)


def test_executions_without_a_key_write_nothing_here(bench, make) -> None:
    bench.apply(make.accept("a"), make.accept("b", status=Status.RUNNING))
    assert entries(bench) == 0


def _entry(place: int, ordinal: int, text: str = "k") -> bytes:
    return concurrency_key(ENTRY, text, place, ordinal)


WRONG = {
    "lost": (
        lambda t: t.delete(Table.CONCURRENCY, _entry(1, 2)),
        "execution b: 0 times among the executions of its concurrency key",
    ),
    "twice": (
        lambda t: t.put(Table.CONCURRENCY, _entry(0, 2), b""),
        "execution b: 2 times among the executions of its concurrency key",
    ),
    "two owners": (
        lambda t: t.put(Table.CONCURRENCY, _entry(0, 2), b""),
        "number 2 shares its key with one that runs",
    ),
    "runs without": (
        lambda t: (
            t.delete(Table.CONCURRENCY, _entry(0, 1)),
            t.put(Table.CONCURRENCY, _entry(1, 1), b""),
        ),
        "execution a: is running without its concurrency key",
    ),
    "stray": (
        lambda t: t.put(Table.CONCURRENCY, _entry(1, 9), b""),
        "number 9 is no unfinished execution with that key",
    ),
    "ended": (
        lambda t: t.put(Table.CONCURRENCY, _entry(1, 3), b""),
        "number 3 is no unfinished execution with that key",
    ),
    "other key": (
        lambda t: t.put(Table.CONCURRENCY, _entry(1, 2, "other"), b""),
        "number 2 is no unfinished execution with that key",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_the_keys_is_found_from_both_sides(make, name: str) -> None:
    store = MemoryStore()
    store.commit(
        [accept(make, "a", Status.RUNNING), accept(make, "b"), accept(make, "c", Status.CANCELLED)],
        make.now,
    )
    assert check(store) == []
    change, expected = WRONG[name]

    def spoil(txn: Transaction) -> None:
        change(txn)

    store._change(spoil)
    problems = check(store)
    assert any(expected in problem for problem in problems), problems
