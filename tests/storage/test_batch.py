"""Many acceptances in one commit: all or none of them, the same for both stores."""

from typing import Any

import pytest

from greenroom.protocol.commit import Commit, IdempotencyClaim, StateKey, StateWrite
from greenroom.protocol.execution import Status


def batch(*parts: Commit, **rest: Any) -> Commit:
    return Commit(commit_id=99, stream="", incarnation=0, accepts=parts, **rest)


def claim(make: Any, key: str, digest: bytes = b"d") -> dict[str, Any]:
    return {"idempotency": (IdempotencyClaim("n", key, digest, make.now + 60),)}


def ids(bench: Any) -> list[str]:
    found = bench.store.read(lambda reader: reader.executions())
    return [one.summary.execution_id for one in reversed(found)]


def test_all_parts_are_accepted_in_their_order_with_one_sync(bench, make) -> None:
    before = bench.store.stats()
    parts = [make.accept(name, events=(make.event(),)) for name in ("a", "b", "c")]
    (outcome,) = bench.apply(batch(*parts))
    assert [one.ordinal for one in outcome.parts] == [1, 2, 3]
    assert [one.first_event for one in outcome.parts] == [1, 2, 3]
    assert [one.commit_id for one in outcome.parts] == [1, 1, 1]
    after = bench.store.stats()
    assert after.groups - before.groups == 1
    assert ids(bench) == ["a", "b", "c"]
    bench.apply(make.step("b", 2, 2, status=Status.RUNNING))


def test_submitted_again_it_was_applied_already(bench, make) -> None:
    """As after a crash of the writer, whose answer never came."""
    whole = batch(make.accept("a", **claim(make, "k")), make.accept("b"))
    bench.apply(whole)
    bench.reopen()
    (outcome,) = bench.apply(whole)
    assert [(one.kind.value, one.ordinal) for one in outcome.parts] == [
        ("applied", 1),
        ("applied", 2),
    ]
    assert ids(bench) == ["a", "b"]


def test_a_repeat_keeps_nobody_back(bench, make) -> None:
    bench.apply(make.accept("a", **claim(make, "k")))
    (outcome,) = bench.apply(
        batch(make.accept("x", **claim(make, "k")), make.accept("b", **claim(make, "l")))
    )
    assert [one.kind.value for one in outcome.parts] == ["duplicate", "applied"]
    assert outcome.parts[0].duplicate_of == "a"
    assert ids(bench) == ["a", "b"]


def test_one_that_is_refused_refuses_all(bench, make) -> None:
    """A key in conflict, and an id of another entry point, found after good parts."""
    bench.apply(make.accept("a", **claim(make, "k")), make.accept("other", entry="ep2"))
    good = make.accept("b", **claim(make, "l"))
    (outcome,) = bench.commit(batch(good, make.accept("x", **claim(make, "k", b"other"))))
    assert (outcome.code, outcome.execution_id) == ("idempotency_conflict", "x")
    assert (outcome.commit_id, outcome.duplicate_of) == (99, "a")
    (outcome,) = bench.commit(batch(good, make.accept("other")))
    assert outcome.code == "version_conflict"
    assert ids(bench) == ["a", "other"]
    bench.apply(make.accept("c", **claim(make, "l")))  # the key was not claimed either


def test_it_stays_whole_when_its_group_is_replayed_one_commit_at_a_time(bench, make) -> None:
    """The lone surrogate cannot be put, so the group fails after many puts, and is replayed."""
    bad = make.host(writes=(StateWrite(StateKey("global", "", "\ud800"), make.raw(1)),))
    outcomes = bench.commit(batch(make.accept("a"), make.accept("b")), bad, make.accept("c"))
    assert [one.kind.value for one in outcomes] == ["applied", "refused", "applied"]
    assert ids(bench) == ["a", "b", "c"]


def test_a_part_that_cannot_be_put_takes_all_with_it_and_nobody_else(bench, make) -> None:
    """Met only after the puts of the parts before it."""
    write = StateWrite(StateKey("global", "", "\ud800"), make.raw(1))
    outcomes = bench.commit(
        make.accept("x"),
        batch(make.accept("a"), make.accept("b", writes=(write,))),
        make.accept("y"),
    )
    assert [one.kind.value for one in outcomes] == ["applied", "refused", "applied"]
    assert ids(bench) == ["x", "y"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda make: batch(make.accept("a"), make.accept("a")),
        lambda make: batch(
            make.accept("a", **claim(make, "k")), make.accept("b", **claim(make, "k"))
        ),
        lambda make: batch(make.accept("a"), make.step("a", 1, 2)),
        lambda make: batch(make.accept("a"), make.host()),
        lambda make: batch(make.accept("a"), batch(make.accept("b"))),
        lambda make: batch(make.accept("a"), events=(make.event(),)),
        lambda make: batch(make.accept("a"), make.accept("b", incarnation=7)),
    ],
)
def test_what_is_no_batch_of_acceptances_is_refused_whole(bench, make, spoil) -> None:
    (outcome,) = bench.commit(spoil(make))
    assert outcome.code == "commit_refused"
    assert ids(bench) == []


def test_a_fence_refuses_all(bench, make) -> None:
    bench.store.raise_fence("ep")
    bench.store.raise_fence("ep")
    parts = (make.accept("a", incarnation=1), make.accept("b", incarnation=1))
    late = Commit(commit_id=9, stream="ep", incarnation=1, accepts=parts)
    (outcome,) = bench.commit(late)
    assert outcome.code == "fenced"
    assert ids(bench) == []
