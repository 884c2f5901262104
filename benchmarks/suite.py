"""The whole suite: what `greenroom bench` runs.

Rates swing with the neighbours on the machine, so what is compared is measured side by side, in
interleaved rounds with a changing order, and a ratio is always of two adjacent measurements.
"""

import asyncio
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.benchmarks import maps, messages, recovery, steps, storage
from greenroom.benchmarks.agent import make_runtime
from greenroom.benchmarks.bars import bars
from greenroom.benchmarks.floor import Floor
from greenroom.benchmarks.fsync_probe import probe
from greenroom.benchmarks.machine import is_durable, machine, versions
from greenroom.benchmarks.measurements import CLIENTS, Measurements, percentile
from greenroom.benchmarks.report import show
from greenroom.protocol.errors import InvalidInput

GATE_CLIENTS: Final = 64


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured. Every list of rounds begins with one that is thrown away."""

    message_rounds: int
    rounds: int  # of steps at every number of clients
    gate_rounds: int  # of steps at 64 clients alone, for the ratio that is a gate
    message_count: int  # of the fastest kind; the slower ones send fewer
    step_s: float  # each measurement of steps, and each of the floor
    map_rounds: int
    map_steps: int  # of one execution: as a map, and in a row
    probes: int
    recoveries: int
    recovered_executions: int
    session_visits: int


FULL: Final = Plan(
    message_rounds=15,
    rounds=9,
    gate_rounds=6,
    message_count=100_000,
    step_s=1.2,
    map_rounds=5,
    map_steps=1_000,
    probes=200,
    recoveries=3,
    recovered_executions=1000,
    session_visits=400,
)
QUICK: Final = Plan(
    message_rounds=9,
    rounds=3,
    gate_rounds=6,
    message_count=50_000,
    step_s=0.5,
    map_rounds=3,
    map_steps=1_000,
    probes=50,
    recoveries=1,
    recovered_executions=1000,
    session_visits=400,
)


def run(
    *,
    quick: bool = False,
    json_file: Path | None = None,
    plan: Plan | None = None,
    console: Console | None = None,
) -> int:
    """Measure, print the tables, and write the JSON if a file is named. Returns exit code 0.

    `plan` overrides `quick`. The JSON holds `machine`, `versions`, `results` (name, unit, median,
    min, max) and `bars`. A missed bar is reported and is no failure. Raises InvalidInput when the
    file cannot be written, before anything is measured.
    """
    if json_file is not None:
        _check_writable(json_file)
    found = measure(plan or (QUICK if quick else FULL), Console(stderr=True))
    show(found["machine"], found["results"], found["bars"], console or Console())
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return 0


def measure(plan: Plan, progress: Console) -> dict[str, Any]:
    """Measure everything; return what the JSON holds. Takes its stores down again."""
    found = Measurements()
    with _folder() as folder:
        if not is_durable(folder):
            progress.print(f"{folder} is in memory: set TMPDIR to a folder on a disk")
        about = machine(folder)
        _step(progress, "disk")
        found.add_all("fsync.before_ms", probe(folder, plan.probes))
        _measure_messages(plan, found, progress)
        asyncio.run(_measure_steps(plan, folder, found, progress))
        asyncio.run(_measure_maps(plan, folder, found, progress))
        _measure_recovery(plan, folder, found, progress)
        asyncio.run(_measure_storage(plan, folder, found, progress))
        found.add_all("fsync.after_ms", probe(folder, plan.probes))
    results = found.results()
    return {
        "machine": about,
        "versions": versions(),
        "plan": plan,
        "results": results,
        "bars": bars(results),
    }


def _measure_messages(plan: Plan, found: Measurements, progress: Console) -> None:
    count = plan.message_count
    kinds: list[tuple[str, Callable[[int], float], int]] = [
        ("messages.tell", messages.tell, count),
        ("messages.tell.stock_pykka", messages.tell_stock_pykka, count),
        ("messages.ask", messages.ask, count // 50),
        ("messages.ping_pong", messages.ping_pong, count // 5),
        ("messages.fan_out_100", messages.fan_out, count),
    ]
    for number in range(plan.message_rounds + 1):
        _step(progress, f"messages, round {number} of {plan.message_rounds}")
        rates: dict[str, float] = {}
        for name, kind, amount in kinds:
            gc.collect()
            rates[name] = kind(max(amount, 1))
        if not number:
            continue  # the warm-up
        for name, rate in rates.items():
            found.add(name, rate)
        stock = rates["messages.tell.stock_pykka"]
        found.add("ratio.messages.tell", rates["messages.tell"] / stock)


async def _measure_steps(plan: Plan, folder: Path, found: Measurements, progress: Console) -> None:
    async with (
        Floor(folder / "floor") as floor,
        make_runtime(folder / "steps", max(CLIENTS)) as runtime,
    ):
        for clients in CLIENTS:  # the warm-up
            await floor.run(clients, plan.step_s / 4)
            await steps.run(runtime, clients, plan.step_s / 4)
        puts, put_bytes, done = floor.puts, floor.put_bytes, floor.steps
        before = steps.store_stats(runtime)
        for number in range(1, plan.rounds + plan.gate_rounds + 1):
            _step(progress, f"steps, round {number} of {plan.rounds + plan.gate_rounds}")
            chosen = CLIENTS if number <= plan.rounds else (GATE_CLIENTS,)
            for clients in chosen:
                await _measure_pair(plan, floor, runtime, clients, number, found)
        wrote = steps.written(before, steps.store_stats(runtime))
        floor_puts = (floor.puts - puts) / (floor.steps - done)
        floor_bytes = (floor.put_bytes - put_bytes) / (floor.steps - done)
    found.add("floor.puts_per_step", floor_puts)
    found.add("steps.durable.puts_per_step", wrote.puts_per_step)
    found.add("ratio.puts_per_step", wrote.puts_per_step / floor_puts)
    found.add("floor.bytes_per_step", floor_bytes)
    found.add("steps.durable.bytes_per_step", wrote.bytes_per_step)
    found.add("ratio.bytes_per_step", wrote.bytes_per_step / floor_bytes)


async def _measure_pair(
    plan: Plan,
    floor: Floor,
    runtime: AgentRuntime,
    clients: int,
    number: int,
    found: Measurements,
) -> None:
    """The floor and the runtime one after the other; every other round the other way round."""
    gc.collect()
    if number % 2:
        least = await floor.run(clients, plan.step_s)
        whole = await steps.run(runtime, clients, plan.step_s)
    else:
        whole = await steps.run(runtime, clients, plan.step_s)
        least = await floor.run(clients, plan.step_s)
    found.add(f"floor.c{clients}", least)
    found.add(f"steps.durable.c{clients}", whole.per_second)
    found.add(f"ratio.c{clients}", whole.per_second / least)
    if clients == GATE_CLIENTS:
        found.add("execution.p50_ms", percentile(whole.latencies_ms, 0.5))
        found.add("execution.p99_ms", percentile(whole.latencies_ms, 0.99))


async def _measure_maps(plan: Plan, folder: Path, found: Measurements, progress: Console) -> None:
    for number in range(plan.map_rounds + 1):
        _step(progress, f"maps, round {number} of {plan.map_rounds}")
        gc.collect()
        path = folder / f"maps-{number}"
        rates = await maps.measure(path, plan.map_steps, map_first=number % 2 == 0)
        if not number:
            continue  # the warm-up
        found.add("map.in_a_row", rates.in_a_row)
        found.add("map.steps", rates.mapped)
        found.add("map.ratio", rates.ratio)


def _measure_recovery(plan: Plan, folder: Path, found: Measurements, progress: Console) -> None:
    count = plan.recovered_executions
    for number in range(plan.recoveries):
        _step(progress, f"recovery, round {number + 1} of {plan.recoveries}")
        found.add("recovery.1000_s", recovery.measure(folder / f"recovery-{number}", count))
    rate = found.median(f"steps.durable.c{GATE_CLIENTS}")
    found.add("recovery.same_steps_at_c64_s", count / rate)


async def _measure_storage(
    plan: Plan, folder: Path, found: Measurements, progress: Console
) -> None:
    _step(progress, "storage")
    growth = await storage.measure(folder / "session", plan.session_visits)
    found.add("storage.bytes_per_step.first100", growth.first)
    found.add("storage.bytes_per_step.last100", growth.last)
    found.add("storage.written_bytes_per_step", growth.written)


@contextmanager
def _folder() -> Iterator[Path]:
    """A new folder, on a disk where that can be had: the usual one may be in memory."""
    durable = "/var/tmp"
    chosen = os.environ.get("TMPDIR") or (durable if os.access(durable, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-", dir=chosen) as name:
        yield Path(name)


def _check_writable(path: Path) -> None:
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error


def _step(progress: Console, text: str) -> None:
    # Plain lines: an animated display has a thread of its own, which would be measured too.
    if progress.is_terminal:
        progress.print(f"measuring: {text}", markup=False, highlight=False)
