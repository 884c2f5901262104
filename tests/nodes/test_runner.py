"""Node runs from the submit on the stream's side to the result in its mailbox."""

import asyncio
import threading
from typing import Any

import pytest

from greenroom.protocol.codec import decode_event
from greenroom.protocol.commit import StateKey, StateRead
from greenroom.protocol.errors import NodeFailed
from greenroom.protocol.stream_messages import NodeResults
from greenroom.protocol.values import decode_value


def outputs(result: Any) -> dict[str, Any]:
    assert result.error is None, result.error
    return {key: decode_value(raw) for key, raw in result.outputs.items()}


async def _echo(x: int) -> dict[str, Any]:
    return {"y": x}


def _plain_echo(x: int) -> dict[str, Any]:
    return {"y": x}


@pytest.mark.parametrize(("function", "inline"), [(_echo, False), (_plain_echo, True)])
def test_a_thousand_nodes_go_over_in_one_hop_and_come_back_in_one_message(
    rig: Any, function: Any, inline: bool
) -> None:
    rig.node(function, input_keys=["x"], output_keys=["y"], inline=inline)
    binding = rig.binding()
    for number in range(1000):
        rig.runner.submit(
            binding, rig.node_run(memory={"x": number}, execution_id=f"e{number}", attempt=3)
        )
    assert rig.inbox.told.values == []
    rig.runner.flush()
    results = rig.inbox.results(1000)
    assert [outputs(one)["y"] for one in results] == list(range(1000))
    assert [one.execution_id for one in results] == [f"e{number}" for number in range(1000)]
    (message,) = rig.inbox.told.values
    assert isinstance(message, NodeResults)
    assert message.incarnation == 7
    assert {one.attempt for one in results} == {3}
    assert rig.runner.in_flight == 0


def test_plain_functions_run_in_the_pool_and_side_by_side(rig: Any) -> None:
    barrier = threading.Barrier(4, timeout=30)

    def meet() -> str:
        barrier.wait()
        return threading.current_thread().name

    rig.node(meet)
    for number in range(4):
        rig.runner.submit(rig.binding(), rig.node_run(execution_id=f"e{number}"))
    rig.runner.flush()
    names = {outputs(one)["result"] for one in rig.inbox.results(4)}
    assert len(names) == 4
    assert all(name.startswith("greenroom-sync-") for name in names)


def test_async_functions_have_a_task_of_their_own_and_may_use_timeouts(rig: Any) -> None:
    async def node() -> dict[str, Any]:
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return {"timed_out": True, "same": task is asyncio.current_task() is not None}
        return {}

    rig.node(node)
    assert outputs(rig.run()) == {"timed_out": True, "same": True}


def test_a_plain_function_may_return_a_coroutine(rig: Any) -> None:
    rig.node(lambda x: _echo(x), input_keys=["x"])
    rig.node(lambda x: _echo(x), "inline", input_keys=["x"], inline=True)
    assert outputs(rig.run(memory={"x": 1})) == {"y": 1}
    assert outputs(rig.run("inline", memory={"x": 2})) == {"y": 2}


class TestInputs:
    def test_only_declared_keys_are_given_each_a_copy_of_its_own(self, rig: Any) -> None:
        seen: list[Any] = []

        def node(**inputs: Any) -> None:
            seen.append(inputs)
            inputs["x"].append(2)

        rig.node(node, input_keys=["x"], inline=True)
        run = rig.node_run(memory={"x": [1], "secret": 2})
        for _ in range(2):
            rig.runner.submit(rig.binding(), run)
            rig.runner.flush()
        rig.inbox.results(2)
        assert seen == [{"x": [1, 2]}, {"x": [1, 2]}]

    def test_a_missing_one_uses_the_default(self, rig: Any) -> None:
        rig.node(lambda x=5: x, input_keys=["x"])
        assert outputs(rig.run()) == {"result": 5}

    def test_a_missing_one_without_a_default_fails_the_node_for_good(self, rig: Any) -> None:
        rig.node(lambda x: x, input_keys=["x"])
        result = rig.run()
        assert result.error.startswith("input 'x' of node 'n' is not in memory")
        assert result.retryable is False

    def test_shared_state_is_looked_at_after_memory_stream_before_global(self, rig: Any) -> None:
        rig.put("global", "", a="global", b="global")
        rig.put("stream", "ep", a="stream")
        rig.put("stream", "other", b="another stream's")
        rig.node(lambda a, b, c: [a, b, c], input_keys=["a", "b", "c"])
        result = rig.run(memory={"c": "memory"})
        assert outputs(result)["result"] == ["stream", "global", "memory"]
        assert result.reads == (), "shared reads promise nothing"

    def test_synchronized_reads_are_noted_absence_too(self, rig: Any) -> None:
        version = rig.put("global", "", a=1)
        rig.node(lambda a, b=None: a, input_keys=["a", "b"])
        result = rig.run(isolation="synchronized")
        assert set(result.reads) == {
            StateRead(StateKey("stream", "ep", "a"), 0),
            StateRead(StateKey("global", "", "a"), version),
            StateRead(StateKey("stream", "ep", "b"), 0),
            StateRead(StateKey("global", "", "b"), 0),
        }

    def test_isolated_sees_its_own_memory_only(self, rig: Any) -> None:
        rig.put("global", "", a=1)
        rig.node(lambda a=None: a is None, input_keys=["a"])
        assert outputs(rig.run(isolation="isolated")) == {"result": True}


class _Stop(BaseException):
    pass


class TestFailures:
    @pytest.mark.parametrize("how", ["async", "pool", "inline"])
    @pytest.mark.parametrize(
        "error", [ValueError("no"), SystemExit("no"), KeyboardInterrupt("no"), _Stop("no")]
    )
    def test_whatever_a_node_raises_is_its_own_failure(
        self, rig: Any, how: str, error: BaseException
    ) -> None:
        async def node_async() -> None:
            raise error

        def node() -> None:
            raise error

        rig.node(node_async if how == "async" else node, inline=how == "inline")
        rig.node(lambda: 1, "after")
        result = rig.run()
        assert result.error == "no"
        assert result.error_types[0] == type(error).__name__
        assert result.retryable
        assert outputs(rig.run("after")) == {"result": 1}

    def test_a_value_that_cannot_be_stored_fails_the_node_with_its_path(self, rig: Any) -> None:
        rig.node(lambda: {"a": [float("nan")]})
        result = rig.run()
        assert result.error.startswith("$.a[0]: ")
        assert "InvalidValue" in result.error_types
        assert result.outputs == {}

    def test_errors_say_whether_a_retry_is_of_use(self, rig: Any) -> None:
        class Final(NodeFailed):
            retryable = False

        def node(final: bool) -> None:
            raise (Final if final else NodeFailed)("no")

        rig.node(node, input_keys=["final"])
        assert rig.run(memory={"final": True}).retryable is False
        assert rig.run(memory={"final": False}).retryable is True

    def test_an_unknown_node_or_function_is_a_failure(self, rig: Any) -> None:
        assert "NodeNotFound" in rig.run("nowhere").error_types

    def test_a_node_that_raises_cancelled_itself_has_failed(self, rig: Any) -> None:
        async def node() -> None:
            raise asyncio.CancelledError

        rig.node(node)
        assert rig.run().error == "CancelledError"

    def test_a_node_that_cancels_its_own_task_has_failed(self, rig: Any) -> None:
        async def node() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()

        rig.node(node)
        assert rig.run().error == "CancelledError"

    def test_a_failed_attempt_drops_what_it_buffered(self, rig: Any) -> None:
        async def node(ctx: Any) -> None:
            await ctx.write("k", 1, "global")
            ctx.publish("custom", {"a": 1})
            raise ValueError("no")

        rig.node(node)
        result = rig.run()
        assert (result.writes, result.events, result.outputs) == ((), (), {})


def test_events_are_published_with_the_step_and_say_where_they_are_from(rig: Any) -> None:
    def node(ctx: Any) -> None:
        ctx.publish("custom", {"a": 1})
        ctx.publish("goal_progress")

    rig.node(node)
    first, second = [decode_event(raw) for raw in rig.run(hops=3).events]
    assert (first.type, decode_value(first.data), first.hops) == ("custom", {"a": 1}, 3)
    assert (first.stream, first.execution, first.node, first.correlation) == (
        *("ep", "e1", "n", "c1"),
    )
    assert (second.type, second.data) == ("goal_progress", None)


@pytest.mark.parametrize(
    ("kind", "data"),
    [("nonsense", None), ("custom", {"a": object()}), ("custom", {"a": "x" * 5000})],
)
def test_an_event_that_cannot_be_stored_fails_the_node(rig: Any, kind: str, data: Any) -> None:
    rig.node(lambda ctx: ctx.publish(kind, data))
    assert rig.run().retryable is False


def test_the_context_knows_the_run(rig: Any) -> None:
    rig.make_runner(goal="the goal")

    def node(ctx: Any) -> list[Any]:
        return [
            *(ctx.execution_id, ctx.node_id, ctx.stream_id, ctx.entry_point, ctx.correlation_id),
            *(ctx.visit, ctx.attempt, ctx.goal, ctx.logger.name),
        ]

    rig.node(node)
    assert outputs(rig.run(visit=2, attempt=3))["result"] == [
        *("e1", "n", "ep", "ep", "c1"),
        *(2, 3, "the goal", "greenroom.node"),
    ]
