"""Recovery: how long a new process needs until every unfinished execution has moved on.

One process accepts the executions and is killed once the first of three steps of each is
committed. The next one takes the time from `start()` until the last of them has committed its
second step. Run as a module for the two processes:
`python -m greenroom.benchmarks.recovery (fill|recover) STORE COUNT`.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

from greenroom.benchmarks.agent import ENTRY, FUNCTIONS, INPUT, make_runtime

_READY: Final = "ready"
_TIMEOUT_S: Final = 120.0


def measure(store: Path, count: int) -> float:
    """Fill a new store with `count` executions, kill the process, recover; return seconds.

    Raises RuntimeError when one of the two processes fails.
    """
    with _process("fill", store, count) as filling:
        try:
            line = _first_line(filling)
        finally:
            filling.kill()
    if line != _READY:
        raise RuntimeError(f"the process to be killed ended by itself: {line!r}")
    with _process("recover", store, count) as recovering:
        try:
            return float(_first_line(recovering))
        finally:
            recovering.kill()


def _process(what: str, store: Path, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "greenroom.benchmarks.recovery", what, str(store), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None, "started with a pipe"
    output: IO[str] = process.stdout
    line = output.readline().strip()
    if not line:
        code = process.wait(_TIMEOUT_S)
        raise RuntimeError(f"a process of the recovery benchmark ended with {code}")
    return line


async def fill(store: Path, count: int) -> None:
    """Bring `count` executions to where their second node runs; then wait to be killed.

    A node runs only once the commit that dispatched it is durable, and that commit also closed
    the node before it.
    """
    entered = 0
    all_entered = asyncio.Event()

    async def second(label: str) -> str:
        nonlocal entered
        entered += 1
        if entered == count:
            all_entered.set()
        await asyncio.Event().wait()
        return label

    runtime = make_runtime(store, count, functions={**FUNCTIONS, "second": second})
    async with runtime:
        await asyncio.gather(*(runtime.trigger(ENTRY, INPUT) for _ in range(count)))
        async with asyncio.timeout(_TIMEOUT_S):
            await all_entered.wait()
        print(_READY, flush=True)
        await asyncio.Event().wait()


async def recover(store: Path, count: int) -> None:
    """Print the seconds from `start()` until every execution runs its third node."""
    entered = 0
    last = asyncio.get_running_loop().create_future()

    async def third(assignee: str) -> str:
        nonlocal entered
        entered += 1
        if entered == count:
            last.set_result(time.perf_counter())
        return assignee

    runtime = make_runtime(store, count, functions={**FUNCTIONS, "third": third})
    begun = time.perf_counter()
    async with runtime:
        async with asyncio.timeout(_TIMEOUT_S):
            ended = await last
        print(ended - begun, flush=True)


def main(arguments: list[str]) -> None:
    """Be one of the two processes."""
    what, store, count = arguments
    asyncio.run({"fill": fill, "recover": recover}[what](Path(store), int(count)))


if __name__ == "__main__":
    main(sys.argv[1:])
