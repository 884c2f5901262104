"""The benchmarks run and report every name. Speed itself is never asserted: it is the machine's."""

import asyncio
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from greenroom.benchmarks import messages
from greenroom.benchmarks.bars import bars
from greenroom.benchmarks.floor import Floor, encode_commit, encode_event
from greenroom.benchmarks.fsync_probe import probe
from greenroom.benchmarks.machine import file_system
from greenroom.benchmarks.measurements import UNITS, Measurements, Result, percentile
from greenroom.benchmarks.suite import Plan, run
from greenroom.protocol.errors import InvalidInput

PROMISED = {
    "messages.tell",
    "messages.tell.stock_pykka",
    "messages.ask",
    "messages.ping_pong",
    "messages.fan_out_100",
    "steps.durable.c1",
    "steps.durable.c8",
    "steps.durable.c64",
    "steps.durable.c256",
    "floor.c1",
    "floor.c8",
    "floor.c64",
    "floor.c256",
    "ratio.c64",
    "execution.p50_ms",
    "execution.p99_ms",
    "map.in_a_row",
    "map.steps",
    "map.ratio",
    "recovery.1000_s",
    "storage.bytes_per_step.first100",
    "storage.bytes_per_step.last100",
    "fsync.before_ms",
    "fsync.after_ms",
}
TINY = Plan(
    message_rounds=1,
    rounds=1,
    gate_rounds=1,
    message_count=100,
    step_s=0.02,
    map_rounds=1,
    map_steps=60,
    probes=2,
    recoveries=1,
    recovered_executions=5,
    session_visits=160,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What a tiny run wrote as JSON, and what it printed."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    printed = io.StringIO()
    assert run(plan=TINY, json_file=file, console=Console(file=printed, width=120)) == 0
    return json.loads(file.read_bytes()), printed.getvalue()


def test_every_promised_name_has_a_finite_positive_result(
    outcome: tuple[dict[str, Any], str],
) -> None:
    """Each result has a unit and three numbers in order."""
    results = {result["name"]: result for result in outcome[0]["results"]}
    assert len(results) == len(outcome[0]["results"])
    assert set(results) == set(UNITS) >= PROMISED
    for result in results.values():
        assert result.keys() == {"name", "unit", "median", "min", "max"}
        assert result["unit"]
        assert 0 < result["min"] <= result["median"] <= result["max"]
        assert math.isfinite(result["max"])


def test_the_json_says_where_it_was_measured(outcome: tuple[dict[str, Any], str]) -> None:
    """Machine and versions, and the bars."""
    found = outcome[0]
    assert {"cpus", "model", "python", "kernel"} <= found["machine"].keys()
    assert {"greenroom", "lmdb", "msgspec", "pykka"} <= found["versions"].keys()
    assert {bar["name"] for bar in found["bars"]} >= {"ratio.c64", "map.ratio", "recovery.1000_s"}


def test_the_tables_name_every_measurement(outcome: tuple[dict[str, Any], str]) -> None:
    """Also when printed without a terminal."""
    for name in UNITS:
        assert name in outcome[1]


def test_a_file_that_cannot_be_written_is_refused_before_measuring(tmp_path: Path) -> None:
    """Five minutes of measuring are not thrown away at the end."""
    with pytest.raises(InvalidInput, match="cannot be written"):
        run(json_file=tmp_path / "no" / "such" / "folder.json")


def test_the_floor_is_what_it_says(tmp_path: Path) -> None:
    """400 bytes a commit, 150 an event, four puts a step; whole executions only."""
    assert len(encode_commit(1, 1, 1.5)) == 400
    for kind in ("node_started", "node_completed"):
        assert len(encode_event(kind, 1, 1.5)) == 150

    async def use() -> tuple[float, int, int]:
        async with Floor(tmp_path) as floor:
            rate = await floor.run(3, 0.0)
            return rate, floor.steps, floor.puts

    rate, steps, puts = asyncio.run(use())
    assert rate > 0
    assert (steps, puts) == (12, 48)


@pytest.mark.parametrize(
    "kind",
    [
        messages.tell,
        messages.tell_stock_pykka,
        messages.ask,
        messages.ping_pong,
        messages.fan_out,
    ],
)
def test_messages_are_counted_to_the_last(kind: Any) -> None:
    """Each kind ends when all were handled."""
    assert kind(1) > 0


def test_the_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    """One time per block."""
    assert len(probe(tmp_path, 3)) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_file_system_is_found() -> None:
    """The deepest mount that holds the folder."""
    assert file_system(Path("/proc")) == "proc"


def test_a_bar_compares_medians() -> None:
    """Above, below and at the limit; a bar without its measurement is left out."""
    found = bars([Result("ratio.c64", "ratio", 0.25, 0.1, 0.9)])
    assert [(bar.name, bar.held) for bar in found] == [("ratio.c64", True)]
    (recovery,) = bars([Result("recovery.1000_s", "s", 2.1, 1.0, 3.0)])
    assert not recovery.held
    longer = [
        Result("recovery.1000_s", "s", 2.1, 1.0, 3.0),
        Result("recovery.same_steps_at_c64_s", "s", 0.8, 0.8, 0.8),
    ]
    assert bars(longer)[0].held


def test_an_unknown_name_is_refused() -> None:
    """A measurement without a unit would be missing from the report."""
    with pytest.raises(KeyError):
        Measurements().add("no such name", 1.0)


def test_percentiles_are_values_that_were_measured() -> None:
    """Nearest rank, also at the ends."""
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([7.0], 1.0) == 7
