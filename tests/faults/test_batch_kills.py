"""SIGKILL at every boundary of a batch of triggers: all of them were accepted, or none."""

import pytest

pytestmark = pytest.mark.faults

INPUTS = {f"k{n}": "odd" if n % 2 else "even" for n in range(12)}


@pytest.mark.parametrize("point", ["before", "after", "entered", "accepted"])
def test_no_kill_tears_a_batch(new_place, point) -> None:
    settings = {"inputs": INPUTS, "batch": True, "concurrent": 4, "wait": []}
    whole = new_place("whole")
    assert whole.run(**settings) == 0, whole.said()
    passed = whole.heard("passed")[0][point]

    killed = none = every = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_place(k)
        status = place.run(**settings, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        told = place.heard("accepted")
        stored = set()
        if place.store.joinpath("data.mdb").exists():
            stored = set(place.look().status)
        assert len(stored) in (0, len(INPUTS)), name
        assert set(told) <= stored, name
        none, every = none + (not stored), every + bool(stored)
        # Asked again, it answers the ids of the first time, and all of them complete.
        assert place.run(inputs=INPUTS, batch=True, concurrent=4, wait=sorted(stored)) == 0, name
        again = place.heard("accepted")
        assert len(set(again)) == len(INPUTS), name
        if stored:
            assert set(again) == stored, name
        assert {one["status"] for one in place.results().values()} <= {"completed"}, name
        assert place.problems() == [], name
    assert killed
    assert every
    assert none or point not in ("before", "after")
