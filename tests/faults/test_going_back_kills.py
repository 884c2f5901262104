"""SIGKILL at every boundary of an execution that is taken back to a checkpoint."""

import pytest

from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.faults

KEYS = ["e/first/1", "e/second/1", "e/third/1", "e~1/second/1", "e~1/third/1"]
OUTPUT = {"given": 2, "first": "e/first/1", "second": "e~1/second/1", "third": "e~1/third/1"}
PATH = ["first", "second", "third"]


def recorded(place) -> tuple[set[str], int]:
    """The keys of all node runs that are closed, and how often the execution was taken back."""
    if not place.store.joinpath("data.mdb").exists():
        return set(), 0
    reader = open_reader(place.store)
    try:
        found = reader.read(lambda view: view.execution("e"))
        if found is None:
            return set(), 0
        records = reader.read(lambda view: view.journal(found.ordinal, limit=1000))
    finally:
        reader.close()
    closed, back = set(), 0
    for record in records:
        back += record.patch.rewound is not None
        if record.cause.tick == "node_succeeded":
            closed.add(f"e{f'~{back}' if back else ''}/{record.cause.node}/1")
    return closed, back


@pytest.mark.parametrize("point", ["before", "after", "inside", "back"])
def test_no_kill_loses_or_repeats_a_way_back(new_back_place, point) -> None:
    whole = new_back_place("whole")
    assert whole.run() == 0, whole.said()
    assert [line["key"] for line in whole.entered()] == KEYS
    names = whole.results()["e"]["names"]
    passed = whole.heard("passed")[0][point]
    killed = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_back_place(k)
        status = place.run(kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        closed, back = recorded(place)
        assert back or not place.heard("went_back"), f"{name}: a way back was lost"
        before = len(place.entered())
        assert place.run() == 0, (name, place.said())
        assert place.problems() == [], name
        repeated = {line["key"] for line in place.entered()[before:]} & closed
        assert not repeated, f"{name}: closed, and run again"
        result = place.results()["e"]
        assert (result["status"], result["rewinds"]) == ("completed", 1), name
        assert (result["output"], result["path"]) == (OUTPUT, PATH), name
        assert {line["key"] for line in place.entered()} == set(KEYS), name
        if point != "inside":  # a run that was killed in flight takes a record of its own
            assert len(result["names"]) == len(names), name
    assert killed >= passed * 2 // 3
