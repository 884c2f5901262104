"""One run of the triage agent that may kill itself at a chosen moment. Run as a program.

Reads one JSON object from its argument: store, ledger, output, executions {id: input}, and
kill: null or [moment, number], where moment is "before" or "after" (the number-th commit from the
first trigger on) or "entered" (the number-th entry into a node function, which follows the
acknowledgement of the commit that started it).
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from greenroom.actors.host.create import create_agent_runtime
from greenroom.actors.host.demo.agent import (
    TriageFunctions,
    triage_entry_points,
    triage_goal,
    triage_graph,
)
from greenroom.actors.host.demo.ledger import Ledger
from greenroom.protocol.errors import NodeFailed
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.store import Store, StoreOptions

DIGEST_KEY = "digest"


class Killer:
    """Counts moments and kills the process at the chosen one."""

    def __init__(self, kill: list[Any] | None) -> None:
        self._moment, self._number = kill or ("never", 0)
        self._seen = 0
        self.armed = False

    def reached(self, moment: str) -> None:
        if self.armed and moment == self._moment:
            self._seen += 1
            if self._seen == self._number:
                os.kill(os.getpid(), signal.SIGKILL)

    def failpoint(self, name: str) -> None:
        self.reached({"commit.before_sync": "before", "commit.after_sync": "after"}.get(name, name))


class KillingLedger(Ledger):
    """The demo's ledger, which is written to before anything else happens in a node."""

    def __init__(self, path: Path, killer: Killer) -> None:
        super().__init__(path)
        self._killer = killer

    def enter(self, execution: str, node: str, visit: int) -> None:
        super().enter(execution, node, visit)
        self._killer.reached("entered")


async def main(task: dict[str, Any]) -> None:
    killer = Killer(task["kill"])

    def store(path: Path, options: StoreOptions) -> Store:
        return open_store(path, options=options, failpoint=killer.failpoint)

    runtime = create_agent_runtime(
        triage_graph(),
        triage_goal(),
        task["store"],
        triage_entry_points(),
        functions=TriageFunctions(KillingLedger(Path(task["ledger"]), killer), 0.0).by_name(),
        store_factory=store,
    )
    async with asyncio.timeout(30), runtime:
        killer.armed = True
        outputs = {}
        for name, given in task["executions"].items():
            result = await runtime.trigger_and_wait("github", given, execution_id=name)
            if result is None or not result.success:
                raise NodeFailed(f"{name}: {result}")
            outputs[name] = result.output
        digest: dict[str, Any] = {}
        while digest.get("executions") != len(outputs):
            await asyncio.sleep(0.002)
            digest = await runtime.state_manager.read(DIGEST_KEY) or {}
        killer.armed = False
        Path(task["output"]).write_text(json.dumps([outputs, digest], sort_keys=True))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
