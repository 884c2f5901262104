"""SIGKILL at every boundary of every commit: what was finished stays finished, the rest is done."""

import pytest

pytestmark = pytest.mark.faults

INPUTS = {"e0": "odd", "e1": "even", "e2": "a longer text", "e3": "more text."}
SHARED = [0, 1]


def check_recovered(place, expected, name) -> int:
    """Look at what the killed process left, finish it in a new one, and compare; returns how many
    nodes were in flight.
    """
    assert place.problems() == [], name
    acknowledged = set(place.heard("accepted"))
    found = place.look() if place.store.joinpath("data.mdb").exists() else None
    stored = set(found.status) if found is not None else set()
    assert acknowledged <= stored, f"{name}: lost {acknowledged - stored}"
    before = len(place.entered())

    # Everything that was in the store ends by itself, without being asked for.
    assert place.run(wait=sorted(stored), concurrent=2) == 0, (name, place.said())
    assert not place.heard("missing"), name
    for execution, result in place.results().items():
        assert result["status"] == "completed", (name, result)
        assert (result["output"], result["path"]) == expected[execution], (name, result)
    if found is not None:
        check_ledger(place.entered()[before:], found, name)

    # Whoever got no answer may ask again, with the same ids.
    assert place.run(inputs=INPUTS, concurrent=2) == 0, (name, place.said())
    ended = {key: (one["output"], one["path"]) for key, one in place.results().items()}
    assert ended == expected, name
    assert place.heard("total") == [sum(len(text) for text in INPUTS.values())], name
    assert place.problems() == [], name
    decisions = place.look().decisions
    assert set(decisions.values()) == {1}, f"{name}: {decisions}"
    assert place.heard("goal") == [len(INPUTS)], name
    (replied,) = place.heard("replied")
    assert replied["met"], name
    assert len(replied["evidence"]) == len(INPUTS), f"{name}: {replied}"
    return 0 if found is None else len(found.in_flight)


def check_ledger(entered, found, name) -> None:
    """No committed step ran again; what was in flight ran again in the same visit."""
    first: dict[tuple[str, str, int], int] = {}
    for line in entered:
        run = (line["execution"], line["node"], line["visit"])
        assert run not in found.closed, f"{name}: {run} was finished and ran again"
        assert (*run, line["attempt"]) not in found.failed_runs, f"{name}: {run}"
        first.setdefault(run, line["attempt"])
    for run, attempt in found.in_flight.items():
        if run[1] != "route":  # a router without a function enters no ledger
            assert first[run] == attempt + 1, f"{name}: {run} was in flight at {attempt}"


@pytest.mark.parametrize("concurrent", [1, 3])
@pytest.mark.parametrize("point", ["before", "after", "entered", "left", "accepted"])
def test_no_kill_loses_repeats_or_changes_anything(new_place, point, concurrent) -> None:
    whole = new_place("whole")
    assert whole.run(inputs=INPUTS, concurrent=concurrent) == 0, whole.said()
    expected = {key: (one["output"], one["path"]) for key, one in whole.results().items()}
    assert set(expected) == set(INPUTS)
    passed = whole.heard("passed")[0][point]

    killed = in_flight = 0
    for k in range(1, passed + 1):
        place = new_place(k)
        status = place.run(inputs=INPUTS, concurrent=concurrent, kill=[point, k])
        # Groups differ in size from run to run, so the last boundaries may not be reached.
        assert status in (0, -9), place.said()
        killed += status == -9
        in_flight += check_recovered(place, expected, f"{point} {k}")
    assert killed >= passed * 2 // 3
    assert in_flight > killed // 3


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("first", [6, 14, 22])
def test_a_second_kill_during_recovery_changes_nothing_either(new_place, point, first) -> None:
    whole = new_place("whole")
    assert whole.run(inputs=INPUTS, concurrent=3) == 0, whole.said()
    expected = {key: (one["output"], one["path"]) for key, one in whole.results().items()}
    killed = 0
    for second in range(1, 10):
        name = f"{point} {first}, then {second}"
        place = new_place(second)
        assert place.run(inputs=INPUTS, concurrent=3, kill=["after", first]) in (0, -9), name
        acknowledged = set(place.heard("accepted"))
        closed = place.look().closed
        before = len(place.entered())
        status = place.run(wait=sorted(acknowledged), concurrent=3, kill=[point, second])
        assert status in (0, -9), (name, place.said())
        killed += status == -9
        repeated = [
            line
            for line in place.entered()[before:]
            if (line["execution"], line["node"], line["visit"]) in closed
        ]
        assert repeated == [], name
        assert acknowledged <= set(place.look().status), name
        check_recovered(place, expected, name)
    assert killed
