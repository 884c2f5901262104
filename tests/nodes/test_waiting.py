"""Synchronized steps wait for the turns of others, and never block what these need to finish."""

import asyncio
import threading
from typing import Any

import pytest

from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.testkit import Condition
from greenroom.actors.nodes.host import NodesHost
from greenroom.protocol.commit import StateKey
from greenroom.protocol.isolation import StateScope
from greenroom.protocol.values import decode_value

GLOBAL = StateScope.GLOBAL


def outputs(result: Any) -> dict[str, Any]:
    assert result.error is None, result.error
    return {key: decode_value(raw) for key, raw in result.outputs.items()}


class Gate:
    """The turns as a test sets them."""

    def __init__(self) -> None:
        self.contended: set[str] = set()
        self.asked = Condition()
        self.free: Future[bool] = Future()

    def taken(self, key: StateKey, execution_id: str) -> bool:
        return key.key in self.contended

    def when_free(self, key: StateKey, execution_id: str) -> Future[bool]:
        self.asked.add((key.key, execution_id))
        return self.free


@pytest.fixture
def gate(rig: Any) -> Gate:
    made = Gate()
    made.contended.add("k")
    rig.make_runner(turns=made)
    return made


def let_go(rig: Any, gate: Gate) -> None:
    rig.put("global", "", k="new")
    gate.contended.clear()
    gate.free.settle(True)


class TestTurns:
    @pytest.mark.parametrize("how", ["async", "pool", "input", "inline input", "async input"])
    def test_a_synchronized_read_waits_for_the_turn_of_another(
        self, rig: Any, gate: Gate, how: str
    ) -> None:
        async def node_async(ctx: Any) -> Any:
            return await ctx.read("k", scope=GLOBAL)

        async def input_async(k: Any) -> Any:
            return k

        match how:
            case "async":
                rig.node(node_async)
            case "pool":
                rig.node(lambda ctx: ctx.read_sync("k", scope=GLOBAL))
            case "async input":
                rig.node(input_async, input_keys=["k"])
            case _:
                rig.node(lambda k: k, input_keys=["k"], inline=how == "inline input")
        rig.put("global", "", k="old")
        rig.runner.submit(rig.binding("synchronized"), rig.node_run())
        rig.runner.flush()
        gate.asked.wait(1)
        let_go(rig, gate)
        (result,) = rig.inbox.results(1)
        assert outputs(result) == {"result": "new"}

    def test_a_step_that_holds_turns_never_waits(self, rig: Any, gate: Gate) -> None:
        rig.node(lambda ctx, k=0: ctx.read_sync("k", scope=GLOBAL), input_keys=["k"])
        assert outputs(rig.run(isolation="synchronized", holds_turns=True)) == {}
        assert gate.asked.values == []

    def test_a_holder_finds_a_thread_when_those_who_wait_for_it_have_them_all(
        self, make_rig: Any
    ) -> None:
        host = NodesHost(threads=2)
        host.start()
        rig, gate = make_rig(host), Gate()
        gate.contended.add("k")
        rig.make_runner(turns=gate)
        rig.node(lambda ctx: ctx.read_sync("k", scope=GLOBAL))
        binding = rig.binding("synchronized")
        for number in range(4):
            rig.runner.submit(binding, rig.node_run(execution_id=f"e{number}"))
        rig.runner.flush()
        gate.asked.wait(2)
        rig.runner.submit(binding, rig.node_run(execution_id="holder", holds_turns=True))
        rig.runner.flush()
        assert [one.execution_id for one in rig.inbox.results(1)] == ["holder"]
        let_go(rig, gate)
        assert len(rig.inbox.results(5)) == 5
        host.stop()

    def test_shared_never_waits(self, rig: Any, gate: Gate) -> None:
        rig.node(lambda ctx, k=0: ctx.read_sync("k", scope=GLOBAL), input_keys=["k"])
        assert outputs(rig.run()) == {}
        assert gate.asked.values == []

    def test_the_loop_is_never_blocked_by_a_wait(self, rig: Any, gate: Gate) -> None:
        rig.node(lambda ctx: ctx.read_sync("k", scope=GLOBAL), inline=True)
        rig.node(lambda ctx: ctx.read_all_sync(), "all", inline=True)
        result = rig.run(isolation="synchronized")
        assert "would block the event loop" in result.error
        assert "StateAccessError" in result.error_types
        assert "would block the event loop" in rig.run("all").error

    def test_a_node_that_waits_can_be_cancelled(self, rig: Any, gate: Gate) -> None:
        rig.node(lambda k: k, input_keys=["k"])
        rig.node(lambda: 1, "after")
        rig.runner.submit(rig.binding("synchronized"), rig.node_run())
        rig.runner.flush()
        gate.asked.wait(1)
        rig.runner.cancel("e1", 0)
        assert outputs(rig.run("after")) == {"result": 1}


def test_the_loop_goes_on_while_plain_nodes_wait(rig: Any) -> None:
    gate = threading.Event()
    rig.node(lambda: gate.wait(30))

    async def node() -> None:
        await asyncio.sleep(0)
        gate.set()

    rig.node(node, "opens")
    rig.runner.submit(rig.binding(), rig.node_run())
    rig.runner.submit(rig.binding(), rig.node_run("opens", execution_id="e2"))
    rig.runner.flush()
    results = {one.execution_id: one for one in rig.inbox.results(2)}
    assert outputs(results["e1"]) == {"result": True}
