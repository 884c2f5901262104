"""Functions in whole runtimes: what they are given, where they run, what they may return."""

import asyncio
import logging
import threading
from itertools import pairwise
from typing import Any

import pytest

from greenroom import EdgeSpec, EntryPointSpec, NodeSpec
from greenroom.actors.kernel.testkit import Condition
from greenroom.protocol.errors import InvalidGraph
from greenroom.protocol.execution import Status


async def _run(runtime: Any, data: dict[str, Any] | None = None) -> Any:
    async with runtime:
        async with asyncio.timeout(20):
            return await runtime.trigger_and_wait("main", data)


def _chain(*nodes: NodeSpec) -> dict[str, Any]:
    edges = [
        EdgeSpec(id=f"{one.id}-{two.id}", source=one.id, target=two.id)
        for one, two in pairwise(nodes)
    ]
    return {"nodes": list(nodes), "edges": edges}


@pytest.mark.asyncio
async def test_async_plain_and_inline_functions_run_where_they_should(lab: Any) -> None:
    here = threading.get_ident()
    seen: dict[str, tuple[bool, bool]] = {}

    def note(name: str) -> None:
        running = asyncio._get_running_loop() is not None
        seen[name] = (threading.get_ident() == here, running)

    async def on_loop() -> None:
        note("on_loop")

    def in_pool() -> None:
        note("in_pool")

    def inline() -> None:
        note("inline")

    functions = {"on_loop": on_loop, "in_pool": in_pool, "inline": inline}
    nodes = [NodeSpec(id="on_loop"), NodeSpec(id="in_pool"), NodeSpec(id="inline", inline=True)]
    result = await _run(lab.runtime(functions, **_chain(*nodes)))
    assert result.path == ["on_loop", "in_pool", "inline"]
    assert seen == {"on_loop": (True, True), "in_pool": (False, False), "inline": (True, True)}


@pytest.mark.asyncio
async def test_a_function_gets_its_declared_inputs_defaults_and_its_context(lab: Any) -> None:
    got: dict[str, Any] = {}

    async def work(ctx: Any, a: int, b: int = 7, **more: Any) -> None:
        got.update(a=a, b=b, more=more, ctx=ctx)

    node = NodeSpec(id="work", input_keys=["a", "b", "c"])
    runtime = lab.runtime({"work": work}, nodes=[node])
    result = await _run(runtime, {"a": 1, "c": [2], "hidden": 3})
    assert (got["a"], got["b"], got["more"]) == (1, 7, {"c": [2]})
    ctx = got["ctx"]
    assert (ctx.execution_id, ctx.node_id) == (result.execution_id, "work")
    assert (ctx.stream_id, ctx.entry_point) == ("main", "main")
    assert (ctx.visit, ctx.attempt) == (1, 1)
    assert ctx.correlation_id == result.execution_id
    assert ctx.goal.id == "goal"


@pytest.mark.parametrize(
    ("output_keys", "value", "output"),
    [
        ([], 7, {"result": 7}),
        ([], {"x": 1, "y": 2}, {"x": 1, "y": 2}),
        (["x"], 7, {"x": 7}),
        (["x"], {"other": 1}, {"x": {"other": 1}}),
        (["x", "y"], {"x": 1, "y": (2, 3)}, {"x": 1, "y": [2, 3]}),
        ([], None, {}),
    ],
)
@pytest.mark.asyncio
async def test_what_a_function_returns_becomes_memory(
    lab: Any, output_keys: list[str], value: Any, output: dict[str, Any]
) -> None:
    node = NodeSpec(id="work", output_keys=output_keys)
    result = await _run(lab.runtime({"work": lambda: value}, nodes=[node]))
    assert (result.status, result.output) == (Status.COMPLETED, output)


@pytest.mark.parametrize(
    ("node", "value", "text"),
    [
        ({"output_keys": ["x"]}, {"x": 1, "y": 2}, "Not allowed to write key: y"),
        ({"output_keys": ["x", "y"]}, {"x": 1}, "missing output key 'y'"),
        ({"output_keys": ["x"]}, None, "missing output key 'x'"),
        ({"output_keys": ["x"]}, "  ", "output key 'x' is blank"),
        ({"output_keys": ["x"]}, {"x": None}, "output key 'x' is None"),
        ({}, {"a": {"b": [1, object()]}}, r"$.a.b[1]"),
        ({}, {"a": float("nan")}, "$.a"),
        ({}, {"a": "x" * (1024 * 1024 + 1)}, "over the limit of 1048576"),
        ({"input_keys": ["gone"]}, None, "input 'gone' of node 'work' is not in memory"),
    ],
)
@pytest.mark.asyncio
async def test_what_cannot_be_stored_or_is_missing_fails_the_node_with_its_path(
    lab: Any, node: dict[str, Any], value: Any, text: str
) -> None:
    """B20: never "success, nothing written"."""

    async def work(gone: Any) -> Any:
        return value

    async def plain() -> Any:
        return value

    spec = NodeSpec(id="work", max_retries=1, **node)
    runtime = lab.runtime({"work": work if spec.input_keys else plain}, nodes=[spec])
    result = await _run(runtime)
    assert (result.status, result.output) == (Status.FAILED, {})
    assert result.error.startswith("Node 'work' failed after 1 attempts: ")
    assert text in result.error


@pytest.mark.asyncio
async def test_nullable_outputs_may_be_missing(lab: Any) -> None:
    node = NodeSpec(id="work", output_keys=["x", "y"], nullable_output_keys=["y"])
    result = await _run(lab.runtime({"work": lambda: {"x": 1}}, nodes=[node]))
    assert (result.status, result.output["x"]) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.asyncio
async def test_whatever_a_node_raises_stays_in_its_execution(
    lab: Any, error: BaseException, plain: bool
) -> None:
    async def raising() -> None:
        raise error

    def raising_plainly() -> None:
        raise error

    async def good() -> str:
        return "done"

    nodes = [NodeSpec(id="work", max_retries=1), NodeSpec(id="good")]
    edges = [EdgeSpec(id="e", source="work", target="good", condition="on_failure")]
    function = raising_plainly if plain else raising
    runtime = lab.runtime({"work": function, "good": good}, nodes=nodes, edges=edges)
    async with runtime:
        for _ in range(2):
            async with asyncio.timeout(20):
                result = await runtime.trigger_and_wait("main")
            assert (result.status, result.path) == (Status.COMPLETED, ["work", "good"])
            assert result.nodes_with_failures == ["work"]
        assert runtime.get_stats()["streams"]["main"]["restarts"] == 0


@pytest.mark.asyncio
async def test_a_mutable_input_or_output_is_shared_with_nobody(lab: Any) -> None:
    kept: list[Any] = []

    async def first(items: list[int]) -> dict[str, Any]:
        items.append(2)
        kept.append(items)
        return {"items": items}

    async def second(items: list[int]) -> dict[str, Any]:
        kept[0].append(99)
        items.append(3)
        return {"more": items}

    nodes = [
        NodeSpec(id="first", input_keys=["items"], output_keys=["items"]),
        NodeSpec(id="second", input_keys=["items"], output_keys=["more"]),
    ]
    given = [1]
    result = await _run(
        lab.runtime({"first": first, "second": second}, **_chain(*nodes)), {"items": given}
    )
    assert given == [1]
    assert result.output == {"items": [1, 2], "more": [1, 2, 3]}


@pytest.mark.parametrize(
    ("function", "node", "text"),
    [
        (lambda: None, {"input_keys": ["a"]}, "has no parameter for input key 'a'"),
        (lambda a: None, {}, "needs parameters ['a'] that are not among the node's input_keys"),
        (lambda a, /: None, {}, "can only be given by position"),
    ],
)
@pytest.mark.asyncio
async def test_functions_that_do_not_fit_their_node_keep_the_runtime_from_starting(
    lab: Any, function: Any, node: dict[str, Any], text: str
) -> None:
    runtime = lab.runtime({"work": function}, nodes=[NodeSpec(id="work", **node)])
    with pytest.raises(InvalidGraph) as caught:
        await runtime.start()
    assert text in str(caught.value)
    assert caught.value.problems
    assert not runtime.is_running
    assert not (lab.folder / "store").exists()


@pytest.mark.asyncio
async def test_writes_of_the_context_are_outputs_and_a_failed_attempt_leaves_none(lab: Any) -> None:
    async def work(ctx: Any) -> None:
        await ctx.write("x", ctx.attempt)
        if ctx.attempt == 1:
            await ctx.write("y", "of the failed attempt")
            raise ValueError("once")

    node = NodeSpec(
        id="work", output_keys=["x", "y"], nullable_output_keys=["y"], backoff_initial_s=0
    )
    result = await _run(lab.runtime({"work": work}, nodes=[node]))
    assert result.status is Status.COMPLETED
    assert result.output["x"] == 2
    assert result.output.get("y") is None


class _OnReport(logging.Handler):
    """Keeps what is logged, and says that something was."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.came.set()


@pytest.mark.asyncio
async def test_a_node_that_blocks_the_loop_is_reported_with_its_stack_while_it_blocks(
    lab: Any,
) -> None:
    report = _OnReport()
    watchdog = logging.getLogger("greenroom.watchdog")

    async def work() -> bool:
        return report.came.wait(20)  # the report itself ends the blocking

    watchdog.addHandler(report)
    try:
        result = await _run(lab.runtime({"work": work}))
    finally:
        watchdog.removeHandler(report)
    assert result.output == {"result": True}
    assert any("report.came.wait(20)" in text for text in report.texts)


@pytest.mark.asyncio
async def test_plain_nodes_that_block_delay_no_other_entry_point(lab: Any) -> None:
    """B28: the loops go on while the pool is busy."""
    go, here = threading.Event(), Condition()

    def block() -> None:
        here.add()
        go.wait(20)

    async def quick() -> str:
        return "done"

    nodes = [NodeSpec(id="block"), NodeSpec(id="quick")]
    points = [EntryPointSpec(id=node.id, entry_node=node.id) for node in nodes]
    functions = {"block": block, "quick": quick}
    async with lab.runtime(functions, nodes=nodes, entry_points=points) as runtime:
        blocked = [await runtime.trigger("block") for _ in range(5)]
        await asyncio.to_thread(here.wait, 5)
        async with asyncio.timeout(20):
            for _ in range(20):
                assert (await runtime.trigger_and_wait("quick")).success
        go.set()
        for one in blocked:
            assert (await runtime.wait_for_completion(one, timeout=20)).success
