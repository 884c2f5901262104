"""Events leave the log when they are too old or too many: the same for both stores."""

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, CursorMove, NewEvent
from greenroom.protocol.errors import EventsPruned, InvalidConfig
from greenroom.protocol.events import EventBody
from greenroom.storage import events
from greenroom.storage.store import StoreOptions


def said(make, at: float, count: int = 1, payload: object = None) -> Commit:
    """A commit of so many events of that time."""
    body = msgspec.Raw(encode(EventBody(type="custom", at=at)))
    kept = None if payload is None else msgspec.Raw(encode(payload))
    return make.host(events=(NewEvent(body, kept),) * count)


def kept(bench) -> tuple[int, int]:
    """The oldest and the newest seq of the log."""
    found: tuple[int, int] = bench.store.read(lambda r: (r.oldest_event(), r.last_event()))
    return found


def test_what_was_committed_too_long_ago_leaves_with_its_payloads(bench, make) -> None:
    """Without a commit of anybody; who reads from before the oldest is told where to go on."""
    bench.open(events_ttl_s=100.0)
    for second in range(10):
        bench.apply(said(make, make.now + second, 3, payload="x"))
    assert not bench.store.tidy(make.now + 100)
    assert kept(bench) == (1, 30)
    assert not bench.store.tidy(make.now + 104)
    assert kept(bench) == (13, 30)
    assert bench.store.stats().tables["payloads"] == 18
    assert bench.store.stats().events_pruned == 12
    with pytest.raises(EventsPruned) as gone:
        bench.store.read(lambda r: r.events(1, 10))
    assert gone.value.oldest == 13
    bench.reopen()
    assert kept(bench) == (13, 30)


def test_the_newest_stay_however_old_they_are_and_no_seq_is_given_twice(bench, make) -> None:
    """The seq of the next event follows from the last one in the log."""
    bench.open(events_ttl_s=1.0)
    for _ in range(5):
        bench.apply(said(make, make.now, 2))
    bench.store.tidy(make.now + 10_000)
    assert kept(bench) == (9, 10)
    bench.reopen()
    assert bench.apply(said(make, make.now + 10_000))[0].first_event == 11
    bench.store.tidy(make.now + 20_000)
    assert kept(bench) == (11, 11)


def test_age_waits_for_log_consumers_but_not_for_subscriptions(bench, make) -> None:
    """Until a consumer has read on, or is forgotten."""
    bench.open(events_ttl_s=1.0)
    for _ in range(6):
        bench.apply(said(make, make.now))
    bench.apply(
        make.host(cursor=CursorMove("aggregator", 0, 2)),
        make.host(cursor=CursorMove("subscription:slow", 0, 1)),
    )
    bench.store.tidy(make.now + 10)
    assert kept(bench) == (3, 6)
    bench.apply(make.host(cursor=CursorMove("aggregator", 2, 4)))
    bench.store.tidy(make.now + 10)
    assert kept(bench) == (5, 6)
    bench.store.drop_cursor("aggregator")
    bench.store.tidy(make.now + 10)
    assert kept(bench) == (6, 6)


def test_a_bounded_part_of_the_log_leaves_at_a_time(bench, make) -> None:
    bench.open(events_ttl_s=1.0)
    for _ in range(200):
        bench.apply(said(make, make.now))
    assert bench.store.tidy(make.now + 10)
    assert kept(bench)[0] == 65
    rounds = 1
    while bench.store.tidy(make.now + 10):
        rounds += 1
        assert rounds < 10
    assert kept(bench) == (200, 200)
    assert bench.store.stats().events_pruned == 199


def test_a_lower_limit_is_kept_without_a_commit_of_anybody(lmdb_bench, make) -> None:
    """A store that is opened with other settings may stay quiet."""
    bench = lmdb_bench
    for _ in range(300):
        bench.apply(said(make, make.now))
    bench._options = msgspec.structs.replace(bench._options, events_max=50)
    bench.reopen()
    while bench.store.tidy(make.now):
        assert kept(bench)[0] < 251
    assert kept(bench) == (251, 300)


def test_events_stay_for_ever_by_default(bench, make) -> None:
    bench.apply(said(make, make.now), said(make, make.now))
    assert not bench.store.tidy(make.now + 10**9)
    assert kept(bench) == (1, 2)


def test_looking_reads_one_chunk_when_none_is_too_old(bench, make, cost) -> None:
    """However long the log is."""
    costs = []
    for _ in range(2):
        for _ in range(70):
            bench.apply(said(make, make.now))
        costs.append(cost(lambda r: events.aged(r.transaction, make.now, 10**9, 64)))
    assert costs == [2, 2]


@pytest.mark.parametrize("age", [-1.0, 1e12, float("nan")])
def test_an_age_of_events_out_of_range_is_refused(age: float) -> None:
    with pytest.raises(InvalidConfig, match="events_ttl_s"):
        StoreOptions(events_ttl_s=age).validate()
    StoreOptions(events_ttl_s=0.0).validate()
