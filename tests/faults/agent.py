"""An agent that dies on command. Run by path, it reads one JSON request per line of its input, runs
each in a process of its own, forked before any thread exists, and answers with its exit status.

A request: {"store", "ledger", "said", "inputs": {execution id: text}, "kill": [point, k] or null,
"concurrent", "wait": [execution id], "keys": {execution id: concurrency key}, ...}. What the
process has to say it appends to the file `said`, one JSON object per line. Points to be killed at:
"before" and "after" the k-th commit, "entered" and "left" the k-th node run, "blocked" the k-th
that never ends, "accepted" the k-th trigger that returned, "resumed" the k-th resume, "answered"
the k-th answer and "injected" the k-th input that did.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from full_disk import fill_disk
from msgspec.structs import replace

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.host.trigger_options import TriggerItem
from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.budget import Budget
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Status
from greenroom.protocol.goal import Goal, SuccessCriterion
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.isolation import IsolationLevel, StateScope
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.store import Store, StoreOptions

GOAL = Goal(
    id="goal",
    name="Goal",
    description="every execution ends",
    success_criteria=[
        SuccessCriterion(id="ok", description="ok", metric="success_rate", target="90%"),
        SuccessCriterion(id="replied", metric="function:replied", target="100%"),
    ],
)
Serve = Callable[[dict[str, Any], "Reaper"], Coroutine[Any, Any, None]]
FAILPOINTS = {"commit.before_sync": "before", "commit.after_sync": "after"}


class Reaper:
    """Kills its own process at the k-th passing of one point."""

    def __init__(self, kill: list[Any] | None) -> None:
        self._point, self._left = kill or ("never", 0)
        self.passed: dict[str, int] = {}
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        point = FAILPOINTS.get(point, point)
        with self._lock:  # nodes in the pool, and the writer, pass on threads of their own
            self._count(point)

    def _count(self, point: str) -> None:
        self.passed[point] = self.passed.get(point, 0) + 1
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def append(path: str, /, **what: Any) -> None:
    """One whole line, in one write that no kill can tear."""
    line = json.dumps(what) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Functions:
    """The nodes' callables. Each enters the ledger first."""

    def __init__(self, request: dict[str, Any], reaper: Reaper) -> None:
        self._ledger, self._reaper, self._asks = request["ledger"], reaper, request.get("asks", [])
        self._unheard = request.get("unheard", [])
        self._injects, self._said = request.get("injects", []), request["said"]
        self.runtime: AgentRuntime | None = None
        self._deadly, self._slow = request.get("deadly", False), request.get("slow", False)
        self._block, self._doze_s = request.get("block", False), request.get("doze_s", 0)

    def by_name(self) -> dict[str, Callable[..., Any]]:
        names = ("receive", "classify", "flaky", "measure", "large", "count", "finish", "replied")
        return {name: getattr(self, name) for name in names}

    def replied(self, output: dict[str, Any]) -> bool:
        """What the goal asks of every output."""
        return "reply" in output

    def _enter(self, ctx: NodeContext) -> None:
        append(
            self._ledger,
            execution=ctx.execution_id,
            node=ctx.node_id,
            visit=ctx.visit,
            attempt=ctx.attempt,
            pid=os.getpid(),
        )
        ctx.decide("run", chosen=ctx.node_id)
        self._reaper.reach("entered")
        if ctx.node_id in self._injects and self.runtime is not None:
            while not self.runtime.is_running:  # a start runs again what was in flight
                time.sleep(0.01)
            kept = self.runtime.inject_input(ctx.node_id, "kept", ctx.execution_id)
            append(self._said, outcome=asyncio.run(kept), injected=ctx.execution_id)
            self._reaper.reach("injected")
        if ctx.node_id in self._asks:
            unheard = {"timeout": 0.02, "default": "nothing", "assignee": "nobody"}
            limits = unheard if ctx.node_id in self._unheard else {}
            ctx.ask("?", to=f"said_{ctx.node_id}", schema={"type": "string"}, **limits)

    async def _wait_to_be_killed(self) -> None:
        self._reaper.reach("blocked")
        await asyncio.Event().wait()

    def receive(self, ctx: NodeContext, payload: dict[str, Any]) -> Any:
        self._enter(ctx)
        self._reaper.reach("left")
        return {"text": payload["text"]}

    def classify(self, ctx: NodeContext, text: str) -> Any:
        self._enter(ctx)
        if self._slow:
            # Long enough for everyone who may to enter as well, and the deadly one strikes first.
            time.sleep(0.2 if text.startswith("deadly") else 0.3)
        if self._deadly and text.startswith("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._slow:
            append(self._ledger, execution=ctx.execution_id, node=ctx.node_id, left=True)
        self._reaper.reach("left")
        return {"kind": "odd" if len(text) % 2 else "even", "size": len(text)}

    async def flaky(self, ctx: NodeContext, size: int) -> Any:
        self._enter(ctx)
        if ctx.attempt == 1:
            raise ConnectionError("try again")
        self._reaper.reach("left")
        return {"measured": size * 2}

    async def measure(self, ctx: NodeContext, size: int) -> Any:
        self._enter(ctx)
        if self._block:
            await self._wait_to_be_killed()
        self._reaper.reach("left")
        return {"measured": size * 3}

    def large(self, ctx: NodeContext, measured: int) -> Any:
        self._enter(ctx)
        self._reaper.reach("left")
        return {"note": f"large: {measured}"}

    async def count(self, ctx: NodeContext, size: int) -> Any:
        """Read, then write: only whole steps add up."""
        self._enter(ctx)
        total = await ctx.read("total", 0, StateScope.GLOBAL)
        await ctx.write("total", total + size, StateScope.GLOBAL)
        ctx.sleep(self._doze_s)
        self._reaper.reach("left")
        return {"counted": size}

    async def finish(self, ctx: NodeContext, text: str, measured: int) -> Any:
        self._enter(ctx)
        self._reaper.reach("left")
        return {"reply": f"{text}={measured}"}


def graph(request: dict[str, Any]) -> GraphSpec:
    """Classify, then route: flaky, or measure and (when it is large) large; then count, finish."""
    whole = GraphSpec(
        id="graph",
        goal_id="goal",
        entry_node="classify",
        terminal_nodes=["finish"],
        nodes=[
            NodeSpec(id="receive", input_keys=["payload"], output_keys=["text"]),
            NodeSpec(id="classify", input_keys=["text"], output_keys=["kind", "size"]),
            NodeSpec(
                id="route",
                node_type="router",
                input_keys=["kind"],
                route_on="kind",
                routes={"odd": "flaky", "default": "measure"},
            ),
            NodeSpec(
                id="flaky",
                input_keys=["size"],
                output_keys=["measured"],
                max_retries=3,
                backoff_initial_s=request.get("backoff_s", 0),
            ),
            NodeSpec(id="measure", input_keys=["size"], output_keys=["measured"]),
            NodeSpec(id="large", input_keys=["measured"], output_keys=["note"]),
            NodeSpec(id="count", input_keys=["size"], output_keys=["counted"]),
            NodeSpec(id="finish", input_keys=["text", "measured"], output_keys=["reply"]),
        ],
        edges=[
            EdgeSpec(id="r-c", source="receive", target="classify"),
            EdgeSpec(id="c-r", source="classify", target="route"),
            EdgeSpec(id="f-c", source="flaky", target="count", condition="on_success"),
            EdgeSpec(
                id="m-l",
                source="measure",
                target="large",
                condition="conditional",
                condition_expr="measured > 20",
                priority=1,
            ),
            EdgeSpec(
                id="m-c",
                source="measure",
                target="count",
                condition="conditional",
                condition_expr="measured <= 20",
            ),
            EdgeSpec(id="l-c", source="large", target="count"),
            EdgeSpec(id="c-f", source="count", target="finish"),
        ],
    )
    for node in whole.nodes:
        if node.id in request.get("asks", []):
            node.output_keys.append(f"said_{node.id}")
    return replace(whole, pause_nodes=request.get("pause_nodes", []))


async def answer_all(runtime: AgentRuntime, wake: asyncio.Event, said: str, reaper: Reaper) -> None:
    """Answer what is open now, and whatever is asked from then on."""
    while True:
        wake.clear()
        for one in runtime.pending_questions():
            if one.assignee != "nobody":
                value = 1 if one.budget else f"to {one.id}"
                append(said, outcome=await runtime.answer(one.id, value), answered=one.id)
                reaper.reach("answered")
        await wake.wait()


def budget_of(steps: int | None, on_breach: str = "pause") -> Budget | None:
    return None if steps is None else Budget(steps=steps, on_breach=on_breach)


def build(request: dict[str, Any], reaper: Reaper) -> AgentRuntime:
    def factory(path: Path, options: StoreOptions) -> Store:
        return open_store(path, options=options, failpoint=reaper.reach)

    functions = Functions(request, reaper)
    entry = EntryPointSpec(
        id="ep",
        entry_node="classify",
        isolation_level=request.get("isolation", "synchronized"),
        max_concurrent=request.get("concurrent", 1),
        max_queued=10_000,
        budget=budget_of(request.get("budget"), request.get("on_breach", "pause")),
    )
    hook = EntryPointSpec(
        id="hook",
        entry_node="receive",
        isolation_level=IsolationLevel.SYNCHRONIZED,
        max_concurrent=request.get("concurrent", 1),
    )
    routes = []
    if request.get("webhook"):
        routes = [{"source_id": "source", "path": "/hook", "entry_point": "hook"}]
    runtime = AgentRuntime(
        graph(request),
        GOAL,
        request["store"],
        functions=functions.by_name(),
        config=AgentRuntimeConfig(
            webhook_port=0, webhook_routes=routes, max_concurrent_executions=1000
        ),
        store_factory=factory,
    )
    runtime.register_entry_point(entry)
    runtime.register_entry_point(hook)
    functions.runtime = runtime
    return runtime


async def serve(request: dict[str, Any], reaper: Reaper) -> None:
    """Trigger what is asked, wait for what is asked, and tell how each ended."""
    runtime = build(request, reaper)
    said, wake = request["said"], asyncio.Event()
    runtime.subscribe_to_events("client_input_requested", lambda _: wake.set())
    async with runtime:
        answering = asyncio.ensure_future(answer_all(runtime, wake, said, reaper))
        if request.get("full_disk"):
            await fill_disk(runtime, request, append)
        append(said, recovery=str(runtime.recovery), held=runtime.recovery.held)
        if request.get("webhook"):
            assert runtime.webhook_server is not None
            append(said, port=runtime.webhook_server.port)
        keyed = request.get("keyed", False)

        async def send(execution_id: str, text: str) -> None:
            options = {"idempotency_key" if keyed else "execution_id": execution_id}
            key = request.get("keys", {}).get(execution_id)
            answer = await runtime.trigger("ep", {"text": text}, concurrency_key=key, **options)
            append(said, accepted=answer, asked=execution_id)
            reaper.reach("accepted")

        inputs = request.get("inputs", {})
        if request.get("batch"):
            items = [TriggerItem({"text": text}, idempotency_key=k) for k, text in inputs.items()]
            for execution_id in await runtime.trigger_many("ep", items):
                append(said, accepted=execution_id)
            reaper.reach("accepted")
            inputs = {}
        async with asyncio.TaskGroup() as group:
            for execution_id, text in inputs.items():
                group.create_task(send(execution_id, text))
        waited = request.get("wait", list(request.get("inputs", ())))
        for execution_id in waited:
            result = await runtime.wait_for_completion(execution_id, timeout=20)
            steps = request.get("budget")
            while result is not None and result.status is Status.PAUSED:
                steps = None if steps is None else steps + 1
                passed = {f"passed_{result.paused_at}": True}
                await runtime.resume(execution_id, passed, budget=budget_of(steps))
                append(said, resumed=execution_id)
                reaper.reach("resumed")
                result = await runtime.wait_for_completion(execution_id, timeout=20)
            if result is None:
                append(said, missing=execution_id)
                continue
            append(
                said,
                execution=execution_id,
                status=result.status.value,
                error=result.error,
                output=result.output,
                path=result.path,
            )
        answering.cancel()
        append(said, done=True)
        if request.get("stay"):
            await asyncio.Event().wait()  # until it is killed
        total = await runtime.state_manager.read("total", 0)
        append(said, total=total)
        goal = await runtime.get_goal_progress()
        append(said, goal=goal["metrics"]["executions_total"])
        append(said, replied=goal["criteria_status"]["replied"])
    append(said, passed=reaper.passed)


def run(request: dict[str, Any], serve: Serve) -> int:
    """In the fork: 0 when all went well."""
    signal.alarm(25)
    try:
        asyncio.run(serve(request, Reaper(request.get("kill"))))
    except BaseException:  # noqa: BLE001 - the border of the process; the test reads it
        append(request["said"], failed=traceback.format_exc())
        return 1
    return 0


def main(serve: Serve) -> None:
    """Run each request of the input in a fork of its own."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = run(request, serve)
            os._exit(status)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main(serve)
