"""SIGKILL at every boundary of an execution that is forked, and deleted before its forks begin."""

import pytest

from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.faults

KEYS = {f"e/{node}/1" for node in ("first", "second", "third")} | {
    f"{name}/{node}/1" for name in "fgh" for node in ("second", "third")
}
PATH = ["first", "second", "third"]
FROM = {"f": "e", "g": "e", "h": "g"}


def recorded(place) -> tuple[set[str], set[str]]:
    """The keys of all node runs that are closed, and the executions that there are."""
    if not place.store.joinpath("data.mdb").exists():
        return set(), set()
    reader = open_reader(place.store)
    try:
        found = reader.read(lambda view: view.executions())
        closed = {
            f"{one.summary.execution_id}/{record.cause.node}/1"
            for one in found
            for record in reader.read(lambda view, one=one: view.journal(one.ordinal))
            if record.cause.tick == "node_succeeded"
        }
    finally:
        reader.close()
    return closed, {one.summary.execution_id for one in found}


@pytest.mark.parametrize("point", ["before", "after", "inside", "forked", "deleted"])
def test_no_kill_loses_a_fork_or_what_it_began_with(new_fork_place, point) -> None:
    whole = new_fork_place("whole")
    assert whole.run() == 0, whole.said()
    assert {line["key"] for line in whole.entered()} == KEYS
    passed = whole.heard("passed")[0][point]
    killed = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_fork_place(k)
        status = place.run(kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        closed, there = recorded(place)
        assert there >= set(place.heard("forked")), f"{name}: a fork was lost"
        assert "e" not in there or not place.heard("deleted"), name
        before = len(place.entered())
        assert place.run() == 0, (name, place.said())
        assert place.problems() == [], name
        repeated = {line["key"] for line in place.entered()[before:]} & closed
        assert not repeated, f"{name}: closed, and run again"
        for fork, result in place.results().items():
            output = {"given": fork, "first": "e/first/1"} | {
                node: f"{fork}/{node}/1" for node in PATH[1:]
            }
            assert (result["status"], result["output"]) == ("completed", output), name
            assert (result["path"], result["forked_from"]) == (PATH, FROM[fork]), name
        assert set(place.results()) == set(FROM), name
        assert place.heard("e") == [False], name
        assert {line["key"] for line in place.entered()} == KEYS, name
    assert killed >= passed * 2 // 3
