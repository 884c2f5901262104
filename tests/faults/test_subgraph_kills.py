"""SIGKILL at every boundary of an execution whose graph holds another one."""

from collections import Counter

import pytest

from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.faults

OUTPUT = {"given": "text", "whole": [61, 62], "told": [61, 62]}
RUNS = Counter(
    ["first", "in.split", *["in.weigh"] * 3, "in.add", "in.left", "in.right", "in.join", "last"]
)


def closed(place) -> Counter[str]:
    """How many runs of each node the store has as ended."""
    if not place.store.joinpath("data.mdb").exists():
        return Counter()
    reader = open_reader(place.store)
    try:
        found = reader.read(lambda view: view.execution("e"))
        if found is None:
            return Counter()
        records = reader.read(lambda view: view.journal(found.ordinal, limit=1000))
    finally:
        reader.close()
    return Counter(one.cause.node for one in records if one.cause.tick == "node_succeeded")


@pytest.mark.parametrize("point", ["before", "after", "inside"])
def test_no_kill_loses_or_repeats_what_is_inside_a_node(new_subgraph_place, point) -> None:
    """A map and a fan-out in the inner graph: what has ended is not run again, whoever died."""
    whole = new_subgraph_place("whole")
    assert whole.run() == 0, whole.said()
    assert Counter(line["node"] for line in whole.entered()) == RUNS
    passed = whole.heard("passed")[0][point]
    killed = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_subgraph_place(k)
        status = place.run(kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        ended, before = closed(place), len(place.entered())
        assert place.run() == 0, (name, place.said())
        assert place.problems() == [], name
        again = Counter(line["node"] for line in place.entered()[before:])
        assert again == RUNS - ended, name
        assert closed(place) == RUNS, name
        result = place.results()["e"]
        assert (result["status"], result["output"]) == ("completed", OUTPUT), name
        assert Counter(result["path"]) == RUNS + Counter(["in"]), name
    assert killed >= passed * 2 // 3
