"""SIGKILL at every boundary of executions that use up their budgets and get more."""

import pytest

from greenroom.protocol.questions import QuestionEnding

pytestmark = pytest.mark.faults

INPUTS = {"e0": "even", "e1": "longer!!"}  # four runs, and five
SETTINGS = {"inputs": INPUTS, "concurrent": 2, "isolation": "shared"}


ASKED = {
    f"{name}:q{number}" for name, more in (("e0", 2), ("e1", 3)) for number in range(1, more + 1)
}


@pytest.mark.parametrize("point", ["before", "after", "entered", "answered"])
def test_no_kill_asks_for_more_twice_or_loses_what_was_granted(new_place, point) -> None:
    """Each answer grants one run more."""
    settings = {**SETTINGS, "budget": 2, "on_breach": "ask"}
    whole = new_place("whole")
    assert whole.run(**settings) == 0, whole.said()
    expected = {key: (one["output"], one["path"]) for key, one in whole.results().items()}
    assert set(whole.endings()) == ASKED
    passed = whole.heard("passed")[0][point]

    killed = waited = 0
    for k in range(1, passed + 1):
        place = new_place(k)
        status = place.run(**settings, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], k
        if place.store.joinpath("data.mdb").exists():
            stand = place.endings()
            waited += None in stand.values()
            for told in place.heard("answered"):
                assert stand[told] is QuestionEnding.ANSWERED, f"{point} {k}: an answer was lost"
        assert place.run(**settings) == 0, (k, place.said())
        ended = {key: (one["output"], one["path"]) for key, one in place.results().items()}
        assert ended == expected, f"{point} {k}"
        assert place.endings() == dict.fromkeys(ASKED, QuestionEnding.ANSWERED), f"{point} {k}"
        assert place.problems() == [], k
    assert killed >= passed * 2 // 3
    assert waited


@pytest.mark.parametrize("point", ["before", "after", "entered", "resumed"])
def test_no_kill_changes_what_was_used_or_runs_more_than_was_granted(new_place, point) -> None:
    """Each pause is where the whole run had it: the budget is settled in the steps themselves."""
    whole = new_place("whole")
    assert whole.run(**SETTINGS, budget=2) == 0, whole.said()
    expected = {key: (one["output"], one["path"]) for key, one in whole.results().items()}
    assert len(whole.heard("resumed")) == 2 + 3
    passed = whole.heard("passed")[0][point]

    killed = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_place(k)
        status = place.run(**SETTINGS, budget=2, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        before = len(place.entered())
        closed = set()
        if place.store.joinpath("data.mdb").exists():
            closed = place.look().closed
        assert place.run(**SETTINGS, budget=2) == 0, (name, place.said())
        ended = {key: (one["output"], one["path"]) for key, one in place.results().items()}
        assert ended == expected, name
        assert place.problems() == [], name
        for line in place.entered()[before:]:
            assert (line["execution"], line["node"], line["visit"]) not in closed, name
    assert killed >= passed * 2 // 3
