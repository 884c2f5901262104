"""SIGKILL at every boundary of one execution that has a retry in backoff, a question, a timer and
an effect of each policy: all their promises hold together.
"""

from collections import Counter
from typing import Any

import pytest

from greenroom.protocol.execution import Status

pytestmark = pytest.mark.faults

KEYS = {
    "look": "e/order/1/look/1",
    "mail": "e/order/1/mail/1",
    "pay": "e/order/1/pay/1",
    "ship": "e/ship/1/ship/1",
}
PATH = ["order", "ask", "nap", "ship", "done"]
DOUBTFUL = ["order", "ask", "nap", "ship", "doubt", "done"]


def calls(place: Any) -> Counter[str]:
    """How often the outside was called, by the key that it was given."""
    return Counter(line["key"] for line in place.entered() if "call" in line)


def check_end(place: Any, name: str) -> bool:
    """How it ended; returns whether the outcome of the effect that is never repeated is unknown."""
    result = place.results()["e"]
    assert result["status"] == "completed", name
    output = result["output"]
    assert output["reply"] == "approved: yes", name
    assert output["receipt"] == ["look was called", "mail was called", "pay was called"], name
    made = calls(place)
    assert set(made) <= set(KEYS.values()), f"{name}: another key"
    for call in ("look", "mail", "pay"):
        assert 1 <= made[KEYS[call]] <= 2, name
    unknown = result["path"] == DOUBTFUL
    assert unknown or (result["path"], output["sent_by"]) == (PATH, "ship was called"), name
    assert made[KEYS["ship"]] <= 1, f"{name}: called twice"
    assert unknown or made[KEYS["ship"]] == 1, name
    return unknown


@pytest.mark.parametrize("point", ["before", "after", "inside", "called", "answered"])
def test_no_kill_breaks_what_waits_or_what_was_done(new_waits_place: Any, point: str) -> None:
    whole = new_waits_place("whole")
    assert whole.run() == 0, whole.said()
    assert not check_end(whole, "whole")
    assert whole.heard("outcome") == ["accepted"]
    passed = whole.heard("passed")[0][point]

    killed = unknown = waited = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_waits_place(k)
        status = place.run(kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        found = place.look() if place.store.joinpath("data.mdb").exists() else None
        waited += found is not None and Status.WAITING in found.status.values()
        before = len(place.entered())
        assert place.run() == 0, (name, place.said())
        assert place.problems() == [], name
        unknown += check_end(place, name)
        for line in place.entered()[before:]:
            if "node" in line:
                run = ("e", line["node"], line["visit"])
                assert found is None or run not in found.closed, f"{name}: {run} ran again"
    assert killed >= passed * 2 // 3
    if point in ("before", "after"):
        assert waited >= 3, "in the backoff, for the answer, and in the nap"
    assert unknown == {"inside": 1, "called": 1, "answered": 0}.get(point, unknown)
