"""Bad input: a typed error that says what and where, nothing half started, all else goes on."""

import asyncio
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

import lmdb
import pytest

from greenroom import (
    AgentRuntimeConfig,
    CheckpointConfig,
    EdgeSpec,
    EntryPointSpec,
    Goal,
    GraphSpec,
    GreenroomError,
    NodeSpec,
    create_agent_runtime,
)
from greenroom.protocol.errors import (
    EntryPointNotFound,
    InvalidConfig,
    InvalidGraph,
    InvalidId,
    InvalidValue,
    PortInUse,
    StorageError,
    StoreCorrupt,
    StoreTooNew,
    UnsupportedSetting,
    ValueTooLarge,
)

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  on purpose
ROUTE = {"source_id": "hook", "path": "/hook"}


def _write_format(store: Path, number: int) -> None:
    environment = lmdb.open(str(store), max_dbs=20, lib_version=0)
    table = environment.open_db(b"meta")
    with environment.begin(write=True) as txn:
        txn.put(b"format", number.to_bytes(8, "big"), db=table)
    environment.close()


async def _work() -> str:
    return "done"


def _node(name: str = "a", **settings: Any) -> NodeSpec:
    return NodeSpec(id=name, **settings)


def _edge(source: str, target: str, **settings: Any) -> EdgeSpec:
    return EdgeSpec(id=f"{source}-{target}", source=source, target=target, **settings)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nodes": [_node(), _node()]}, "node id 'a' is used 2 times"),
        ({"edges": [_edge("a", "nowhere")]}, "edge 'a-nowhere': target names node 'nowhere'"),
        ({"edges": [_edge("nowhere", "a")]}, "edge 'nowhere-a': source names node 'nowhere'"),
        ({"entry_node": "nowhere"}, "entry_node names node 'nowhere'"),
        ({"terminal_nodes": ["nowhere"]}, "terminal_nodes names node 'nowhere'"),
        ({"nodes": [_node("a/b")], "entry_node": "a/b"}, "node id 'a/b' contains '/'"),
        ({"nodes": [_node("a..b")], "entry_node": "a..b"}, "contains '..'"),
        ({"nodes": [_node("x" * 129)], "entry_node": "x" * 129}, "has 129 characters"),
        ({"nodes": [_node(node_type="wizard")]}, "node_type is 'wizard'"),
        ({"nodes": [_node(max_retries=-1)]}, "max_retries is -1"),
        ({"nodes": [_node(node_type="router")]}, "a router needs routes"),
        (
            {"nodes": [_node(node_type="router", routes={"default": "nowhere"})]},
            "names node 'nowhere'",
        ),
        ({"nodes": [_node(), _node("alone")]}, "node 'alone' is unreachable"),
        ({"edges": [_edge("a", "a", condition="conditional", condition_expr="import os")]},
         "edge 'a-a': condition_expr"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"nodes": ["not a node"]}, "nodes[0] is a str"),
        ({"nodes": [_node(max_retries="three")]}, "nodes[0] (id 'a')"),
        ({"nodes": []}, "has no nodes"),
        ({"nodes": None}, "nodes must be a list"),
    ],
)  # fmt: skip
@pytest.mark.asyncio
async def test_a_graph_that_cannot_be_is_refused_with_all_problems(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    graph = GraphSpec(**{"id": "graph", "entry_node": "a", "nodes": [_node()], **changes})
    entered = changes.get("entry_node", "a")

    async def build_and_start() -> None:
        points = [EntryPointSpec(id="main", entry_node="a" if entered == "nowhere" else entered)]
        functions = {"a": _work, "b": _work, "c": _work, "alone": _work}
        runtime = create_agent_runtime(
            graph, Goal(id="goal"), tmp_path / "store", points, functions=functions
        )
        await runtime.start()

    with pytest.raises((InvalidGraph, InvalidId)) as caught:
        await build_and_start()
    assert text in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"id": "a/b"}, InvalidId),
        ({"id": ""}, InvalidId),
        ({"id": 7}, InvalidId),
        ({"isolation_level": "solitary"}, InvalidConfig),
        ({"trigger_type": "magic"}, InvalidConfig),
        ({"max_concurrent": 0}, InvalidConfig),
        ({"max_concurrent": True}, InvalidConfig),
        ({"max_queued": -1}, InvalidConfig),
        ({"priority": "high"}, InvalidConfig),
        ({"trigger_type": "event", "trigger_config": {"event_types": ["nope"]}}, InvalidConfig),
        ({"trigger_type": "event", "trigger_config": {"filter": "x"}}, InvalidConfig),
        ({"idempotency_window_s": float("nan")}, InvalidConfig),
        ({"entry_node": None}, InvalidConfig),
    ],
)
def test_an_entry_point_that_cannot_be_is_refused_where_it_is_made(
    settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        EntryPointSpec(**{"id": "main", "entry_node": "a", **settings})
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, GreenroomError)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_concurrent_executions": 0},
        {"max_history": -1},
        {"execution_result_max": "many"},
        {"webhook_port": 70_000},
        {"shutdown_timeout_s": -1},
        {"webhook_routes": [{"path": "/hook"}]},
        {"webhook_routes": [{**ROUTE, "colour": "red"}]},
        {"webhook_routes": [ROUTE, {**ROUTE, "source_id": "second"}]},
        {"webhook_routes": [{**ROUTE, "path": "no-slash"}]},
        {"webhook_routes": [{**ROUTE, "methods": ["FLY"]}]},
    ],
)
def test_a_config_that_cannot_be_is_refused_where_it_is_made(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        AgentRuntimeConfig(**settings)


@pytest.mark.parametrize(
    ("graph", "options", "name"),
    [
        ({"nodes": [_node(model="m")]}, {}, "node 'a': model"),
        ({"nodes": [_node(tools=["x"])]}, {}, "node 'a': tools"),
        ({"nodes": [_node(node_type="event_loop")]}, {}, "node_type 'event_loop'"),
        ({"edges": [_edge("a", "a", condition="llm_decide")]}, {}, "llm_decide"),
        ({}, {"checkpoint_config": CheckpointConfig(async_checkpoint=False)},
         "checkpoint_config: async_checkpoint"),
        ({}, {"enable_logging": False}, "enable_logging"),
        ({}, {"points": [EntryPointSpec(id="m", entry_node="a", trigger_type="timer")]},
         "trigger_type 'timer'"),
    ],
)  # fmt: skip
def test_a_declared_setting_without_behaviour_is_accepted_at_its_default_only(
    tmp_path: Path, graph: dict[str, Any], options: dict[str, Any], name: str
) -> None:
    spec = GraphSpec(**{"id": "graph", "entry_node": "a", "nodes": [_node()], **graph})
    points = options.pop("points", [])
    with pytest.raises(UnsupportedSetting) as caught:
        create_agent_runtime(spec, Goal(id="goal"), tmp_path / "store", points, **options)
    assert name in str(caught.value)
    assert not (tmp_path / "store").exists()


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": object()}, "$.a"),
        ({"tickets": [{"due": 1}, {"due": NAIVE}]}, "$.tickets[1].due"),
        ({"a": float("inf")}, "$.a"),
        ({"a": {"b": 2**64}}, "$.a.b"),
        ({"a": {1: 2}}, "$.a"),
        ({"a": "\ud800"}, "$.a"),
        ({"a": {"b": lambda: None}}, "$.a.b"),
        ({"a": _deep(70)}, "$.a"),
        ({7: 1}, "$[7]"),
        ({"": 1}, "$['']"),
        ("not a dict", "$"),
        ([1, 2], "$"),
        ({"a": "x" * (1024 * 1024 + 1)}, "$.a"),
        ({"a": "x" * 600_000, "b": "x" * 600_000}, "$"),
    ],
)  # fmt: skip
@pytest.mark.asyncio
async def test_an_input_that_cannot_be_stored_is_refused_with_its_path(
    lab: Any, value: Any, path: str
) -> None:
    """B20."""
    async with lab.runtime({"work": _work}) as runtime:
        for call in (runtime.trigger, runtime.trigger_and_wait):
            with pytest.raises(InvalidValue) as caught:
                await call("main", value)
            assert caught.value.path.startswith(path)
            assert isinstance(caught.value, ValueError)
        assert runtime.get_stats()["streams"]["main"]["accepted_executions"] == 0
        assert runtime.event_bus.get_history("execution_started") == []
        assert (await runtime.trigger_and_wait("main", {"fine": 1})).success


@pytest.mark.asyncio
async def test_an_input_over_the_limit_says_how_large_it_is(lab: Any) -> None:
    async with lab.runtime({"work": _work}) as runtime:
        with pytest.raises(ValueTooLarge) as caught:
            await runtime.trigger("main", {"a": "x" * 2_000_000})
        assert caught.value.limit == 1024 * 1024
        assert caught.value.size > 2_000_000


@pytest.mark.asyncio
async def test_a_store_of_garbage_is_corrupt_and_stays_as_it_is(lab: Any) -> None:
    folder = lab.folder / "garbage"
    folder.mkdir()
    data = folder / "data.mdb"
    data.write_bytes(b"this is not a store" * 1000)
    before = data.read_bytes()
    runtime = lab.runtime({"work": _work}, store="garbage")
    lab.stores.clear()
    with pytest.raises(StoreCorrupt) as caught:
        await runtime.start()
    assert str(folder) in str(caught.value)
    assert data.read_bytes() == before
    assert not runtime.is_running
    data.unlink()
    async with runtime:
        assert (await runtime.trigger_and_wait("main")).success


@pytest.mark.parametrize("graph", [None, {"id": "graph"}, "graph"])
def test_a_graph_of_another_kind_is_refused(tmp_path: Path, graph: Any) -> None:
    with pytest.raises(InvalidGraph, match="use a GraphSpec"):
        create_agent_runtime(graph, Goal(id="goal"), tmp_path / "store", [])


@pytest.mark.parametrize(
    ("name", "value"), [("goal", "win"), ("config", {"max_history": 1}), ("functions", [_work])]
)
def test_arguments_of_another_kind_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    graph = GraphSpec(id="graph", entry_node="a", nodes=[_node()])
    given = {"graph": graph, "goal": Goal(id="goal"), "functions": {}, name: value}
    with pytest.raises(InvalidConfig, match=f"^{name} is a {type(value).__name__}: use a"):
        create_agent_runtime(storage_path=tmp_path / "store", entry_points=[], **given)


@pytest.mark.asyncio
async def test_an_entry_point_id_of_another_kind_is_unknown(lab: Any) -> None:
    async with lab.runtime({"work": _work}) as runtime:
        for wrong in (None, 7, ["main"]):
            with pytest.raises(EntryPointNotFound):
                await runtime.trigger(wrong)
        assert (await runtime.trigger_and_wait("main")).success


def test_an_entry_point_of_another_kind_is_refused(lab: Any) -> None:
    runtime = lab.runtime({"work": _work})
    with pytest.raises(InvalidConfig, match="use an EntryPointSpec"):
        runtime.register_entry_point({"id": "other", "entry_node": "work"})


@pytest.mark.asyncio
async def test_a_store_of_a_newer_version_is_refused_and_stays_as_it_is(lab: Any) -> None:
    async with lab.runtime({"work": _work}) as runtime:
        await runtime.trigger_and_wait("main")
    _write_format(lab.folder / "store", 99)
    newer = lab.runtime({"work": _work})
    with pytest.raises(
        StoreTooNew, match="install a newer greenroom; nothing was changed"
    ) as caught:
        await newer.start()
    assert caught.value.found == 99
    assert not newer.is_running
    _write_format(lab.folder / "store", caught.value.supported)
    async with newer:
        assert (await newer.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_a_store_cut_short_is_a_typed_error(lab: Any) -> None:
    async with lab.runtime({"work": _work}) as runtime:
        await runtime.trigger_and_wait("main")
    data = lab.folder / "store" / "data.mdb"
    with data.open("r+b") as file:
        file.truncate(100)
    again = lab.runtime({"work": _work})
    lab.stores.clear()
    with pytest.raises(StorageError):
        await again.start()
    assert not again.is_running


@pytest.mark.asyncio
async def test_a_storage_path_that_is_a_file_is_a_typed_error(lab: Any) -> None:
    (lab.folder / "file").write_text("a file")
    runtime = lab.runtime({"work": _work}, store="file")
    with pytest.raises(StorageError) as caught:
        await runtime.start()
    assert str(lab.folder / "file") in str(caught.value)
    assert (lab.folder / "file").read_text() == "a file"


@pytest.mark.asyncio
async def test_a_taken_port_is_one_clear_line_and_the_store_is_free(lab: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        runtime = lab.runtime({"work": _work}, webhook_routes=[ROUTE], webhook_port=port)
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is in use: choose another"):
            await runtime.start()
        async with lab.runtime({"work": _work}) as other:
            assert (await other.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_a_route_to_an_unknown_entry_point_keeps_the_runtime_from_starting(lab: Any) -> None:
    routes = [{**ROUTE, "entry_point": "nowhere"}]
    runtime = lab.runtime({"work": _work}, webhook_routes=routes, webhook_port=0)
    with pytest.raises(EntryPointNotFound, match="'nowhere'"):
        await runtime.start()
    assert not runtime.is_running
    async with lab.runtime({"work": _work}) as other:
        assert (await other.trigger_and_wait("main")).success


@pytest.mark.asyncio
async def test_bad_calls_of_many_at_once_leave_the_good_ones_alone(lab: Any) -> None:
    async with lab.runtime({"work": _work}) as runtime:
        answers = await asyncio.gather(
            *(
                call
                for _ in range(10)
                for call in (
                    runtime.trigger_and_wait("main", {"a": 1}),
                    runtime.trigger("nowhere"),
                    runtime.trigger("main", {"a": object()}),
                    runtime.trigger("main", execution_id="a/b"),
                )
            ),
            return_exceptions=True,
        )
        kinds = [type(one) for one in answers[1:4]]
        assert kinds == [EntryPointNotFound, InvalidValue, InvalidId]
        assert [one.success for one in answers[::4]] == [True] * 10
        assert all(isinstance(one, GreenroomError) for one in answers if isinstance(one, Exception))
