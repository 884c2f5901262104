"""A thousand executions under way at the death of their process."""

import pytest

pytestmark = pytest.mark.faults


def test_a_thousand_executions_in_flight_all_complete(place) -> None:
    inputs = {f"e{n:03}": "even" for n in range(1000)}
    settings = {"concurrent": 1000, "isolation": "shared"}
    status = place.run(inputs=inputs, block=True, kill=["blocked", 1000], **settings)
    assert status == -9, place.said()
    found = place.look()
    assert len(found.in_flight) == 1000
    assert {run[1] for run in found.in_flight} == {"measure"}
    assert {(name, "classify", 1) for name in inputs} <= found.closed
    before = len(place.entered())

    assert place.run(wait=list(inputs), **settings) == 0, place.said()
    assert place.heard("recovery")[0].startswith("recovered=1000 ")
    results = place.results()
    assert {one["status"] for one in results.values()} == {"completed"}
    assert {one["output"]["reply"] for one in results.values()} == {"even=12"}
    again = place.entered()[before:]
    assert not [one for one in again if one["node"] == "classify"]
    attempts = {one["attempt"] for one in again if one["node"] == "measure"}
    assert attempts == {2}
    assert len(again) == 3000
    assert place.problems() == []
