"""SIGKILL at every boundary of an execution that waits: for another attempt, and in a sleep."""

import pytest

from greenroom.protocol.engine.due import due_at
from greenroom.protocol.execution import Status
from greenroom.protocol.patch import apply
from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.faults

# A backoff of a second gives its permit back: the execution is in the store alone, as in a sleep.
WAITS = {"inputs": {"e0": "odd"}, "backoff_s": 1.0, "doze_s": 0.2}


def answer(place) -> tuple[object, object]:
    one = place.results()["e0"]
    return one["output"], one["path"]


def early(place) -> list[str]:
    """What came due before its time, by the journal."""
    found = []
    reader = open_reader(place.store)
    try:
        stored = reader.read(lambda r: r.execution("e0"))
        state = None
        for record in reader.read(lambda r: r.journal(stored.ordinal, limit=1_000)):
            due = None if state is None else due_at(state)
            if record.cause.tick == "due" and (due is None or record.at < due - 1e-5):
                found.append(f"record {record.seq} at {record.at}, due at {due}")
            state = apply(state, record.patch, record.seq)
    finally:
        reader.close()
    return found


@pytest.mark.parametrize("point", ["before", "after", "entered"])
def test_no_kill_loses_or_hastens_or_repeats_what_waits(new_place, point) -> None:
    whole = new_place("whole")
    assert whole.run(**WAITS) == 0, whole.said()
    expected = answer(whole)
    assert early(whole) == []
    passed = whole.heard("passed")[0][point]

    killed = waited = 0
    for k in range(1, passed + 1):
        place = new_place(k)
        status = place.run(**WAITS, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], k
        found = place.look() if place.store.joinpath("data.mdb").exists() else None
        waited += found is not None and Status.WAITING in found.status.values()
        before = len(place.entered())
        assert place.run(**WAITS) == 0, place.said()
        assert answer(place) == expected, f"{point} {k}"
        assert place.heard("total") == whole.heard("total"), f"{point} {k}"
        assert early(place) == [], k
        assert place.problems() == [], k
        for line in place.entered()[before:]:
            run = (line["execution"], line["node"], line["visit"])
            assert found is None or run not in found.closed, f"{point} {k}: {run} ran again"
    assert killed >= passed * 2 // 3
    assert waited or point == "entered"  # no node runs while it waits
