"""The index of what comes due, and what is kept in memory of what waits, of both stores."""

import pytest

from greenroom.protocol.execution import Phase, Status, Token
from greenroom.protocol.timers import TimerMove, microseconds
from greenroom.storage.check import check
from greenroom.storage.keys import entry_digest, timer_key
from greenroom.storage.tables import Table

DUE = 1_700_000_000.5
LATER = DUE + 60


def asleep(due: float) -> dict:
    return {"tokens": {1: Token(node="a", phase=Phase.SLEEPING, due=due)}}


@pytest.fixture
def waiting(bench, make):
    """e1, e2 and e3 of entry point ep wait, e2 for the shortest time; e4 of another one does."""
    for number, (entry, due) in enumerate(
        [("ep", LATER), ("ep", DUE), ("ep", LATER + 1), ("other", DUE - 9)], start=1
    ):
        bench.apply(make.accept(f"e{number}", entry=entry))
        move = TimerMove(None, due)
        parts = {"status": Status.WAITING, "entry": entry, "patch": asleep(due), "timer": move}
        bench.apply(make.step(f"e{number}", number, 2, **parts))
    return bench


def timers(bench, entry="ep", limit=10):
    found = bench.store.read(lambda reader: reader.timers(entry, limit))
    return [(one.due_us, one.ordinal) for one in found]


def test_what_comes_due_is_found_in_order_of_time_by_entry_point(waiting) -> None:
    assert timers(waiting) == [
        (microseconds(DUE), 2),
        (microseconds(LATER), 1),
        (microseconds(LATER + 1), 3),
    ]
    assert timers(waiting, limit=1) == [(microseconds(DUE), 2)]
    assert timers(waiting, "other") == [(microseconds(DUE - 9), 4)]
    assert timers(waiting, "none") == []


def test_a_step_moves_its_execution_or_takes_it_out(waiting, make) -> None:
    waiting.apply(
        make.step("e2", 2, 3, patch=asleep(LATER + 2), timer=TimerMove(DUE, LATER + 2)),
        make.step("e1", 1, 3, status=Status.RUNNING, timer=TimerMove(LATER, None)),
    )
    expected = [(microseconds(LATER + 1), 3), (microseconds(LATER + 2), 2)]
    assert timers(waiting) == expected
    waiting.reopen()
    assert timers(waiting) == expected


def test_a_refused_step_moves_nothing(waiting, make, kinds) -> None:
    stale = make.step("e2", 2, 7, status=Status.RUNNING, timer=TimerMove(DUE, None))
    alone = make.host(timer=TimerMove(DUE, None))
    assert kinds(waiting.commit(stale, alone)) == ["refused", "refused"]
    assert timers(waiting)[0] == (microseconds(DUE), 2)


def test_nothing_is_kept_in_memory_of_what_is_at_rest(waiting, make) -> None:
    """Its next commit reads what it needs."""
    assert waiting.store._view.heads == {}
    waiting.apply(make.step("e2", 2, 3, status=Status.RUNNING, timer=TimerMove(DUE, None)))
    assert list(waiting.store._view.heads) == [2]
    waiting.apply(make.step("e2", 2, 4, status=Status.PAUSED, patch={"tokens": {1: None}}))
    assert waiting.store._view.heads == {}


KEY = timer_key(entry_digest("ep"), DUE, 2)
WRONG = {
    "lost": (lambda t: t.delete(Table.TIMERS, KEY), "execution e2: never comes due"),
    "twice": (
        lambda t: t.put(Table.TIMERS, timer_key(entry_digest("ep"), LATER, 2), b""),
        f"timers: execution e2 is not due at {microseconds(LATER)}",
    ),
    "of another": (
        lambda t: t.put(Table.TIMERS, timer_key(entry_digest("no"), DUE, 2), b""),
        f"timers: execution e2 is not due at {microseconds(DUE)}",
    ),
    "of nobody": (
        lambda t: t.put(Table.TIMERS, timer_key(entry_digest("ep"), DUE, 9), b""),
        "timers: number 9 is no execution",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_timer_that_is_wrong_is_found_from_either_side(bench_of, make, tmp_path, name) -> None:
    change, expected = WRONG[name]
    bench = bench_of("memory", tmp_path)
    bench.apply(make.accept("e1"), make.accept("e2"))
    move = TimerMove(None, DUE)
    bench.apply(make.step("e2", 2, 2, status=Status.WAITING, patch=asleep(DUE), timer=move))
    assert check(bench.store) == []
    bench.store._change(change)
    assert check(bench.store) == [expected]
