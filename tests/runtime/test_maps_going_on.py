"""Maps with more in them, and maps that are interrupted: by crashes, failures and restarts."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from greenroom import (
    CheckpointConfig,
    EdgeSpec,
    ExecutionResult,
    MapSpec,
    NodeSpec,
    ParallelExecutionConfig,
    Status,
)

OVER = MapSpec(over="list", collect="out")


def node(name: str, *inputs: str, **more: Any) -> NodeSpec:
    """A node that reads `inputs`, is run once, and writes what it likes."""
    return NodeSpec(id=name, input_keys=list(inputs), **{"max_retries": 1, **more})


def way(source: str, target: str, **more: Any) -> EdgeSpec:
    """Taken after a success."""
    return EdgeSpec(
        id=f"{source}-{target}",
        source=source,
        target=target,
        **{"condition": "on_success", **more},
    )


def agent(lab: Any, work: Callable[..., Any], given: list[Any], **more: Any) -> Any:
    """Plans a list, works at its elements two at a time, and ends."""
    over = MapSpec(over="list", collect="out", concurrency=2)
    nodes = [node("plan"), node("work", "item"), node("end", "results")]
    nodes[0] = node("plan", parallel=more.pop("parallel", None))
    return lab.runtime(
        {"plan": lambda: {"list": given}, "work": work, "end": lambda results: None},
        nodes,
        [way("plan", "work", map=over), way("work", "end")],
        terminal=["end"],
        **more,
    )


async def outcome(runtime: Any) -> ExecutionResult:
    """Run one execution to its end."""
    async with runtime:
        result = await runtime.trigger_and_wait("main", timeout=20, execution_id="s")
        assert isinstance(result, ExecutionResult)
        return result


@pytest.mark.asyncio
async def test_several_nodes_with_a_router_among_them_run_for_each_element(lab: Any) -> None:
    """`until` is the node behind the last; each element goes its own way to it."""
    nodes = [
        node("plan"),
        node("read", "item", output_keys=["size"]),
        NodeSpec(
            id="which",
            node_type="router",
            routes={"small": "short", "default": "long"},
            route_on="size",
        ),
        node("short", "item", output_keys=["out"]),
        node("long", "item", output_keys=["out"]),
        node("end", "results"),
    ]
    ways = [
        way("plan", "read", map=MapSpec(over="list", collect="out", until="end")),
        way("read", "which"),
        way("short", "end"),
        way("long", "end"),
    ]
    functions = {
        "plan": lambda: {"list": ["a", "bcd", "e"]},
        "read": lambda item: "small" if len(item) == 1 else "large",
        "short": lambda item: f"{item}!",
        "long": lambda item: f"{item[0]}...",
        "end": lambda results: {"text": " ".join(results)},
    }
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["end"]))
    assert result.output["text"] == "a! b... e!"
    assert result.node_visit_counts == {
        "plan": 1,
        "read": 3,
        "which": 3,
        "short": 2,
        "long": 1,
        "end": 1,
    }


@pytest.mark.asyncio
async def test_until_ends_the_runs_before_the_node_at_which_all_ways_meet(lab: Any) -> None:
    nodes = [node("plan"), node("work", "item"), node("sum", "results"), node("end", "total")]
    ways = [
        way("plan", "work", map=MapSpec(over="list", collect="out", until="end")),
        way("work", "sum"),
        way("sum", "end"),
    ]
    functions = {
        "plan": lambda: {"list": [1, 2], "results": ["from before"], "total": 0},
        "work": lambda item: {"middle": item},
        "sum": lambda results: {"out": results[0]},
        "end": lambda total: None,
    }
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["end"]))
    assert result.output["results"] == ["from before", "from before"]
    assert result.node_visit_counts == {"plan": 1, "work": 2, "sum": 2, "end": 1}


@pytest.mark.asyncio
async def test_an_element_that_fails_is_tried_again_and_the_others_are_not(lab: Any) -> None:
    runs: Counter[int] = Counter()

    def work(item: int) -> dict[str, int]:
        runs[item] += 1
        if item == 2 and runs[item] < 3:
            raise ValueError("not yet")
        return {"out": runs[item]}

    nodes = [
        node("plan"),
        node("work", "item", max_retries=3, backoff_initial_s=0.0),
        node("end", "results"),
    ]
    functions = {"plan": lambda: {"list": [1, 2, 3]}, "work": work, "end": lambda results: None}
    ways = [way("plan", "work", map=OVER), way("work", "end")]
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["end"]))
    assert (result.output["results"], result.retry_details) == ([1, 3, 1], {"work": 2})


@pytest.mark.asyncio
async def test_a_map_in_a_map_runs_for_each_element_of_each_list(lab: Any) -> None:
    inner = MapSpec(over="row", item="cell", collect="out", into="cells")
    nodes = [
        node("plan"),
        node("open", "item", output_keys=["row"]),
        node("work", "cell", "item", output_keys=["out"]),
        node("close", "cells", output_keys=["line"]),
        node("end", "results"),
    ]
    ways = [
        way("plan", "open", map=MapSpec(over="list", collect="line", until="end")),
        way("open", "work", map=inner),
        way("work", "close"),
        way("close", "end"),
    ]
    functions = {
        "plan": lambda: {"list": [0, 1, 2, 3]},
        "open": lambda item: list(range(item)),
        "work": lambda cell, item: 10 * item + cell,
        "close": lambda cells: {"line": cells},
        "end": lambda results: None,
    }
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["end"]))
    assert result.status is Status.COMPLETED, result.error
    assert result.output["results"] == [[], [10], [20, 21], [30, 31, 32]]
    assert "cells" not in result.output


@pytest.mark.asyncio
async def test_a_map_may_be_one_branch_of_several(lab: Any) -> None:
    """Its list is in memory where the branches join, beside what the others wrote."""
    nodes = [
        node("plan"),
        node("work", "item"),
        node("after", "results", output_keys=["most"]),
        node("aside", output_keys=["note"]),
        node("end", "most", "note"),
    ]
    ways = [
        way("plan", "work", map=OVER),
        way("plan", "aside"),
        way("work", "after"),
        way("after", "end"),
        way("aside", "end"),
    ]
    functions = {
        "plan": lambda: {"list": [3, 5, 4]},
        "work": lambda item: {"out": item * item},
        "after": max,
        "aside": lambda: "beside",
        "end": lambda most, note: {"text": f"{note}: {most}"},
    }
    functions["after"] = lambda results: max(results)
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["end"]))
    assert result.status is Status.COMPLETED, result.error
    assert result.output["text"] == "beside: 25"
    assert result.output["results"] == [9, 25, 16]
    assert result.node_visit_counts == {"plan": 1, "work": 3, "after": 1, "aside": 1, "end": 1}


class Work:
    """Counts the runs of each element; those of `held` wait until they are let go."""

    def __init__(self, gate: Any, held: set[int]) -> None:
        self.gate = gate
        self.held = held
        self.begun: Counter[int] = Counter()
        self.over: asyncio.Queue[int] = asyncio.Queue()

    async def __call__(self, item: int) -> dict[str, int]:
        self.begun[item] += 1
        try:
            if item in self.held:
                await self.gate.wait(item)
        finally:
            self.over.put_nowait(item)
        return {"out": item}


@pytest.mark.asyncio
async def test_after_a_crash_of_the_stream_only_the_elements_in_flight_run_again(
    lab: Any, new_gate: Any
) -> None:
    work = Work(new_gate(), {3, 4})
    async with agent(lab, work, list(range(8))) as runtime:
        execution = await runtime.trigger("main")
        assert sorted(await work.gate.came(2)) == [3, 4]
        stream = runtime.get_stream("main")
        stream.ref.kill()
        await stream.ref.ready()
        assert sorted(await work.gate.came(2)) == [3, 4]
        work.gate.open()
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert result.output["results"] == list(range(8))
    assert work.begun == {**dict.fromkeys(range(8), 1), 3: 2, 4: 2}


@pytest.mark.asyncio
async def test_after_a_restart_of_the_process_a_map_goes_on_where_it_was(
    lab: Any, new_gate: Any
) -> None:
    """A stop waits for nobody who does not end in time, so those run again."""
    work = Work(new_gate(), {3, 4})
    async with agent(lab, work, list(range(8)), shutdown_timeout_s=0.0) as runtime:
        await runtime.trigger("main", execution_id="s")
        assert sorted(await work.gate.came(2)) == [3, 4]
    work.held.clear()
    async with agent(lab, work, list(range(8))) as runtime:
        result = await runtime.wait_for_completion("s", timeout=20)
    assert result.output["results"] == list(range(8))
    assert work.begun == {**dict.fromkeys(range(8), 1), 3: 2, 4: 2}


@pytest.mark.parametrize("policy", ["fail_all", "wait_all"])
@pytest.mark.asyncio
async def test_a_failed_map_that_is_resumed_runs_only_what_is_left(lab: Any, policy: str) -> None:
    """What was done is not done again; what had failed, and what had not begun, is done."""
    begun: Counter[int] = Counter()
    broken = {2}

    def work(item: int) -> dict[str, int]:
        begun[item] += 1
        if item in broken:
            raise ValueError("broken")
        return {"out": item}

    parallel = ParallelExecutionConfig(on_branch_failure=policy)
    async with agent(lab, work, list(range(6)), parallel=parallel) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20, execution_id="s")
        assert (result.status, "broken" in result.error) == (Status.FAILED, True)
        done = {item for item in begun if item != 2}
    broken.clear()
    async with agent(lab, work, list(range(6)), parallel=parallel) as runtime:
        await runtime.resume("s")
        result = await runtime.wait_for_completion("s", timeout=20)
    assert (result.status, result.error) == (Status.COMPLETED, None)
    assert result.output["results"] == list(range(6))
    assert begun[2] == 2
    if policy == "wait_all":
        assert begun == {**dict.fromkeys(range(6), 1), 2: 2}
    else:  # the one beside it was stopped, unless it had just ended
        assert all(begun[item] == 1 for item in done if item < 2)


@pytest.mark.asyncio
async def test_a_checkpoint_in_the_middle_of_a_map_leads_back_to_there(
    lab: Any, new_gate: Any
) -> None:
    """The elements that were done then are not run again; those after it are."""
    work = Work(new_gate(), {3, 4})
    policy = CheckpointConfig()
    async with agent(lab, work, list(range(8)), checkpoint_config=policy) as runtime:
        await runtime.trigger("main", execution_id="s")
        await work.gate.came(2)
        made = await runtime.create_checkpoint("s", "three are done")
        work.gate.open()
        result = await runtime.wait_for_completion("s", timeout=20)
        assert result.status is Status.COMPLETED
        loaded = runtime.load_checkpoint("s", made.checkpoint_id)
        assert loaded.next_nodes == ["work", "work"]
        assert "results" not in loaded.shared_memory
        await runtime.resume("s", from_checkpoint=made.checkpoint_id)
        result = await runtime.wait_for_completion("s", timeout=20)
        assert (result.status, result.output["results"]) == (Status.COMPLETED, list(range(8)))
        assert work.begun == {item: 1 if item < 3 else 2 for item in range(8)}
        ends = runtime.list_checkpoints("s", "node_complete", limit=100)
        assert Counter(one.current_node for one in ends)["work"] >= 8


@pytest.mark.asyncio
async def test_a_cancelled_map_stops_all_its_elements(lab: Any, new_gate: Any) -> None:
    work = Work(new_gate(), set(range(8)))
    async with agent(lab, work, list(range(8))) as runtime:
        execution = await runtime.trigger("main")
        await work.gate.came(2)
        await runtime.cancel_execution("main", execution)
        result = await runtime.wait_for_completion(execution, timeout=20)
        assert result.status is Status.CANCELLED
        async with asyncio.timeout(20):
            assert sorted([await work.over.get() for _ in range(2)]) == [0, 1]
    assert sorted(work.begun) == [0, 1]
