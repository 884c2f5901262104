"""A system actor that crashes under load comes back at its address, and nothing is lost."""

import asyncio
import http.client
import json
from collections import Counter

import pytest

from greenroom.protocol.execution import Status

pytestmark = [pytest.mark.faults, pytest.mark.asyncio]

LIMIT_S = 40


@pytest.mark.parametrize(
    "address",
    ["store_writer", "event_bus", "state_manager", "outcome_aggregator", "events-driven"],
)
async def test_a_crash_of_a_system_actor_loses_nothing(line, line_runtime, address) -> None:
    nodes = line()
    event_types = {"event_types": ["execution_completed"], "filter_stream": "ep"}
    runtime = line_runtime(
        nodes,
        ep={},
        # Its input has no number, so each of its executions fails; that it has one is what counts.
        driven={"trigger_type": "event", "trigger_config": event_types},
    )
    ends: Counter[str] = Counter()
    started: Counter[str] = Counter()
    all_started = asyncio.Event()

    def on_start(event) -> None:
        started[event.execution_id] += 1
        if len(started) == 200:
            all_started.set()

    async with asyncio.timeout(LIMIT_S), runtime:
        runtime.subscribe_to_events(
            ["execution_completed"],
            lambda event: ends.update([event.execution_id]),
            filter_stream="ep",
        )
        runtime.subscribe_to_events(["execution_started"], on_start, filter_stream="driven")
        actor = runtime._assembly.system.ref(address)
        tasks = []
        for n in range(200):
            tasks.append(asyncio.create_task(runtime.trigger_and_wait("ep", {"number": n})))
            if n in (50, 120):
                nodes.entered["last"].clear()
                await nodes.entered["last"].wait()
                actor.kill()
                if n == 120:
                    await actor.ready()
        results = await asyncio.gather(*tasks)
        assert [one.status for one in results] == [Status.COMPLETED] * 200
        assert [one.output["answer"] for one in results] == [2 * n + 1 for n in range(200)]
        await runtime.event_bus.settled("sub_1")
        assert ends == Counter({one.execution_id: 1 for one in results})
        await all_started.wait()
        assert set(started.values()) == {1}
        progress = await runtime.get_goal_progress()
        assert progress["metrics"]["executions_by_status"]["completed"] == 200
        assert actor.stats().incarnation >= 2
    assert nodes.runs["last"] == 200


async def test_synchronized_steps_outlive_the_state_manager(counting_runtime) -> None:
    """Whoever waited for a turn gets one from the next instance."""
    async with asyncio.timeout(LIMIT_S), counting_runtime as runtime:
        manager = runtime._assembly.state_manager
        tasks = []
        for n in range(60):
            tasks.append(asyncio.create_task(runtime.trigger_and_wait("ep", {"by": 1})))
            if n in (20, 40):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                manager.kill()
        results = await asyncio.gather(*tasks)
        assert {one.status for one in results} == {Status.COMPLETED}
        assert await runtime.state_manager.read("total") == 60


async def test_synchronized_steps_outlive_their_stream(counting_runtime) -> None:
    async with asyncio.timeout(LIMIT_S), counting_runtime as runtime:
        stream = runtime.get_stream("ep").ref
        tasks = []
        for n in range(60):
            tasks.append(asyncio.create_task(runtime.trigger_and_wait("ep", {"by": 1})))
            if n in (20, 40):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                stream.kill()
                await stream.ready()
        results = await asyncio.gather(*tasks)
        assert {one.status for one in results} == {Status.COMPLETED}
        assert await runtime.state_manager.read("total") == 60


async def test_a_stop_amid_contention_waits_for_no_turn(counting_runtime) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT_S):
        for _ in range(5):
            async with counting_runtime as runtime:
                for _ in range(20):
                    await runtime.trigger("ep", {"by": 1})
                began = loop.time()
            assert loop.time() - began < 8  # the deadline for nodes in flight is 10 s
        async with counting_runtime as runtime:
            last = await runtime.trigger("ep", {"by": 1})
            await runtime.wait_for_completion(last)
            async with asyncio.timeout(20):
                while await runtime.state_manager.read("total") < 101:
                    await runtime.event_bus.wait_for(["execution_completed"], timeout=0.5)
            assert await runtime.state_manager.read("total") == 101


async def test_the_webhook_server_comes_back_on_its_port(line, line_runtime) -> None:
    nodes = line()
    route = {"source_id": "source", "path": "/hook", "entry_point": "ep"}
    runtime = line_runtime(nodes, ep={}, config={"webhook_port": 0, "webhook_routes": [route]})
    async with asyncio.timeout(LIMIT_S), runtime:
        port = runtime.webhook_server.port

        def post(n: int) -> str | None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                headers = {"Content-Type": "application/json", "webhook-id": f"d{n}"}
                connection.request("POST", "/hook", json.dumps({"n": n}), headers)
                answer = connection.getresponse()
                body = json.loads(answer.read())
                return str(body["execution_id"]) if answer.status == 202 else None
            except (OSError, http.client.HTTPException, ValueError):
                return None
            finally:
                connection.close()

        address = next(
            one.address for one in runtime._assembly.system.stats() if "webhook" in one.address
        )
        server = runtime._assembly.system.ref(address)
        accepted: dict[int, str] = {}
        for kills in range(3):
            answers = [asyncio.create_task(asyncio.to_thread(post, n)) for n in range(40)]
            await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            if kills < 2:
                server.kill()
                await server.ready()
            for n, one in enumerate(await asyncio.gather(*answers)):
                if one is not None:
                    assert accepted.setdefault(n, one) == one, "one execution for each delivery"
        assert runtime.webhook_server.port == port
        assert len(accepted) == 40
        for one in accepted.values():
            assert await runtime.wait_for_completion(one) is not None
