"""A store that cannot grow refuses work and nothing else, and goes on by itself once it can."""

import pytest

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("mode", ["wait", "kill_writer", "kill_stream"])
def test_accepted_work_outlives_a_full_disk(place, mode) -> None:
    assert place.run(full_disk=mode, concurrent=4) == 0, place.said()
    refused = place.heard("refused")[0]
    assert len(refused) >= 6
    assert all("cannot write now" in one for one in refused)
    seen = next(one for one in place.said() if "refused" in one)
    assert seen["first_known"]
    assert seen["streams"] == ["ep", "hook"]
    assert seen["history"] == 10
    assert seen["running"]
    ended = next(one for one in place.said() if "statuses" in one)
    assert ended["accepted_total"] > 0
    assert ended["statuses"] == ["completed"]
    assert ended["again"]
    assert place.problems() == []
