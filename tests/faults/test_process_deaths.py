"""Work that kills its process is held after three deaths; the others get through."""

import asyncio
import json

import pytest

pytestmark = pytest.mark.faults


def test_the_third_death_without_progress_holds_the_execution(place) -> None:
    # The deadly one is sent last, so that the others are accepted before it kills the process.
    inputs = {"good0": "abc", "good1": "abcd", "good2": "abcde", "deadly": "deadly one"}
    assert place.run(inputs=inputs, concurrent=4, deadly=True, wait=[]) in (0, -9)
    for deaths in (1, 2):
        found = place.look()
        assert (found.crashes["deadly"], found.failures["deadly"]) == (deaths - 1, 0)
        assert place.run(wait=list(inputs), concurrent=4, deadly=True) == -9
    assert place.look().crashes["deadly"] == 2
    assert place.run(wait=list(inputs), concurrent=4, deadly=True) == 0, place.said()
    results = place.results()
    assert results["deadly"]["status"] == "held"
    assert "3 deaths of the process" in results["deadly"]["error"]
    assert place.heard("held")[0].keys() <= {"deadly"}
    assert {results[one]["status"] for one in inputs if one != "deadly"} == {"completed"}
    attempts = [one["attempt"] for one in place.entered() if one["execution"] == "deadly"]
    assert attempts == [1, 2, 3]
    # It stays held, and is shown as such, and nobody runs it.
    assert place.run(wait=list(inputs), concurrent=4, deadly=True) == 0
    assert place.results()["deadly"]["status"] == "held"
    assert list(place.heard("held")[0]) == ["deadly"]
    assert place.problems() == []


def test_suspects_run_one_at_a_time(place) -> None:
    """Six in flight at two deaths, one of them the cause: the five others are not held for it."""
    inputs = {f"e{n}": "good" for n in range(5)} | {"deadly": "deadly"}
    slow = {"slow": True, "concurrent": 6, "deadly": True}
    assert place.run(inputs=inputs, wait=[], **slow) == -9
    assert place.run(wait=list(inputs), **slow) == -9
    before = len(place.entered())
    statuses = [place.run(wait=list(inputs), **slow) for _ in range(2)]
    assert statuses[-1] == 0, place.said()
    results = place.results()
    assert results.pop("deadly")["status"] == "held"
    assert {one["status"] for one in results.values()} == {"completed"}
    # While a suspect is in its node no other suspect enters one.
    inside: set[str] = set()
    for line in place.entered()[before:]:
        if line["node"] != "classify":
            continue
        if line.get("left"):
            inside.discard(line["execution"])
        else:
            assert not inside, f"{line} while {inside} ran"
            inside.add(line["execution"])


@pytest.mark.asyncio
async def test_a_node_in_flight_at_a_stop_is_no_crash(line, line_runtime) -> None:
    nodes = line("middle")
    runtime = line_runtime(nodes, config={"shutdown_timeout_s": 0.2})
    loop = asyncio.get_running_loop()
    for _ in range(4):  # more often than deaths of the process would be forgiven
        async with runtime:
            one = await runtime.trigger("ep", {"number": 3}, execution_id="e")
            await nodes.entered["middle"].wait()
            nodes.entered["middle"].clear()
            began = loop.time()
        assert loop.time() - began < 5.0
    assert nodes.runs == {"first": 1, "middle": 4, "last": 0}
    nodes.open_all()
    async with runtime:
        assert runtime.recovery.recovered == 1
        result = await runtime.wait_for_completion(one, 10)
        assert result.output["answer"] == 7
        assert result.execution_quality == "clean"
        events = runtime.event_bus.get_history(event_type="execution_recovered", limit=100)
    attempts = [json.loads(json.dumps(event.data))["attempt"] for event in events]
    assert sorted(attempts) == [2, 3, 4, 5]


@pytest.mark.asyncio
async def test_a_stop_lets_a_node_in_flight_finish(line, line_runtime) -> None:
    nodes = line("middle")
    runtime = line_runtime(nodes)
    async with runtime:
        one = await runtime.trigger("ep", {"number": 3})
        await nodes.entered["middle"].wait()
        stopping = asyncio.create_task(runtime.stop())
        await asyncio.sleep(0)
        nodes.open_all()
        await stopping
    async with runtime:
        assert (await runtime.wait_for_completion(one, 10)).output["answer"] == 7
    assert nodes.runs == {"first": 1, "middle": 1, "last": 1}
