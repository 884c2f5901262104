"""SIGKILL at every boundary of executions that share a concurrency key: never two at a time."""

import pytest

pytestmark = pytest.mark.faults

INPUTS = {"e0": "odd", "e1": "even", "e2": "a longer text", "e3": "more text."}
KEYS = {"e0": "one", "e1": "one", "e2": "two", "e3": "one"}


def check_order(place, name) -> None:
    """Whoever entered a node had the key: those before it in line never entered one again."""
    for key in set(KEYS.values()):
        order = [line["execution"] for line in place.entered() if KEYS[line["execution"]] == key]
        changes = [one for at, one in enumerate(order) if at == 0 or order[at - 1] != one]
        assert changes == sorted(set(order)), f"{name}: {order}"


@pytest.mark.parametrize("point", ["before", "after", "entered", "left", "accepted"])
def test_no_kill_lets_two_of_a_key_run_or_changes_their_order(new_place, point) -> None:
    settings = {"inputs": INPUTS, "keys": KEYS, "concurrent": 4, "isolation": "shared"}
    whole = new_place("whole")
    assert whole.run(**settings) == 0, whole.said()
    check_order(whole, "whole")
    expected = {key: one["output"] for key, one in whole.results().items()}
    passed = whole.heard("passed")[0][point]

    killed = behind = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_place(k)
        status = place.run(**settings, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        if place.store.joinpath("data.mdb").exists():
            statuses = place.look().status.values()
            behind += sum(one.value == "queued" for one in statuses) > 1
        assert place.run(**settings) == 0, (name, place.said())
        assert {key: one["output"] for key, one in place.results().items()} == expected, name
        check_order(place, name)
        assert place.problems() == [], name
    assert killed >= passed * 2 // 3
    assert behind, "none was killed while some waited for their key"
