"""The end of node runs that nobody wants any more, and of the loop and the process they are in."""

import asyncio
import subprocess
import sys
import threading
from typing import Any

from greenroom.actors.kernel.testkit import Condition, await_condition
from greenroom.actors.nodes.host import NodesHost
from greenroom.protocol.values import decode_value


def outputs(result: Any) -> dict[str, Any]:
    assert result.error is None, result.error
    return {key: decode_value(raw) for key, raw in result.outputs.items()}


class TestCancelling:
    def test_an_async_node_is_stopped_and_reports_nothing(self, rig: Any) -> None:
        seen = Condition()

        async def node() -> None:
            seen.add("begun")
            try:
                await asyncio.Event().wait()
            finally:
                seen.add("stopped")

        rig.node(node)
        rig.node(lambda: 1, "after")
        rig.runner.submit(rig.binding(), rig.node_run())
        rig.runner.flush()
        seen.wait(1)
        rig.runner.cancel("e1", 0)
        seen.wait(2)
        assert outputs(rig.run("after")) == {"result": 1}
        assert rig.runner.in_flight == 0

    def test_a_run_that_was_not_flushed_yet_is_cancelled_too(self, rig: Any) -> None:
        rig.node(lambda: 1, "after")

        async def wait_for_ever() -> None:
            await asyncio.Event().wait()

        rig.node(wait_for_ever, "waits")
        rig.runner.submit(rig.binding(), rig.node_run("waits"))
        rig.runner.cancel("e1", 0)
        assert outputs(rig.run("after")) == {"result": 1}

    def test_a_hung_plain_function_is_abandoned_and_its_late_result_refused(self, rig: Any) -> None:
        begun, gate = threading.Event(), threading.Event()

        def node() -> None:
            begun.set()
            gate.wait(60)

        rig.node(node)
        rig.node(lambda: 1, "after")
        rig.runner.submit(rig.binding(), rig.node_run())
        rig.runner.flush()
        assert begun.wait(10)
        rig.runner.cancel("e1", 0)
        await_condition(lambda: rig.host.pool.abandoned == 1)
        gate.set()
        await_condition(lambda: rig.host.pool.abandoned == 0)
        assert outputs(rig.run("after")) == {"result": 1}

    def test_all_runs_of_an_instance_can_be_stopped_and_no_others(self, rig: Any) -> None:
        seen, gates = Condition(), {}

        async def node(ctx: Any) -> str:
            gate = gates[ctx.execution_id] = asyncio.Event()
            seen.add(ctx.execution_id)
            await gate.wait()
            return "done"

        rig.node(node)
        old, new = rig.binding(), rig.binding()
        for number in range(10):
            rig.runner.submit(old, rig.node_run(execution_id=f"old{number}"))
        rig.runner.submit(new, rig.node_run(execution_id="new"))
        rig.runner.flush()
        seen.wait(11)
        rig.runner.cancel_binding(old)
        rig.host.call_soon(lambda: [gate.set() for gate in gates.values()])
        (result,) = rig.inbox.results(1)
        assert result.execution_id == "new"

    def test_a_newer_attempt_replaces_one_that_still_runs(self, rig: Any) -> None:
        seen = Condition()

        async def node(ctx: Any) -> int:
            seen.add(ctx.attempt)
            if ctx.attempt == 1:
                await asyncio.Event().wait()
            return int(ctx.attempt)

        rig.node(node)
        rig.runner.submit(rig.binding(), rig.node_run())
        rig.runner.flush()
        seen.wait(1)
        result = rig.run(attempt=2)
        assert (result.attempt, outputs(result)) == (2, {"result": 2})


def test_a_closing_host_loop_makes_no_failures(make_rig: Any) -> None:
    """A runtime that was not stopped before its loop ends leaves its nodes to the next start."""
    told: list[Any] = []

    class Ref:
        def tell(self, message: Any, *, control: bool = False) -> None:
            told.append(message)

    begun = asyncio.Event()

    async def main() -> None:
        host = NodesHost()
        host.start()
        rig = make_rig(host)

        async def node() -> None:
            begun.set()
            await asyncio.Event().wait()

        rig.node(node)
        binding = rig.binding()
        binding.ref = Ref()
        rig.runner.submit(binding, rig.node_run())
        rig.runner.flush()
        await begun.wait()

    asyncio.run(main())
    assert told == []


HANGING = """
import threading
from greenroom.actors.kernel.clock import SystemClock
from greenroom.actors.nodes.functions import FunctionRegistry
from greenroom.actors.nodes.host import NodesHost
from greenroom.actors.nodes.runner import NodeRun, NodeRunner, StreamBinding
from greenroom.protocol.graph import NodeSpec
from greenroom.storage.memory_store import MemoryStore

begun = threading.Event()

def hang():
    begun.set()
    threading.Event().wait()

host = NodesHost()
host.start()
functions = FunctionRegistry()
functions.register("n", hang)
runner = NodeRunner(host, functions, {"n": NodeSpec(id="n")}, MemoryStore(), SystemClock())
binding = StreamBinding(ref=None, stream_id="ep", incarnation=1, isolation="shared")
runner.submit(binding, NodeRun(execution_id="e", token_id=0, node="n", visit=1, attempt=1,
                               memory={}, correlation_id="c"))
runner.flush()
assert begun.wait(30)
host.stop()
print("leaving")
"""


def test_a_plain_node_that_hangs_does_not_keep_the_process_alive() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "leaving\n"
