"""What leaves a store, when, and what never does: the same for both stores."""

import pytest

from greenroom.protocol.commit import CursorMove, IdempotencyClaim
from greenroom.protocol.errors import EventsPruned, InvalidConfig
from greenroom.protocol.execution import Status
from greenroom.storage.store import StoreOptions


def finish(bench, make, name: str, entry: str = "ep") -> None:
    (outcome,) = bench.apply(make.accept(name, entry=entry))
    done = make.step(name, outcome.ordinal, 2, status=Status.COMPLETED, entry=entry)
    bench.apply(done)


def test_finished_executions_are_kept_up_to_the_limit_by_entry_point(bench, make) -> None:
    bench.open(results_max=20)
    bench.apply(make.accept("old"))
    for number in range(150):
        finish(bench, make, f"e{number}")
    finish(bench, make, "other", entry="elsewhere")
    counts = bench.store.read(lambda r: r.counts("ep"))
    assert 20 <= counts[Status.COMPLETED] < 120
    assert counts[Status.QUEUED] == 1
    assert bench.store.read(lambda r: r.execution("e0")) is None
    assert bench.store.read(lambda r: r.execution("e149")) is not None
    assert bench.store.stats().executions_pruned == 100
    assert bench.store.stats().tables["journal"] == 1 + 2 * 50 + 2


def test_what_finished_first_leaves_first_whenever_it_was_accepted(bench, make) -> None:
    bench.open(results_max=20)
    bench.apply(make.accept("slow"))
    for number in range(119):
        finish(bench, make, f"e{number}")
    bench.apply(make.step("slow", 1, 2, status=Status.COMPLETED))
    assert bench.store.stats().executions_pruned == 100
    assert bench.store.read(lambda r: r.execution("slow")) is not None


def test_an_ordinal_is_never_given_twice_even_when_the_newest_was_dropped(bench, make) -> None:
    bench.open(results_max=1)
    for number in range(101):
        bench.apply(make.accept(f"e{number}"))
    for number in reversed(range(101)):
        bench.apply(make.step(f"e{number}", number + 1, 2, status=Status.FAILED))
    assert [one.ordinal for one in bench.store.read(lambda r: r.executions())] == [1]
    bench.reopen()
    assert bench.apply(make.accept("next"))[0].ordinal == 102


def test_a_step_of_a_dropped_execution_is_refused(bench, make) -> None:
    bench.open(results_max=1)
    for number in range(101):
        finish(bench, make, f"e{number}")
    (outcome,) = bench.commit(make.step("e0", 1, 3, status=Status.RUNNING))
    assert outcome.code == "version_conflict"


def test_a_long_journal_is_deleted_a_bounded_part_at_a_time(bench, make) -> None:
    bench.open(results_max=1)
    bench.apply(make.accept("long"))
    bench.apply(*(make.step("long", 1, seq) for seq in range(2, 1000)))
    bench.apply(make.step("long", 1, 1000, status=Status.COMPLETED))
    for number in range(100):
        finish(bench, make, f"e{number}")
    assert bench.store.read(lambda r: r.execution("long")) is None
    assert bench.store.stats().tables["garbage"] == 100
    bench.reopen()
    for _ in range(6):
        bench.apply(make.host(events=(make.event(),)))
    assert bench.store.stats().tables["garbage"] == 0
    assert bench.store.stats().tables["journal"] == 2


def test_the_log_keeps_its_limit_and_says_what_is_gone(bench, make) -> None:
    bench.open(events_max=50)
    for _ in range(40):
        bench.apply(make.host(events=(make.event(payload=1), make.event(), make.event())))
    oldest, last = bench.store.read(lambda r: (r.oldest_event(), r.last_event()))
    assert last == 120
    assert 50 <= last - oldest + 1 <= 55
    for start in (0, 1, oldest - 1):
        with pytest.raises(EventsPruned) as caught:
            bench.store.read(lambda r, s=start: r.events(s, 10))
        assert caught.value.oldest == oldest
    assert len(bench.store.read(lambda r: r.events(oldest, 1000))) == last - oldest + 1
    assert bench.store.stats().tables["payloads"] <= 18
    assert bench.store.stats().events_pruned == oldest - 1
    bench.reopen()
    assert bench.apply(make.host(events=(make.event(),)))[0].first_event == 121


def test_the_log_waits_for_its_consumers_but_not_for_subscriptions(bench, make) -> None:
    bench.open(events_max=10)
    bench.apply(make.host(events=(make.event(),) * 5))
    bench.apply(
        make.host(cursor=CursorMove("aggregator", 0, 3)),
        make.host(cursor=CursorMove("subscription:slow", 0, 1)),
    )
    bench.reopen()
    for _ in range(30):
        bench.apply(make.host(events=(make.event(),)))
    # The first five events are one chunk, and the aggregator has not read all of it.
    assert bench.store.read(lambda r: r.oldest_event()) == 1
    bench.apply(make.host(cursor=CursorMove("aggregator", 3, 8), events=(make.event(),)))
    assert bench.store.read(lambda r: r.oldest_event()) == 9
    bench.store.drop_cursor("aggregator")
    bench.apply(make.host(events=(make.event(),)))
    assert bench.store.read(lambda r: r.oldest_event()) == 28


def test_expired_claims_leave_with_later_commits(bench, make) -> None:
    claims = [IdempotencyClaim("n", f"k{n}", b"", make.now + 1) for n in range(50)]
    bench.apply(*(make.host(idempotency=(claim,)) for claim in claims))
    for _ in range(4):
        bench.apply(make.host(events=(make.event(),)), now=make.now + 2)
    assert bench.store.stats().tables["claims"] == 0


def test_claims_over_the_limit_leave_oldest_first_and_are_counted(bench, make) -> None:
    bench.open(idempotency_entries_max=10)
    for number in range(30):
        claim = IdempotencyClaim("n", f"k{number}", b"", make.now + 100 + number)
        bench.apply(make.host(idempotency=(claim,)))
    assert bench.store.stats().tables["claims"] == 10
    assert bench.store.stats().claims_evicted == 20
    assert bench.store.read(lambda r: r.claim("n", "k19")) is None
    assert bench.store.read(lambda r: r.claim("n", "k20")) is not None


@pytest.mark.parametrize(
    "wrong",
    [{"results_max": 0}, {"events_max": 0}, {"idempotency_entries_max": 0}, {"map_bytes": 1}],
)
def test_options_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(InvalidConfig, match=next(iter(wrong))):
        StoreOptions(**wrong).validate()
