"""The state that a node may use: scopes, permissions, isolation levels, and what is noted of it."""

from typing import Any

import pytest

from greenroom.protocol.commit import StateKey, StateRead
from greenroom.protocol.isolation import StateScope
from greenroom.protocol.values import decode_value

GLOBAL = StateScope.GLOBAL
STREAM = StateScope.STREAM


def outputs(result: Any) -> dict[str, Any]:
    assert result.error is None, result.error
    return {key: decode_value(raw) for key, raw in result.outputs.items()}


def writes(result: Any) -> dict[str, Any]:
    assert result.error is None, result.error
    return {
        one.key.key: None if one.value is None else decode_value(one.value) for one in result.writes
    }


def increment(value: int | None, by: int = 1) -> int:
    return (value or 0) + by


class TestExecutionMemory:
    def test_writes_become_outputs_and_are_read_back(self, rig: Any) -> None:
        async def node(ctx: Any) -> dict[str, Any]:
            await ctx.write("a", [1])
            (await ctx.read("a")).append(2)
            await ctx.write_batch({"b": 2, "c": 3})
            await ctx.delete("c")
            return {"seen": [await ctx.read("a"), await ctx.read("c", "gone"), await ctx.read("m")]}

        rig.node(node)
        assert outputs(rig.run(memory={"m": "memory"})) == {
            "a": [1],
            "b": 2,
            "c": None,
            "seen": [[1], "gone", "memory"],
        }

    def test_keys_that_are_not_declared_may_not_be_used(self, rig: Any) -> None:
        async def writes_(ctx: Any) -> None:
            await ctx.write("secret", 1)

        rig.node(lambda ctx, x=0: ctx.read_sync("secret"), "r", input_keys=["x"])
        rig.node(writes_, "w", output_keys=["y"])
        rig.node(lambda ctx, x: ctx.read_all_sync("execution"), "all", input_keys=["x"])
        memory = {"x": 1, "secret": 2}
        refused = rig.run("r", memory)
        assert refused.error == "Not allowed to read key: secret"
        assert "PermissionError" in refused.error_types
        assert refused.retryable is False
        assert rig.run("w", memory).error == "Not allowed to write key: secret"
        assert outputs(rig.run("all", memory)) == {"x": 1}

    def test_wider_scopes_are_not_restricted_by_declared_keys(self, rig: Any) -> None:
        rig.put("global", "", k=1)
        rig.node(lambda ctx, x=0: ctx.read_sync("k", scope=GLOBAL), input_keys=["x"])
        assert outputs(rig.run()) == {"result": 1}


class TestScopes:
    def test_the_narrowest_value_wins_and_missing_is_the_default(self, rig: Any) -> None:
        rig.put("global", "", a="g", b="g", c="g", gone="g")
        rig.put("stream", "ep", a="s", b="s")
        rig.put("global", "", gone=None)

        async def node(ctx: Any) -> dict[str, Any]:
            return {
                "each": [await ctx.read(key) for key in "abcd"],
                "scoped": [await ctx.read("a", scope=STREAM), await ctx.read("a", scope="global")],
                "gone": await ctx.read("gone", "default"),
                "all": await ctx.read_all(),
                "stream": await ctx.read_all(STREAM),
            }

        rig.node(node)
        assert outputs(rig.run(memory={"a": "e"})) == {
            "each": ["e", "s", "g", None],
            "scoped": ["s", "g"],
            "gone": "default",
            "all": {"a": "e", "b": "s", "c": "g"},
            "stream": {"a": "s", "b": "s"},
        }

    def test_own_writes_lie_over_what_is_committed(self, rig: Any) -> None:
        rig.put("global", "", a=1, b=1)

        async def node(ctx: Any) -> list[Any]:
            await ctx.write("a", 2, GLOBAL)
            await ctx.delete("b", GLOBAL)
            await ctx.write("mine", 3, STREAM)
            return [await ctx.read("a"), await ctx.read("b"), await ctx.read_all()]

        rig.node(node)
        result = rig.run()
        assert outputs(result)["result"] == [2, None, {"a": 2, "mine": 3}]
        assert writes(result) == {"a": 2, "b": None, "mine": 3}
        assert {one.key for one in result.writes} == {
            StateKey("global", "", "a"),
            StateKey("global", "", "b"),
            StateKey("stream", "ep", "mine"),
        }

    def test_a_batch_with_one_bad_value_sets_nothing(self, rig: Any) -> None:
        async def node(ctx: Any) -> Any:
            with pytest.raises(ValueError, match="cannot be stored"):
                await ctx.write_batch({"a": 1, "b": object()}, GLOBAL)
            return await ctx.read_all()

        rig.node(node)
        result = rig.run()
        assert outputs(result) == {}
        assert writes(result) == {}

    @pytest.mark.parametrize("method", ["read", "write", "delete", "update", "compare_and_set"])
    def test_isolated_may_not_touch_wider_scopes(self, rig: Any, method: str) -> None:
        arguments = {"write": (1,), "update": ("n",), "compare_and_set": (1, 2)}

        async def node(ctx: Any) -> None:
            await getattr(ctx, method)("k", *arguments.get(method, ()), scope=GLOBAL)

        rig.node(node)
        assert "IsolationError" in rig.run(isolation="isolated").error_types

    def test_isolated_sees_only_memory(self, rig: Any) -> None:
        rig.put("global", "", k=1)

        async def node(ctx: Any) -> list[Any]:
            return [await ctx.read("k"), await ctx.read_all()]

        rig.node(node)
        assert outputs(rig.run(memory={"m": 1}, isolation="isolated")) == {
            "result": [None, {"m": 1}]
        }

    @pytest.mark.parametrize("key", ["", None, "\ud800", "k" * 2000])
    def test_a_key_that_cannot_be_is_refused(self, rig: Any, key: Any) -> None:
        rig.node(lambda ctx: ctx.write_sync(key, 1, GLOBAL))
        assert "InvalidValue" in rig.run().error_types

    def test_an_unknown_scope_is_refused(self, rig: Any) -> None:
        rig.node(lambda ctx: ctx.read_sync("k", scope="everywhere"))
        assert "use one of execution, stream, global" in rig.run().error


class TestWhatIsNoted:
    def test_shared_notes_nothing_of_plain_reads(self, rig: Any) -> None:
        async def node(ctx: Any) -> None:
            await ctx.read("a", scope=GLOBAL)
            await ctx.read_all()
            await ctx.write("a", 1, GLOBAL)

        rig.node(node)
        assert rig.run().reads == ()

    def test_synchronized_notes_every_read_with_the_first_version_seen(self, rig: Any) -> None:
        version = rig.put("global", "", a=1)

        async def node(ctx: Any) -> None:
            await ctx.read("a", scope=GLOBAL)
            rig.put("global", "", a=2)
            await ctx.read("a", scope=GLOBAL)
            await ctx.read("b", scope=STREAM)
            await ctx.read_all(STREAM)

        rig.node(node)
        assert set(rig.run(isolation="synchronized").reads) == {
            StateRead(StateKey("global", "", "a"), version),
            StateRead(StateKey("stream", "ep", "b"), 0),
            StateRead(StateKey("stream", "ep", ""), 0),
        }

    @pytest.mark.parametrize("isolation", ["shared", "synchronized"])
    def test_an_update_is_noted_with_its_version_and_how_it_was_made(
        self, rig: Any, isolation: str
    ) -> None:
        version = rig.put("global", "", n=10)
        rig.functions.register("increment", increment)

        async def node(ctx: Any) -> None:
            await ctx.update("n", increment, 5, scope=GLOBAL)
            await ctx.update("n", "increment", scope=GLOBAL)
            await ctx.update("new", increment, scope=STREAM)

        rig.node(node)
        result = rig.run(isolation=isolation)
        assert writes(result) == {"n": 16, "new": 1}
        assert set(result.reads) == {
            StateRead(StateKey("global", "", "n"), version),
            StateRead(StateKey("stream", "ep", "new"), 0),
        }
        assert [
            (one.key.key, one.function, decode_value(one.arguments)) for one in result.updates
        ] == [("n", "increment", [5]), ("n", "increment", []), ("new", "increment", [])]

    @pytest.mark.parametrize("touch", ["read", "write", "delete", "compare_and_set", "read_all"])
    def test_a_key_touched_in_another_way_is_not_update_only(self, rig: Any, touch: str) -> None:
        rig.functions.register("increment", increment)
        arguments: dict[str, tuple[Any, ...]] = {"write": ("n", 1), "compare_and_set": ("n", 1, 2)}

        async def node(ctx: Any) -> None:
            await ctx.update("n", increment, scope=GLOBAL)
            await ctx.update("other", increment, scope=GLOBAL)
            given = () if touch == "read_all" else arguments.get(touch, ("n",))
            await getattr(ctx, touch)(*given, scope=GLOBAL)

        rig.node(node)
        result = rig.run(isolation="synchronized")
        left = {one.key.key for one in result.updates}
        assert left == (set() if touch == "read_all" else {"other"})
        assert {one.key.key for one in result.reads} >= {"n", "other"}

    def test_compare_and_set_is_noted_where_the_step_depends_on_it(self, rig: Any) -> None:
        version = rig.put("global", "", a=1)

        async def node(ctx: Any) -> list[bool]:
            return [
                await ctx.compare_and_set("a", 1, 2, GLOBAL),
                await ctx.compare_and_set("a", 1, 3, GLOBAL),
                await ctx.compare_and_set("b", None, [1], GLOBAL),
                await ctx.compare_and_set("c", "other", 1, GLOBAL),
                await ctx.compare_and_set("mine", None, 1),
                await ctx.compare_and_set("mine", 1, 2),
            ]

        rig.node(node)
        result = rig.run()
        assert outputs(result) == {"result": [True, False, True, False, True, True], "mine": 2}
        assert writes(result) == {"a": 2, "b": [1]}
        assert set(result.reads) == {
            StateRead(StateKey("global", "", "a"), version),
            StateRead(StateKey("global", "", "b"), 0),
        }

    def test_an_update_of_memory_stays_in_memory(self, rig: Any) -> None:
        rig.functions.register("increment", increment)
        rig.node(lambda ctx: ctx.update_sync("n", increment, 2))
        result = rig.run(memory={"n": 1})
        assert outputs(result) == {"n": 3}
        assert result.updates == ()

    def test_an_update_takes_only_registered_plain_functions(self, rig: Any) -> None:
        async def function(value: Any) -> Any:
            return value

        rig.functions.register("async_one", function)
        rig.node(lambda ctx: ctx.update_sync("n", lambda value: value, scope=GLOBAL))
        rig.node(lambda ctx: ctx.update_sync("n", "async_one", scope=GLOBAL), "second")
        assert "FunctionNotFound" in rig.run().error_types
        assert "takes a plain, pure one" in rig.run("second").error


class TestUpdatesMadeAgain:
    def closing(self, rig: Any) -> Any:
        rig.functions.register("increment", increment)

        async def node(ctx: Any) -> None:
            await ctx.update("n", increment, 5, scope=GLOBAL)
            await ctx.update("n", increment, scope=GLOBAL)
            await ctx.write("plain", "as it was", GLOBAL)

        rig.node(node)
        result = rig.run()
        rig.inbox.told.values.clear()
        return result

    def test_they_start_from_the_newest_value(self, rig: Any) -> None:
        result = self.closing(rig)
        assert writes(result) == {"n": 6, "plain": "as it was"}
        version = rig.put("global", "", n=100)
        rig.runner.reapply(rig.binding(), result)
        again = rig.inbox.reapplied()
        assert writes(again) == {"n": 106, "plain": "as it was"}
        assert again.reads == (StateRead(StateKey("global", "", "n"), version),)
        assert (again.incarnation, again.execution_id, again.token_id) == (7, "e1", 0)
        assert (again.visit, again.attempt) == (1, 1)

    def test_a_function_that_raises_now_is_reported(self, rig: Any) -> None:
        result = self.closing(rig)
        rig.put("global", "", n="text")
        rig.runner.reapply(rig.binding(), result)
        again = rig.inbox.reapplied()
        assert again.error is not None
        assert again.error_types[0] == "TypeError"
