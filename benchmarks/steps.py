"""Durable steps of the whole runtime: closed-loop clients, each waiting for its execution."""

import asyncio
import time
from typing import NamedTuple

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.benchmarks.agent import COMMITS_PER_EXECUTION, ENTRY, INPUT
from greenroom.storage.store import StoreStats


class Steps(NamedTuple):
    """What one measurement found."""

    per_second: float  # a step is a commit
    latencies_ms: list[float]  # of whole executions, from the trigger to the result


async def run(runtime: AgentRuntime, clients: int, seconds: float) -> Steps:
    """Run `clients` closed-loop clients for `seconds` on the runtime's own loop."""
    latencies: list[float] = []
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(runtime, begun + seconds, latencies))
    took = time.perf_counter() - begun
    return Steps(len(latencies) * COMMITS_PER_EXECUTION / took, latencies)


async def _client(runtime: AgentRuntime, until: float, latencies: list[float]) -> None:
    """Run executions, one after the other, until the time has come and at least one."""
    while True:
        begun = time.perf_counter()
        result = await runtime.trigger_and_wait(ENTRY, INPUT)
        now = time.perf_counter()
        if result is None or not result.success:
            raise RuntimeError(f"an execution of the benchmark failed: {result}")
        latencies.append((now - begun) * 1e3)
        if now >= until:
            return


class Written(NamedTuple):
    """What the store was given for each step, events included."""

    puts_per_step: float
    bytes_per_step: float


def written(before: StoreStats, after: StoreStats) -> Written:
    """Puts and bytes per commit between two readings of the store's counters."""
    commits = max(after.commits - before.commits, 1)
    return Written(
        (after.puts - before.puts) / commits, (after.put_bytes - before.put_bytes) / commits
    )


def store_stats(runtime: AgentRuntime) -> StoreStats:
    """The counters of a running runtime's store, which its public numbers leave out."""
    assembly = runtime._assembly
    if assembly is None:
        raise RuntimeError("the runtime is not running")
    return assembly.store.stats()
