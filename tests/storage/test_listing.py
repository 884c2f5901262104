"""Listings: every combination of filters, pages that join whatever happens in between, and what a
page costs. The same for both stores.
"""

import itertools
import random

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.execution import Status
from greenroom.storage.check import check
from greenroom.storage.listing import CLOCK_STEP_S
from greenroom.storage.tables import Table

STATUSES = (Status.QUEUED, Status.RUNNING, Status.PAUSED, Status.COMPLETED, Status.FAILED)
EVERY_S = 60.0


def accepted(make, name, *, status, entry, goal, at):
    """An accepting commit with a goal and a time of its own."""
    summary = make.summary(name, status, entry)
    summary = msgspec.structs.replace(summary, goal_id=goal, accepted_at=at)
    return make.accept(name, status=status, entry=entry, summary=summary)


@pytest.fixture
def filled(bench, make):
    """300 executions of three goals in turns of ten, two entry points, five statuses; some of them
    are gone again.
    """
    chance = random.Random(7)
    for number in range(300):
        name, status = f"e{number:03}", chance.choice(STATUSES)
        commit = accepted(
            make,
            name,
            status=status,
            entry=chance.choice("ab"),
            goal=f"goal-{number // 10 % 3}",
            at=make.now + number * EVERY_S,
        )
        bench.apply(commit)
    for one in bench.store.read(lambda r: r.executions(status=Status.FAILED, limit=300)):
        if chance.random() < 0.5:
            bench.apply(delete(make, one))
    return bench


def delete(make, one, **rest):
    return make.host(
        execution_id=one.summary.execution_id,
        ordinal=one.ordinal,
        expected_seq=one.seq,
        delete=True,
        **rest,
    )


def names(found) -> list[str]:
    return [one.summary.execution_id for one in found]


FILTERS = {
    "status": (None, Status.PAUSED),
    "entry_point": (None, "b"),
    "goal_id": (None, "goal-1", "none"),
    "since": (None, 50 * EVERY_S, 50 * EVERY_S + 0.5),
    "until": (None, 220 * EVERY_S, 220 * EVERY_S + 0.5),
}
COMBINED = [
    dict(zip(FILTERS, values, strict=True)) for values in itertools.product(*FILTERS.values())
]


def test_any_combination_of_filters_finds_exactly_what_passes_all_of_them(filled, make) -> None:
    """Compared with a filter over everything; pages of 7 join to the whole."""
    everything = filled.store.read(lambda r: r.executions(limit=1000))
    assert 0 < len(everything) < 300
    for wanted in COMBINED:
        filters = {
            key: make.now + value if key in ("since", "until") and value is not None else value
            for key, value in wanted.items()
        }
        expected = [
            one.summary.execution_id for one in everything if passes(one.summary, **filters)
        ]
        whole = filled.store.read(lambda r, f=filters: r.executions(limit=1000, **f))
        assert names(whole) == expected, wanted
        joined, before = [], None
        while page := filled.store.read(
            lambda r, b=before, f=filters: r.executions(before_ordinal=b, limit=7, **f)
        ):
            joined += page
            before = page[-1].ordinal
        assert joined == whole, wanted


def passes(summary, status, entry_point, goal_id, since, until) -> bool:
    return (
        status in (None, summary.status)
        and entry_point in (None, summary.entry_point)
        and goal_id in (None, summary.goal_id)
        and (since is None or since <= summary.accepted_at)
        and (until is None or summary.accepted_at <= until)
    )


def test_a_page_begins_where_the_last_one_ended_whatever_came_and_went(filled, make) -> None:
    """What the cursor names is deleted, and others are accepted."""
    before = filled.store.read(lambda r: r.executions(limit=1000))
    top = before[:10]
    settled = next(one for one in top if one.summary.status in STATUSES[2:])
    filled.apply(delete(make, settled))
    filled.apply(make.accept("later"))
    rest = filled.store.read(lambda r: r.executions(before_ordinal=settled.ordinal, limit=1000))
    assert rest == before[before.index(settled) + 1 :]


def test_a_clock_that_was_set_back_a_little_hides_nothing(bench, make) -> None:
    """Acceptance times that fall by up to the tolerance, again and again."""
    chance = random.Random(11)
    moments = [make.now + number + chance.uniform(0, CLOCK_STEP_S) for number in range(200)]
    for number, at in enumerate(moments):
        bench.apply(accepted(make, f"e{number}", status=Status.QUEUED, entry="a", goal="g", at=at))
    for since in range(0, 200, 9):
        low, high = make.now + since, make.now + since + 30
        times = {"since": low, "until": high}
        found = bench.store.read(lambda r, t=times: r.executions(limit=1000, **t))
        assert sorted(names(found)) == sorted(
            f"e{number}" for number, at in enumerate(moments) if low <= at <= high
        )


def test_the_goal_costs_an_acceptance_nothing_while_it_stays_the_same(bench, make) -> None:
    """Two entries where it changes, none in between; empty runs are forgotten."""
    for number in range(50):
        goal = "first" if number < 40 else "second"
        bench.apply(
            accepted(make, f"e{number}", status=Status.FAILED, entry="a", goal=goal, at=make.now)
        )
    assert bench.store.stats().tables["goals"] == 4
    for one in bench.store.read(lambda r: r.executions(goal_id="first")):
        bench.apply(delete(make, one))
    assert bench.store.stats().tables["goals"] == 2
    bench.reopen()
    for one in bench.store.read(lambda r: r.executions()):
        bench.apply(delete(make, one))
    bench.apply(accepted(make, "last", status=Status.QUEUED, entry="a", goal="third", at=make.now))
    assert bench.store.stats().tables["goals"] == 2
    assert names(bench.store.read(lambda r: r.executions(goal_id="third"))) == ["last"]


QUERIES = [
    {},
    {"status": Status.COMPLETED},
    {"entry_point": "a"},
    {"goal_id": "g", "status": Status.COMPLETED, "entry_point": "a"},
]


def test_a_listing_costs_the_same_however_long_the_sessions_are(bench, make, cost) -> None:
    """Twenty executions, listed when each has 1 record and when each has 500 more."""
    commits = [
        accepted(make, f"e{number}", status=Status.COMPLETED, entry="a", goal="g", at=make.now)
        for number in range(20)
    ]
    bench.apply(*commits)
    short = [cost(lambda r, q=query: r.executions(limit=10, **q)) for query in QUERIES]
    for number in range(20):
        steps = [make.step(f"e{number}", number + 1, seq) for seq in range(2, 502)]
        bench.apply(*steps)
    long = [cost(lambda r, q=query: r.executions(limit=10, **q)) for query in QUERIES]
    assert long == short
    assert max(long) <= 50


def test_one_session_of_ten_thousand_steps_is_listed_as_cheaply(bench, make, cost) -> None:
    bench.apply(accepted(make, "long", status=Status.RUNNING, entry="a", goal="g", at=make.now))
    short = cost(lambda r: r.executions(goal_id="g"))
    for start in range(2, 10_002, 1000):
        bench.apply(*(make.step("long", 1, seq) for seq in range(start, start + 1000)))
    assert cost(lambda r: r.executions(goal_id="g")) == short


def test_a_listing_costs_what_it_returns_however_many_there_are(bench, make, cost) -> None:
    """Deep in the past, by time and goal: a logarithm more among 5,000 than among 500."""
    costs = []
    for start, end in ((0, 500), (500, 5_000)):
        commits = [
            accepted(
                make,
                f"e{number}",
                status=Status.COMPLETED,
                entry="a",
                goal="g" if number // 100 % 2 else "h",
                at=make.now + number * EVERY_S,
            )
            for number in range(start, end)
        ]
        bench.apply(*commits)
        until = make.now + 250 * EVERY_S
        asked = {"goal_id": "g", "status": Status.COMPLETED, "until": until, "limit": 10}
        costs.append(cost(lambda r, a=asked: r.executions(**a)))
    assert costs[1] <= costs[0] + 10
    assert costs[1] <= 80


def test_a_burst_around_a_bound_of_time_is_passed_in_few_steps(bench, make, cost) -> None:
    """However small the page is, and however many indexes are asked: 2,000 within a second."""
    commits = [
        accepted(
            make,
            f"e{number}",
            status=Status.QUEUED,
            entry="a",
            goal="g",
            at=make.now + number / 2_000,
        )
        for number in range(2_000)
    ]
    bench.apply(*commits)
    before = {"until": make.now - 1.0, "entry_point": "a", "limit": 1}
    assert bench.store.read(lambda r: r.executions(**before)) == []
    assert cost(lambda r: r.executions(**before)) <= 2.2 * 2_000
    first = {"until": make.now, "entry_point": "a", "limit": 1}
    assert [one.ordinal for one in bench.store.read(lambda r: r.executions(**first))] == [1]


def test_check_finds_a_goal_that_is_told_wrongly(bench, make) -> None:
    """Each promise of the table, from both sides."""
    bench.apply(
        accepted(make, "e1", status=Status.QUEUED, entry="a", goal="g", at=make.now),
        accepted(make, "e2", status=Status.QUEUED, entry="a", goal="h", at=make.now),
    )
    keys = bench.store.read(lambda r: r.transaction.range(Table.GOALS, b"", b"\xff" * 30, 10))
    assert len(keys) == 4
    for key, value in keys:
        bench.store._change(lambda t, k=key: t.delete(Table.GOALS, k))
        assert check(bench.store), key
        bench.store._change(lambda t, k=key, v=value: t.put(Table.GOALS, k, v))
    stray = b"o" + encode(1).rjust(8, b"\0")[:7] + b"\0"
    bench.store._change(lambda t: t.put(Table.GOALS, stray, b"x"))
    assert check(bench.store)
    bench.store._change(lambda t: t.delete(Table.GOALS, stray))
    assert check(bench.store) == []
