"""SIGKILL at every boundary of a start that migrates what it finds."""

import pytest

pytestmark = pytest.mark.faults

KEYS = {"ask/first/1", "sleep/first/1", "pay/first/1", "pause/first/1"}


def paid(place) -> set[str]:
    return {line["key"] for line in place.entered() if "call" in line}


def runs(place) -> list[str]:
    return [line["run"] for line in place.entered() if "run" in line]


def finished(place, name: str) -> None:
    """Every session went on where it was, moved once, with nothing done twice."""
    results = place.results()
    assert set(results) == {"ask", "pause", "pay"}, name
    for told, one in results.items():
        assert (one["status"], one["path"]) == ("completed", ["first", "last"]), (name, one)
        assert one["output"]["moved"] == 1, (name, one)
        assert one["output"]["done"] == told, name
    assert place.heard("asleep") == ["waiting"], name
    assert place.heard("moved") == [1], name
    assert paid(place) == {"pay/first/1/pay/1"}, name
    done = [key for key in runs(place) if key.endswith("/first/1") and "pay" not in key]
    assert len(done) == 3, f"{name}: a node that had ended ran again"
    assert {key for key in runs(place) if not key.endswith("/last/1")} == KEYS, name
    assert place.problems() == [], name


@pytest.mark.parametrize("point", ["before", "after", "asked", "inside", "called"])
def test_no_kill_tears_a_migration_or_makes_it_twice(new_migrating_place, point) -> None:
    whole = new_migrating_place("whole")
    assert whole.run(version="old") == 0, whole.said()
    assert whole.run(version="new") == 0, whole.said()
    finished(whole, "whole")
    assert whole.heard("migrated") == [3]
    passed = whole.heard("passed")[0][point]
    killed = 0
    for k in range(1, passed + 1):
        place, name = new_migrating_place(k), f"{point} {k}"
        assert place.run(version="old") == 0, place.said()
        status = place.run(version="new", kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        assert place.run(version="new") == 0, (name, place.said())
        assert place.heard("held") == [{}], name
        finished(place, name)
    assert killed >= passed * 2 // 3
