"""The journal of a session that goes on and on is cut: the same for both stores."""

import msgspec
import pytest

from greenroom.protocol.decisions import DecisionMade
from greenroom.protocol.errors import InvalidConfig, StoreCorrupt
from greenroom.protocol.execution import Status
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.limits import JOURNAL_RECORDS_DEFAULT
from greenroom.storage import journal
from greenroom.storage.check import check
from greenroom.storage.journal_retention import CUT_MAX, slack
from greenroom.storage.store import StoreOptions
from greenroom.storage.tables import Table

KEEP = 100
LARGE = 3_000  # bytes of a value: a few of them take more than the state


def test_the_newest_records_stay_and_the_first_and_the_state_is_the_same(
    bench, make, session
) -> None:
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 500)
    before = session.states([1, *range(401, 501)])
    assert bench.store.overdue
    session.tidy()
    assert not bench.store.overdue
    assert session.seqs() == [1, *range(401, 501)]
    assert session.seqs(Table.SNAPSHOTS) == [401]
    assert session.states(before) == before
    assert bench.store.stats().records_pruned == 399
    bench.reopen()
    assert session.states(before) == before
    bench.apply(session.step(501))
    assert bench.store.read(lambda r: r.load_state(1)).path[-2:] == ["n500", "n501"]


def test_a_position_that_is_gone_says_where_the_history_begins(bench, make, session) -> None:
    """And one that never was is no part of it."""
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 300)
    session.tidy()
    for seq in (2, 150, 200):
        with pytest.raises(HistoryPruned) as gone:
            bench.store.read(lambda r, s=seq: r.load_state(1, s))
        assert gone.value.oldest == 201
    assert bench.store.read(lambda r: r.load_state(1, 201)).seq == 201
    for seq in (0, 301):
        with pytest.raises(StoreCorrupt):
            bench.store.read(lambda r, s=seq: r.load_state(1, s))


def test_what_a_name_leads_to_stays_exactly_as_it_was(bench, make, session) -> None:
    """As a snapshot, and only as long as it has the name."""
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 400)
    bench.apply(session.named(7, 50, 51, 52, 150, 390))
    before = session.states([7, 50, 51, 52, 150, 390])
    session.tidy()
    assert session.states(before) == before
    assert session.seqs() == [1, 7, 50, 51, 52, 150, *range(301, 401)]
    assert session.seqs(Table.SNAPSHOTS) == [7, 50, 150, 301]
    with pytest.raises(HistoryPruned):
        bench.store.read(lambda r: r.load_state(1, 53))
    bench.apply(session.named(forget=(7, 51, 52)))
    bench.reopen()
    session.tidy()
    assert session.seqs() == [1, 50, 150, *range(301, 401)]
    kept = (50, 150, 390)
    assert session.states(kept) == {seq: before[seq] for seq in kept}


def test_small_records_between_names_stay_where_snapshots_would_take_more(
    bench, make, session
) -> None:
    """A session that names each of its steps does not grow by being cut."""
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1", patch={"memory": {"book": make.raw("x" * 50_000)}}))
    session.grow(2, 400, size=10)
    bench.apply(session.named(*range(20, 300, 2)))
    before = session.states(range(20, 300, 2))
    session.tidy()
    # Up to the first name they are 19 small records, and the first one is there in any case.
    assert session.seqs() == [*range(1, 299), *range(301, 401)]
    assert session.seqs(Table.SNAPSHOTS) == [301]
    assert session.states(before) == before


def test_a_record_that_is_gone_cannot_be_named_any_more(bench, make, session) -> None:
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 300)
    bench.apply(session.named(20))
    session.tidy()
    (outcome,) = bench.commit(session.named(21))
    assert outcome.code == "version_conflict"
    assert "21 was pruned" in outcome.text
    bench.apply(session.named(20, number=1), session.named(201))


def test_nothing_is_cut_before_there_is_a_good_part_too_many(
    bench, make, session, commit_cost
) -> None:
    """Each cut may write the whole state, so it does not come with every step; and a step that is
    not followed by one costs the same in a long session as in a short one.
    """
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    costs = {commit_cost(session.step(2, size=10))}
    bench._store._view.walk_at = make.now + 10**9  # what is too long is noticed by its steps alone
    for seq in range(3, 600):
        costs.add(commit_cost(session.step(seq, size=10)))
        if bench.store.overdue:
            session.tidy()
        assert len(session.seqs()) <= KEEP + 2 * slack(KEEP) + 1
        assert len(session.seqs()) >= min(seq, KEEP)
    assert len(costs) == 1
    assert bench.store.stats().puts < 700


def test_a_bounded_part_of_a_journal_leaves_at_a_time_and_is_whole_in_between(
    bench, make, session
) -> None:
    """Also when the rest is left to the next opening."""
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 1_500)
    bench.apply(session.named(700))
    before = session.states((700, 1_401, 1_500))
    left = 1_500
    while bench.store.tidy(make.now):
        assert left - len(session.seqs()) <= CUT_MAX + 1
        left = len(session.seqs())
        assert session.states(before) == before
        assert check(bench.store) == []  # a record that is there can be read
        bench.reopen()
    assert session.seqs() == [1, 700, *range(1_401, 1_501)]


def test_what_is_too_old_leaves_also_from_a_quiet_store(bench, make, session) -> None:
    """And the newest record stays, however old."""
    bench.open(journal_ttl_s=1_000.0, journal_records_max=None)
    bench.apply(make.accept("e1"), make.accept("e2"))
    for seq in range(2, 51):
        bench.apply(session.step(seq, at=10.0 * seq))
    bench.apply(session.step(2, name="e2", ordinal=2))
    before = session.states((20, 50))
    session.tidy(at=1_000)
    assert session.seqs() == [*range(1, 51)]
    session.tidy(at=1_200)
    assert session.seqs() == [1, *range(20, 51)]
    assert session.seqs(ordinal=2) == [1, 2]
    assert session.states((20, 50)) == before
    session.tidy(at=10**6)
    assert session.seqs() == [1, 50]
    assert session.seqs(ordinal=2) == [1, 2]
    assert session.states((50,)) == {50: before[50]}


def test_age_looks_at_all_sessions_again_in_a_tenth_of_it(bench, make, session) -> None:
    bench.open(journal_ttl_s=1_000.0, journal_records_max=None)
    session.tidy(at=5_000)
    bench.apply(make.accept("e1"))
    session.grow(2, 20)
    session.tidy(at=5_099)
    assert len(session.seqs()) == 20
    session.tidy(at=5_101)
    assert session.seqs() == [1, 20]


def test_sessions_that_were_long_before_there_was_a_limit_are_found(bench, make, session) -> None:
    """Also those that have ended, and those that nobody touches."""
    bench.open(journal_records_max=None)
    for number in range(1, 301):
        bench.apply(make.accept(f"e{number}"))
    session.grow(2, 400, name="e7", ordinal=7)
    session.grow(2, 400, name="e290", ordinal=290)
    bench.apply(session.step(401, name="e290", ordinal=290, status=Status.COMPLETED))
    assert session.tidy() == 1
    bench._options = msgspec.structs.replace(bench._options, journal_records_max=KEEP)
    if bench.kind == "memory":
        bench._store.options = bench._options
    bench.reopen()
    assert session.tidy() > 3
    assert session.seqs(ordinal=7) == [1, *range(301, 401)]
    assert session.seqs(ordinal=290) == [1, *range(302, 402)]
    assert session.seqs(ordinal=8) == [1]


def test_decisions_leave_with_the_records_that_count_them(bench, make, session) -> None:
    """And however many there are, each part stays bounded."""
    note = make.raw(DecisionMade(id="d", at=1.0, intent="pick"))
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    for seq in range(2, 301):
        bench.apply(session.step(seq, notes=(note,) * 30))
    bench.apply(session.named(42))
    left = bench.store.stats().tables["decisions"]
    while bench.store.tidy(make.now):
        now = bench.store.stats().tables["decisions"]
        assert left - now <= 2 * 1_024
        left = now
    assert session.seqs() == [1, 42, *range(201, 301)]
    assert bench.store.stats().tables["decisions"] == 30 * 101


def test_a_deleted_session_is_not_cut_any_more(bench, make, session) -> None:
    """Its whole journal leaves."""
    bench.open(journal_records_max=KEEP)
    bench.apply(make.accept("e1"))
    session.grow(2, 300)
    bench.apply(session.step(301, status=Status.COMPLETED))
    bench.apply(make.host(execution_id="e1", ordinal=1, expected_seq=301, delete=True))
    session.tidy()
    assert session.seqs() == []
    assert bench.store.stats().records_pruned == 0


def test_everything_stays_without_limits_and_a_hundred_thousand_records_by_default(
    bench, make, session
) -> None:
    assert StoreOptions().journal_records_max == JOURNAL_RECORDS_DEFAULT == 100_000
    assert StoreOptions().journal_ttl_s is None
    bench.open(journal_records_max=None)
    bench.apply(make.accept("e1"))
    session.grow(2, 400)
    assert not bench.store.tidy(make.now + 10**9)
    assert len(session.seqs()) == 400
    assert bench.store.read(lambda r: journal.unbroken_from(r.transaction, 1)) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"journal_records_max": 99}, {"journal_ttl_s": -1.0}, {"journal_ttl_s": float("nan")}],
)
def test_limits_of_journals_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(InvalidConfig, match=next(iter(wrong))):
        StoreOptions(**wrong).validate()
