"""Maps over a list in a real runtime: one run for each element, so many at a time, in order."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from greenroom import (
    EdgeSpec,
    ExecutionResult,
    MapSpec,
    NodeSpec,
    ParallelExecutionConfig,
    Status,
)
from greenroom.protocol.limits import MAP_ITEMS_MAX, MAP_RESULTS_BYTES_MAX

NODES = [
    NodeSpec(id="plan", input_keys=[], max_retries=1),
    NodeSpec(id="work", input_keys=["item"], output_keys=["out"], max_retries=1),
    NodeSpec(id="sum", input_keys=["results"], output_keys=["total"], max_retries=1),
]
OVER = MapSpec(over="list", collect="out")


def edges(over: MapSpec = OVER, **more: Any) -> list[EdgeSpec]:
    """From the plan over the list to the work, and from there to the sum."""
    return [
        EdgeSpec(id="map", source="plan", target="work", map=over, **more),
        EdgeSpec(id="done", source="work", target="sum", condition="on_success"),
    ]


def count(results: list[Any]) -> int:
    return len(results)


def agent(
    lab: Any, work: Callable[..., Any], given: Any, over: MapSpec = OVER, **settings: Any
) -> Any:
    """Plans `given`, works at each element, and counts the results."""
    functions = {"plan": lambda: {"list": given}, "work": work, "sum": count}
    return lab.runtime(functions, NODES, edges(over), terminal=["sum"], **settings)


async def outcome(runtime: Any, **given: Any) -> ExecutionResult:
    """Run one execution, "s", to its end."""
    async with runtime:
        result = await runtime.trigger_and_wait("main", given, 20, execution_id="s")
        assert isinstance(result, ExecutionResult)
        return result


@pytest.mark.asyncio
async def test_results_are_in_order_whatever_order_the_elements_end_in(lab: Any) -> None:
    """The first waits for the last, the second for the one before the last, and so on."""
    ended = [asyncio.Event() for _ in range(8)]
    order: list[int] = []

    async def work(item: int) -> int:
        if item + 1 < len(ended):
            await ended[item + 1].wait()
        order.append(item)
        ended[item].set()
        return item * 10

    result = await outcome(agent(lab, work, list(range(8))))
    assert order == [7, 6, 5, 4, 3, 2, 1, 0]
    assert result.output["results"] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert (result.status, result.output["total"]) == (Status.COMPLETED, 8)


@pytest.mark.asyncio
async def test_at_most_as_many_run_at_a_time_as_concurrency_says(lab: Any, new_gate: Any) -> None:
    """And as many do: a new one begins when one has ended."""
    gate = new_gate()

    async def work(item: int) -> int:
        await gate.wait(item)
        return item

    over = MapSpec(over="list", collect="out", concurrency=3)
    async with agent(lab, work, list(range(10)), over) as runtime:
        execution = await runtime.trigger("main")
        assert await gate.came(3) == [0, 1, 2]
        for number in range(3, 10):
            gate.let_go()
            assert await gate.came() == [number]
        gate.open()
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert gate.most == 3
    assert result.output["results"] == list(range(10))


@pytest.mark.asyncio
async def test_item_index_and_into_name_the_keys(lab: Any) -> None:
    """Without `collect` all that an element wrote is its result, and nothing of it stays."""
    nodes = [
        NodeSpec(id="plan", max_retries=1),
        NodeSpec(id="work", input_keys=["name", "at"], max_retries=1),
        NodeSpec(id="sum", input_keys=["people"], max_retries=1),
    ]
    functions = {
        "plan": lambda: {"names": ["ann", "bob"]},
        "work": lambda name, at: {"greeting": f"{at}: hello {name}", "long": len(name) > 3},
        "sum": lambda people: {"first": people[0]["greeting"]},
    }
    over = MapSpec(over="names", item="name", index="at", into="people")
    result = await outcome(lab.runtime(functions, nodes, edges(over), terminal=["sum"]))
    people = [
        {"greeting": "0: hello ann", "long": False},
        {"greeting": "1: hello bob", "long": False},
    ]
    assert result.output == {"names": ["ann", "bob"], "people": people, "first": "0: hello ann"}


@pytest.mark.asyncio
async def test_a_mapping_of_the_edge_is_what_every_element_gets(lab: Any) -> None:
    """It reads the output of the source, then the memory, and changes no memory but theirs."""
    nodes = [NODES[0], NodeSpec(id="work", input_keys=["item", "by"], max_retries=1), NODES[2]]
    functions = {
        "plan": lambda: {"list": [1, 2], "factor": 7},
        "work": lambda item, by: {"out": item * by},
        "sum": count,
    }
    ways = edges(input_mapping={"by": "factor"})
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["sum"]))
    assert result.output["results"] == [7, 14]
    assert "by" not in result.output


@pytest.mark.parametrize(("given", "results"), [([], []), ([4], [8]), ([None], [None])])
@pytest.mark.asyncio
async def test_a_list_may_have_no_element_or_one(
    lab: Any, given: list[Any], results: list[Any]
) -> None:
    nodes = [NODES[0], NodeSpec(id="work", input_keys=["item"], max_retries=1), NODES[2]]
    functions = {
        "plan": lambda: {"list": given},
        "work": lambda item=None: {"out": None if item is None else item * 2},
        "sum": count,
    }
    result = await outcome(lab.runtime(functions, nodes, edges(), terminal=["sum"]))
    assert (result.status, result.output["results"]) == (Status.COMPLETED, results)
    assert result.output["total"] == len(given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"list": "abc"}, "'list' is not a list"),
        ({"list": {"a": 1}}, "'list' is not a list"),
        ({"other": [1]}, "there is no 'list' to map over"),
        ({"list": [0] * (MAP_ITEMS_MAX + 1)}, f"'list' has {MAP_ITEMS_MAX + 1} elements"),
    ],
)
@pytest.mark.asyncio
async def test_what_cannot_be_mapped_over_is_an_edge_that_cannot_be_taken(
    lab: Any, given: dict[str, Any], why: str
) -> None:
    """An event says why; with no other way to take the execution has failed, and says it too."""
    functions = {"plan": lambda: given, "work": lambda item: 1, "sum": count}
    told: list[Any] = []
    async with lab.runtime(functions, NODES, edges(), terminal=["sum"]) as runtime:
        heard = runtime.subscribe_to_events(["edge_error"], told.append)
        result = await runtime.trigger_and_wait("main", timeout=20)
        await runtime.event_bus.settled(heard)
    assert result.status is Status.FAILED
    assert why in result.error
    assert [(one.data["edge"], why in one.data["error"]) for one in told] == [("map", True)]


@pytest.mark.asyncio
async def test_what_cannot_be_mapped_over_can_have_a_way_of_its_own(lab: Any) -> None:
    functions = {
        "plan": lambda: {"list": None},
        "work": lambda item: 1,
        "sum": count,
        "nothing": lambda: "no list",
    }
    nodes = [*NODES, NodeSpec(id="nothing", output_keys=["said"])]
    ways = [
        *edges(condition="conditional", condition_expr="true"),
        EdgeSpec(id="o", source="plan", target="nothing", condition="otherwise"),
    ]
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["sum", "nothing"]))
    assert (result.status, result.output["said"]) == (Status.COMPLETED, "no list")


@pytest.mark.asyncio
async def test_results_over_the_limit_fail_with_the_size_and_the_way_out(lab: Any) -> None:
    """Each of them would be small enough."""
    share = MAP_RESULTS_BYTES_MAX // 20

    def work(item: int) -> str:
        return "x" * share

    result = await outcome(agent(lab, work, list(range(21))))
    assert result.status is Status.FAILED
    assert f"may have {MAP_RESULTS_BYTES_MAX}: let each return less" in result.error
    assert "results" not in result.output


def flaky(item: int) -> int:
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item


@pytest.mark.parametrize("policy", ["fail_all", "continue_others", "wait_all"])
@pytest.mark.asyncio
async def test_a_policy_says_what_failed_elements_mean(lab: Any, policy: str) -> None:
    """One by one, so that it is known which ones ran."""
    ran: list[int] = []

    def work(item: int) -> int:
        ran.append(item)
        return flaky(item)

    nodes = [
        NodeSpec(
            id="plan",
            max_retries=1,
            parallel=ParallelExecutionConfig(on_branch_failure=policy),
        ),
        *NODES[1:],
    ]
    over = MapSpec(over="list", collect="out", concurrency=1)
    functions = {"plan": lambda: {"list": list(range(5))}, "work": work, "sum": count}
    told: list[Any] = []
    async with lab.runtime(functions, nodes, edges(over), terminal=["sum"]) as runtime:
        heard = runtime.subscribe_to_events(["branch_failed"], told.append)
        result = await runtime.trigger_and_wait("main", timeout=20)
        await runtime.event_bus.settled(heard)
    failed = [(one.data["branch"], "is odd" in one.data["error"]) for one in told]
    if policy == "fail_all":
        assert (ran, failed) == ([0, 1], [(1, True)])
    else:
        assert (ran, failed) == ([0, 1, 2, 3, 4], [(1, True), (3, True)])
    if policy == "continue_others":
        assert (result.status, result.output["total"]) == (Status.COMPLETED, 5)
        assert result.output["results"] == [0, None, 2, None, 4]
        assert result.execution_quality == "degraded"
    else:
        assert result.status is Status.FAILED
        assert "1 is odd" in result.error
        assert ("3 is odd" in result.error) == (policy == "wait_all")


@pytest.mark.asyncio
async def test_when_all_elements_fail_so_does_the_map_under_every_policy(lab: Any) -> None:
    nodes = [
        NodeSpec(id="plan", parallel=ParallelExecutionConfig(on_branch_failure="continue_others")),
        *NODES[1:],
    ]
    functions = {"plan": lambda: {"list": [1, 3]}, "work": flaky, "sum": count}
    result = await outcome(lab.runtime(functions, nodes, edges(), terminal=["sum"]))
    assert result.status is Status.FAILED
    assert "1 is odd" in result.error
    assert "3 is odd" in result.error


@pytest.mark.asyncio
async def test_a_limit_of_visits_counts_for_each_element_anew(lab: Any) -> None:
    """A limit of one would else skip the second element."""
    runs: Counter[int] = Counter()

    def work(item: int) -> dict[str, int]:
        runs[item] += 1
        return {"out": runs[item]}

    nodes = [
        NODES[0],
        NodeSpec(
            id="work", input_keys=["item"], output_keys=["out"], max_node_visits=2, max_retries=1
        ),
        NODES[2],
    ]
    ways = [
        EdgeSpec(
            id="map",
            source="plan",
            target="work",
            map=MapSpec(over="list", collect="out", until="sum"),
        ),
        EdgeSpec(
            id="again",
            source="work",
            target="work",
            condition="conditional",
            condition_expr="output.out < 2 and memory.item != 'b'",
        ),
        EdgeSpec(id="done", source="work", target="sum", condition="otherwise"),
    ]
    functions = {"plan": lambda: {"list": ["a", "b", "c"]}, "work": work, "sum": count}
    runtime = lab.runtime(functions, nodes, ways, terminal=["sum"], max_steps=20)
    result = await outcome(runtime)
    assert runs == {"a": 2, "b": 1, "c": 2}
    assert result.output["results"] == [2, 1, 2]


@pytest.mark.asyncio
async def test_nobody_sees_what_another_element_writes(lab: Any) -> None:
    """Each sees the memory from before the map, and its own writes over it."""
    seen: list[tuple[int, Any]] = []
    both = asyncio.Barrier(3)

    async def work(item: int, note: Any) -> dict[str, Any]:
        seen.append((item, note))
        await both.wait()
        return {"note": item, "out": 0}

    async def check(item: int, note: Any) -> int:
        seen.append((item, note))
        return item

    nodes = [
        NodeSpec(id="plan", output_keys=["list", "note"]),
        NodeSpec(id="work", input_keys=["item", "note"], output_keys=["note", "out"]),
        NodeSpec(id="check", input_keys=["item", "note"], output_keys=["out"]),
        NODES[2],
    ]
    ways = [
        EdgeSpec(id="map", source="plan", target="work", map=MapSpec(over="list", until="sum")),
        EdgeSpec(id="next", source="work", target="check"),
        EdgeSpec(id="done", source="check", target="sum"),
    ]
    functions = {
        "plan": lambda: {"list": [1, 2, 3], "note": "before"},
        "work": work,
        "check": check,
        "sum": count,
    }
    result = await outcome(lab.runtime(functions, nodes, ways, terminal=["sum"]))
    assert result.status is Status.COMPLETED, result.error
    assert Counter(seen) == Counter((n, note) for n in (1, 2, 3) for note in ("before", n))
    assert [one["note"] for one in result.output["results"]] == [1, 2, 3]
    assert result.output["note"] == "before"


@pytest.mark.asyncio
async def test_a_map_of_a_thousand_elements_holds_only_those_that_run(lab: Any) -> None:
    """Counted inside of the nodes, and in the state as each hundredth of its records left it."""
    inside = most = 0

    async def work(item: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return -item

    over = MapSpec(over="list", collect="out", concurrency=50)
    result = await outcome(agent(lab, work, list(range(1_000)), over, max_steps=1_002))
    assert result.output["results"] == [-item for item in range(1_000)]
    assert (result.steps_executed, 1 < most <= 50) == (1_002, True)
    for seq in range(50, 950, 100):
        state = lab.look("s", seq=seq)
        assert len(state.tokens) == len(state.branching.branches) == 50
        assert state.branching.overlays == {}
        assert [len(one) for one in state.branching.results.values()] == [seq - 2]
