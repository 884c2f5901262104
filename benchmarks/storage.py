"""Storage: how many bytes each step of one long session adds to the store.

Counts used pages, not the size of the file, which also has pages that are free again. The pages
are counted from another process, because LMDB allows one handle to an environment per process:
`python -m greenroom.benchmarks.storage STORE` prints the used bytes of a store.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb

from greenroom.benchmarks.agent import ENTRY, make_runtime
from greenroom.benchmarks.steps import store_stats, written
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

VALUE_BYTES: Final = 800
_TABLES_MAX: Final = 64


class Growth(NamedTuple):
    """Bytes per step of the session."""

    first: float  # of used pages, over the quarter after the warm-up
    last: float  # of used pages, over the last quarter
    written: float  # of keys and values put, over the whole session


async def measure(store: Path, visits: int) -> Growth:
    """Run one session of `visits` visits to one node, each writing 800 bytes to one key.

    The first quarter is the warm-up; the growth is taken over the second quarter and over the
    last. Raises RuntimeError when the session fails.
    """
    quarter = max(visits // 4, 1)
    sizes: dict[int, int] = {}

    async def write(visit: int) -> dict[str, Any]:
        done = visit - 1
        if done and done % quarter == 0:
            sizes[done // quarter] = await _used_bytes_elsewhere(store)
        letter = chr(ord("a") + visit % 26)
        return {"visit": visit + 1, "text": letter * VALUE_BYTES}

    graph = GraphSpec(
        id="session",
        entry_node="write",
        max_steps=4 * quarter + 2,
        nodes=[
            NodeSpec(
                id="write",
                input_keys=["visit"],
                output_keys=["visit", "text"],
                max_node_visits=0,
            )
        ],
        edges=[
            EdgeSpec(
                id="again",
                source="write",
                target="write",
                condition="conditional",
                condition_expr=f"visit <= {4 * quarter + 1}",
            )
        ],
    )
    async with make_runtime(store, 1, functions={"write": write}, graph=graph) as runtime:
        before = store_stats(runtime)
        result = await runtime.trigger_and_wait(ENTRY, {"visit": 1})
        put = written(before, store_stats(runtime))
    if result is None or not result.success:
        raise RuntimeError(f"the session of the benchmark failed: {result}")
    first, last = sizes[2] - sizes[1], sizes[4] - sizes[3]
    return Growth(first / quarter, last / quarter, put.bytes_per_step)


async def _used_bytes_elsewhere(store: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "greenroom.benchmarks.storage", str(store)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the store could not be measured: exit status {process.returncode}")
    return int(output)


def used_bytes(store: Path) -> int:
    """Bytes of the pages that hold something. Not in a process that has the store open."""
    with (
        lmdb.open(str(store), readonly=True, max_dbs=_TABLES_MAX) as environment,
        environment.begin() as txn,
    ):
        with txn.cursor() as cursor:
            names = [bytes(name) for name in cursor.iternext(keys=True, values=False)]
        stats = [environment.stat()]
        stats += [txn.stat(environment.open_db(name, txn=txn, create=False)) for name in names]
    pages = sum(
        stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats
    )
    return int(pages * stats[0]["psize"])


if __name__ == "__main__":
    print(used_bytes(Path(sys.argv[1])))
