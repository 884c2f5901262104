"""Retries, backoff and the edges for failures (B17), through whole runtimes."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from greenroom import EdgeSpec, NodeSpec
from greenroom.protocol.errors import NodeFailed
from greenroom.protocol.execution import Status


class Hopeless(NodeFailed):
    """Of no use to try again."""

    retryable = False


def _failing(times: int, error: type[Exception] = ValueError) -> tuple[Any, list[int]]:
    attempts: list[int] = []

    async def work(ctx: Any) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) <= times:
            raise error("broken")
        return "done"

    return work, attempts


async def _run(lab: Any, work: Any, **node: Any) -> Any:
    spec = NodeSpec(id="work", **{"backoff_initial_s": 0, **node})
    async with lab.runtime({"work": work}, nodes=[spec]) as runtime, asyncio.timeout(20):
        return await runtime.trigger_and_wait("main")


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 1), (2, 2), (3, 3)])
@pytest.mark.asyncio
async def test_max_retries_counts_attempts(lab: Any, retries: int, attempts: int) -> None:
    work, seen = _failing(99)
    result = await _run(lab, work, max_retries=retries)
    assert seen == list(range(1, attempts + 1))
    assert (result.status, result.success) == (Status.FAILED, False)
    assert result.error == f"Node 'work' failed after {attempts} attempts: broken"
    assert (result.retry_details, result.total_retries) == ({"work": attempts}, attempts - 1)
    assert (result.steps_executed, result.node_visit_counts) == (1, {"work": 1})


@pytest.mark.asyncio
async def test_success_after_failures_is_degraded(lab: Any) -> None:
    work, seen = _failing(2)
    result = await _run(lab, work)
    assert seen == [1, 2, 3]
    assert (result.status, result.output) == (Status.COMPLETED, {"result": "done"})
    assert (result.execution_quality, result.is_degraded_success) == ("degraded", True)
    assert (result.total_retries, result.nodes_with_failures) == (2, ["work"])
    assert result.had_partial_failures


@pytest.mark.asyncio
async def test_a_backoff_grows_and_its_attempts_come(lab: Any) -> None:
    loop, times = asyncio.get_running_loop(), []

    async def work() -> str:
        times.append(loop.time())
        if len(times) < 4:
            raise ValueError("broken")
        return "done"

    result = await _run(
        lab, work, max_retries=4, backoff_initial_s=0.02, backoff_factor=3, backoff_max_s=0.05
    )
    assert result.status is Status.COMPLETED
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert [wait >= least for wait, least in zip(waits, (0.02, 0.05, 0.05), strict=True)] == (
        [True] * 3
    )


@pytest.mark.asyncio
async def test_a_long_backoff_frees_its_permit_and_goes_on(lab: Any) -> None:
    """From 1 s on the execution waits in the store, and another one runs meanwhile."""
    order: list[str] = []

    async def work(name: str) -> str:
        order.append(name)
        if order == ["first"]:
            raise ValueError("broken")
        return name

    spec = NodeSpec(id="work", input_keys=["name"], backoff_initial_s=1.0)
    async with (
        lab.runtime({"work": work}, nodes=[spec], max_concurrent_executions=1) as runtime,
        asyncio.timeout(20),
    ):
        await runtime.trigger("main", {"name": "first"}, execution_id="first")
        first = asyncio.ensure_future(runtime.wait_for_completion("first"))
        second = await runtime.trigger_and_wait("main", {"name": "second"})
        assert not first.done()
        assert second.success
        assert (await first).is_degraded_success
    assert order == ["first", "second", "first"]


@pytest.mark.parametrize(
    ("retry_on", "attempts"),
    [
        (["ValueError"], 3),
        (["Exception"], 3),
        (["KeyError"], 1),
        (["KeyError", "ValueError"], 3),
        ([], 3),
    ],
)
@pytest.mark.asyncio
async def test_retry_on_names_what_is_worth_another_attempt(
    lab: Any, retry_on: list[str], attempts: int
) -> None:
    work, seen = _failing(99)
    result = await _run(lab, work, retry_on=retry_on)
    assert (result.status, len(seen)) == (Status.FAILED, attempts)


@pytest.mark.parametrize(("error", "attempts"), [(Hopeless, 1), (NodeFailed, 3)])
@pytest.mark.asyncio
async def test_an_error_that_is_not_retryable_is_not_retried(
    lab: Any, error: type[Exception], attempts: int
) -> None:
    work, seen = _failing(99, error)
    result = await _run(lab, work)
    assert (result.status, len(seen)) == (Status.FAILED, attempts)


@pytest.mark.asyncio
async def test_a_node_that_raises_gets_its_retries_and_then_its_on_failure_edge(lab: Any) -> None:
    """B17, and the next node learns why."""
    work, seen = _failing(99)

    async def mend(error: str) -> dict[str, str]:
        return {"mended": error}

    nodes = [
        NodeSpec(id="work", max_retries=2, backoff_initial_s=0.01),
        NodeSpec(id="mend", input_keys=["error"]),
        NodeSpec(id="next"),
    ]
    edges = [
        EdgeSpec(id="ok", source="work", target="next", condition="on_success"),
        EdgeSpec(
            id="bad",
            source="work",
            target="mend",
            condition="on_failure",
            input_mapping={"error": "error"},
        ),
    ]
    functions = {"work": work, "mend": mend, "next": mend}
    runtime = lab.runtime({**functions, "next": lambda: None}, nodes=nodes, edges=edges)
    async with runtime:
        result = await runtime.trigger_and_wait("main")
    assert seen == [1, 2]
    assert (result.status, result.path) == (Status.COMPLETED, ["work", "mend"])
    assert result.output["mended"] == "broken"
    assert (result.execution_quality, result.retry_details) == ("degraded", {"work": 2})


@pytest.mark.asyncio
async def test_one_failing_execution_harms_no_other(lab: Any) -> None:
    async def work(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number

    spec = NodeSpec(id="work", input_keys=["number"], max_retries=2, backoff_initial_s=0)
    async with lab.runtime({"work": work}, nodes=[spec]) as runtime:
        results = await asyncio.gather(
            *(runtime.trigger_and_wait("main", {"number": one}) for one in range(40))
        )
        assert [one.success for one in results] == [True, False] * 20
        counts = runtime.get_stats()["streams"]["main"]["status_counts"]
        assert counts == {"completed": 20, "failed": 20}
