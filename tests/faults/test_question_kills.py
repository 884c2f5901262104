"""SIGKILL at every boundary of executions that ask: no question and no answer is lost."""

from typing import Any

import pytest

from greenroom.protocol.questions import QuestionEnding
from greenroom.storage.lmdb_store import open_reader
from greenroom.storage.reader import Reader

pytestmark = pytest.mark.faults

INPUTS = {"e0": "odd", "e1": "even"}
ASKS = {"asks": ["classify", "measure", "flaky", "finish"], "unheard": ["measure"]}
KEPT = {"asks": ["classify", "finish"], "injects": ["classify"]}
SAID = {"e0": ["to e0:q1", "to e0:q2", "to e0:q3"], "e1": ["to e1:q1", "nothing", "to e1:q3"]}


def results(place: Any) -> dict[str, tuple[object, object]]:
    return {key: (one["output"], one["path"]) for key, one in place.results().items()}


@pytest.mark.parametrize("point", ["before", "after", "entered", "answered"])
def test_no_kill_loses_a_question_or_an_answer_or_repeats_a_node(
    new_place: Any, point: str
) -> None:
    whole = new_place("whole")
    assert whole.run(inputs=INPUTS, **ASKS) == 0, whole.said()
    expected = results(whole)
    for execution, (output, _) in expected.items():
        said = [value for key, value in output.items() if key.startswith("said_")]
        assert said == SAID[execution]
    passed = whole.heard("passed")[0][point]

    killed = waited = 0
    for k in range(1, passed + 1):
        place = new_place(k)
        status = place.run(inputs=INPUTS, **ASKS, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], k
        found = place.look() if place.store.joinpath("data.mdb").exists() else None
        if found is not None:
            stand = place.endings()
            waited += None in stand.values()
            for told in place.heard("answered"):
                assert stand[told] is QuestionEnding.ANSWERED, f"{point} {k}: an answer was lost"
        before = len(place.entered())
        assert place.run(inputs=INPUTS, **ASKS) == 0, place.said()
        assert results(place) == expected, f"{point} {k}"
        assert place.problems() == [], k
        for line in place.entered()[before:]:
            run = (line["execution"], line["node"], line["visit"])
            assert found is None or run not in found.closed, f"{point} {k}: {run} ran again"
    assert killed >= passed * 2 // 3
    assert waited or point == "answered"


def held(place: Any) -> dict[str, tuple[int, bool]]:
    """By execution: how much input it keeps, and whether some was used."""

    def load(reader: Reader) -> dict[str, tuple[int, bool]]:
        found = {}
        for one in reader.executions():
            state = reader.load_state(one.ordinal)
            found[one.summary.execution_id] = (len(state.inbox), "said_classify" in state.memory)
        return found

    reader = open_reader(place.store)
    try:
        return reader.read(load)
    finally:
        reader.close()


@pytest.mark.parametrize("point", ["before", "after", "injected"])
def test_no_kill_loses_input_that_was_kept(new_place: Any, point: str) -> None:
    """The node hands input to itself while it runs, then asks, and is answered as it closes."""
    whole = new_place("whole")
    assert whole.run(inputs=INPUTS, **KEPT) == 0, whole.said()
    expected = results(whole)
    for output, _ in expected.values():
        assert output["said_classify"] == "kept"
    assert {*whole.heard("answered")} == {"e0:q2", "e1:q2"}, "nobody else was asked"
    passed = whole.heard("passed")[0][point]
    for k in range(1, passed + 1):
        place = new_place(k)
        assert place.run(inputs=INPUTS, **KEPT, kill=[point, k]) in (0, -9), place.said()
        assert place.problems() == [], k
        if place.store.joinpath("data.mdb").exists():
            stand = held(place)
            for execution in place.heard("injected"):
                kept, used = stand[execution]
                assert kept or used, f"{point} {k}: input was lost"
        assert place.run(inputs=INPUTS, **KEPT) == 0, place.said()
        assert results(place) == expected, f"{point} {k}"
        assert place.problems() == [], k
