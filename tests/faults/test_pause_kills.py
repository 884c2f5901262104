"""SIGKILL at every boundary of executions that pause: what was told of them holds."""

import pytest

from greenroom.protocol.execution import Status

pytestmark = pytest.mark.faults

INPUTS = {"e0": "odd", "e1": "even"}
PAUSES = ["classify", "measure", "flaky"]


def answers(place) -> dict[str, tuple[object, object]]:
    return {key: (one["output"], one["path"]) for key, one in place.results().items()}


@pytest.mark.parametrize("point", ["before", "after", "entered", "resumed"])
def test_no_kill_loses_a_pause_or_a_resume_or_repeats_a_node(new_place, point) -> None:
    whole = new_place("whole")
    assert whole.run(inputs=INPUTS, pause_nodes=PAUSES) == 0, whole.said()
    expected = answers(whole)
    assert expected["e0"][0]["passed_flaky"] is True
    assert expected["e1"][0]["passed_measure"] is True
    passed = whole.heard("passed")[0][point]

    killed = paused = 0
    for k in range(1, passed + 1):
        place = new_place(k)
        status = place.run(inputs=INPUTS, pause_nodes=PAUSES, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], k
        found = place.look() if place.store.joinpath("data.mdb").exists() else None
        if found is not None:
            paused += Status.PAUSED in found.status.values()
            for execution in place.heard("resumed"):
                at = found.status[execution]
                told = place.heard("resumed").count(execution)
                assert at is not Status.PAUSED or told < 2, f"{point} {k}: a resume was lost"
        before = len(place.entered())
        assert place.run(inputs=INPUTS, pause_nodes=PAUSES) == 0, place.said()
        assert answers(place) == expected, f"{point} {k}"
        assert place.problems() == [], k
        for line in place.entered()[before:]:
            run = (line["execution"], line["node"], line["visit"])
            assert found is None or run not in found.closed, f"{point} {k}: {run} ran again"
    assert killed >= passed * 2 // 3
    assert paused
