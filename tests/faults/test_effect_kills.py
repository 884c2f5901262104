"""SIGKILL at every commit and inside every call of nodes with effects: each policy holds."""

from collections import Counter

import pytest

from greenroom.storage.lmdb_store import open_reader

pytestmark = pytest.mark.faults

KEYS = {
    "look": "e/order/1/look/1",
    "mail": "e/order/1/mail/1",
    "pay": "e/order/1/pay/1",
    "ship": "e/send/1/ship/1",
}
RECEIPT = ["look was called", "mail was called", "pay was called"]


def recorded(place) -> set[str]:
    """The keys of all effects whose result is durable."""
    reader = open_reader(place.store)
    try:
        found = reader.read(lambda view: view.execution("e"))
        if found is None:
            return set()
        records = reader.read(lambda view: list(view.journal(found.ordinal, limit=1000)))
    finally:
        reader.close()
    return {
        f"e/{record.cause.node}/1/{slot}"
        for record in records
        for changes in record.patch.effects.values()
        for slot, effect in changes.items()
        if effect is not None and effect.outcome == "done"
    }


def finish(place, name: str) -> tuple[Counter[str], bool]:
    """Let a new process end it; returns the calls by key, and whether one is unknown."""
    assert place.problems() == [], name
    done = recorded(place) if place.store.joinpath("data.mdb").exists() else set()
    before = len(place.entered())
    assert place.run() == 0, (name, place.said())
    assert place.problems() == [], name
    repeated = {line["key"] for line in place.entered()[before:]} & done
    assert not repeated, f"{name}: on record, and called again"
    result = place.results()["e"]
    assert result["status"] == "completed", name
    assert result["output"]["receipt"] == RECEIPT, name
    for line in place.entered():
        assert line["key"] == KEYS[line["call"]], f"{name}: another key"
    calls = Counter(line["key"] for line in place.entered())
    unknown = bool(result["unknown"])
    if unknown:
        assert result["unknown"] == [KEYS["ship"]], name
        assert (result["path"], result["output"].get("asked")) == (
            ["order", "send", "ask", "sent"],
            True,
        ), name
    else:
        assert (result["path"], result["output"]["sent_by"]) == (
            ["order", "send", "sent"],
            "ship was called",
        ), name
    return calls, unknown


@pytest.mark.parametrize("point", ["before", "after", "inside", "called"])
def test_no_kill_breaks_the_promise_of_a_policy(new_effects_place, point) -> None:
    whole = new_effects_place("whole")
    assert whole.run() == 0, whole.said()
    passed = whole.heard("passed")[0][point]
    assert finish(whole, "whole") == (Counter(KEYS.values()), False)

    killed = repeated = unknown_in_all = 0
    for k in range(1, passed + 1):
        name = f"{point} {k}"
        place = new_effects_place(k)
        status = place.run(kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        calls, unknown = finish(place, name)
        for call in ("look", "mail", "pay"):
            assert 1 <= calls[KEYS[call]] <= 2, name
            repeated += calls[KEYS[call]] - 1
        assert calls[KEYS["ship"]] <= 1, f"{name}: called twice"
        assert unknown or calls[KEYS["ship"]] == 1, name
        unknown_in_all += unknown
    assert killed >= passed * 2 // 3
    if point == "inside":
        assert (repeated, unknown_in_all) == (0, 1)
    elif point == "called":
        assert (repeated, unknown_in_all) == (3, 1)
    else:
        assert unknown_in_all, "a kill between intent and result"


@pytest.mark.parametrize("point", ["before", "after"])
def test_no_kill_loses_what_a_person_says_of_an_unknown_outcome(new_effects_place, point) -> None:
    """A kill leaves the outcome unknown; a second one strikes while the person is asked."""
    whole = new_effects_place("whole")
    assert whole.run(ask=True) == 0, whole.said()
    first = whole.heard("passed")[0]["inside"]  # the call of the effect that is not repeated
    killed = 0
    for k in range(1, 21):
        place = new_effects_place(k)
        assert place.run(ask=True, kill=["inside", first]) == -9
        status = place.run(ask=True, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], k
        assert place.run(ask=True) == 0, (k, place.said())
        assert place.problems() == [], k
        result = place.results()["e"]
        assert (result["status"], result["path"]) == ("completed", ["order", "send", "sent"]), k
        assert result["output"]["sent_by"] == "ann saw it", k
        assert result["unknown"] == [KEYS["ship"]], k
        calls = Counter(line["key"] for line in place.entered())
        assert calls[KEYS["ship"]] == 0, k
    assert 4 <= killed < 20, "all boundaries from the start to the end are passed"
