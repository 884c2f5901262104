"""Opens a store in which very many executions wait, and prints what that cost, as JSON."""

import asyncio
import json
import sys
import time
from pathlib import Path

from greenroom import EdgeSpec, EntryPointSpec, Goal, GraphSpec, NodeSpec, create_agent_runtime


def anonymous_bytes() -> int:
    """Memory of this process that is not a file's."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


async def main(store: str, overdue: int) -> None:
    """Start, let those go on that are overdue, and cancel one of the others."""
    runtime = create_agent_runtime(
        GraphSpec(
            id="graph",
            entry_node="nap",
            nodes=[NodeSpec(id="nap"), NodeSpec(id="after")],
            edges=[EdgeSpec(id="way", source="nap", target="after")],
        ),
        Goal(id="goal"),
        store,
        [EntryPointSpec(id="main", entry_node="nap")],
        functions={"nap": dict, "after": dict},
    )
    began = time.perf_counter()
    await runtime.start()
    open_s = time.perf_counter() - began
    opened_bytes = anonymous_bytes()
    for number in range(overdue):
        result = await runtime.wait_for_completion(f"e{number}", timeout=60)
        assert result is not None
        assert result.success
    cancelled = await runtime.cancel_execution("main", f"e{overdue}")
    print(
        json.dumps(
            {
                "open_s": open_s,
                "opened_bytes": opened_bytes,
                "bytes": anonymous_bytes(),
                "waiting": runtime.recovery.waiting,
                "cancelled": cancelled,
            }
        )
    )
    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
