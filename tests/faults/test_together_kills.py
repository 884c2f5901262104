"""SIGKILL at every boundary of steps that share one sync of the disk."""

import pytest

from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.faults


@pytest.fixture
def new_together_place(tmp_path, zygotes, place):
    """Makes a place for an agent with several nodes in flight at once."""
    zygote = zygotes("together_agent.py")
    return lambda name: type(place)(tmp_path / str(name), zygote)


def closed(place) -> list[int]:
    """The visits whose node runs are closed, in the order of their records."""
    reader = open_reader(place.store)
    try:
        found = reader.read(lambda view: view.execution("e"))
        records = reader.read(lambda view: view.journal(found.ordinal, limit=1000))
    finally:
        reader.close()
    return [one.cause.visit for one in records if one.cause.tick == "node_succeeded"]


@pytest.mark.parametrize("point", ["before", "after", "inside", "called"])
def test_no_kill_loses_or_repeats_one_of_the_steps_that_share_a_sync(
    new_together_place, point
) -> None:
    whole = new_together_place("whole")
    assert whole.run() == 0, whole.said()
    steps = len(whole.entered()) * 3
    assert whole.results()["e"]["groups"] < steps * 2 // 3, "steps that end together share a sync"
    passed = whole.heard("passed")[0][point]
    killed = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_together_place(k)
        status = place.run(kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        before, already = len(place.entered()), closed(place)
        assert place.run() == 0, (name, place.said())
        assert place.problems() == [], name
        again = {line["key"] for line in place.entered()[before:]}
        assert not again & {f"e/work/{one}/call/1" for one in already}, f"{name}: run again"
        ends = closed(place)
        assert len(ends) == len(set(ends)), f"{name}: closed twice"
        assert ends[: len(already)] == already, f"{name}: lost"
        called = {line["key"] for line in place.entered()}
        assert {f"e/work/{one}/call/1" for one in ends} <= called, f"{name}: closed and not run"
        assert place.results()["e"]["status"] == "completed", name
    assert killed >= passed * 2 // 3
