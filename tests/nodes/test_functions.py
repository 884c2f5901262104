"""What functions are given, what their return values stand for, and how misfits are named."""

from functools import partial
from typing import Any

import pytest

from greenroom.actors.nodes.functions import (
    FunctionRegistry,
    NodePlan,
    analyse,
    encode_outputs,
    error_text,
    error_types,
    may_be_retried,
)
from greenroom.protocol.errors import (
    FunctionNotFound,
    InvalidId,
    InvalidInput,
    InvalidValue,
    KeyNotAllowed,
    NodeFailed,
    StoreUnavailable,
)
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.values import decode_value


def nothing() -> None: ...


class TestRegistering:
    def test_only_callables_are_taken(self) -> None:
        with pytest.raises(InvalidInput, match="function 'f' is a int"):
            FunctionRegistry().register("f", 5)  # type: ignore[arg-type]

    def test_a_name_is_taken_once(self) -> None:
        registry = FunctionRegistry()
        registry.register("f", nothing)
        with pytest.raises(InvalidInput, match="'f' is registered already"):
            registry.register("f", print)
        assert registry.get("f").call is nothing

    def test_a_name_follows_the_rule_of_ids(self) -> None:
        with pytest.raises(InvalidId):
            FunctionRegistry().register("a/b", nothing)

    def test_an_unknown_name_says_how_to_register_it(self) -> None:
        with pytest.raises(FunctionNotFound, match=r"'f' is not registered.*register_function"):
            FunctionRegistry().get("f")

    def test_a_callable_is_found_by_itself(self) -> None:
        registry = FunctionRegistry()
        registry.register("f", nothing)
        assert registry.name_of(nothing) == registry.name_of("f") == "f"
        with pytest.raises(FunctionNotFound):
            registry.name_of(lambda: None)


class TestSignatures:
    def test_parameters_context_and_keywords_are_told_apart(self) -> None:
        def function(a: int, ctx: Any, *, b: int = 2, **rest: Any) -> None: ...

        found = analyse("f", function)
        assert found.takes_context
        assert found.takes_any
        assert found.parameters == {"a", "b"}
        assert found.required == {"a"}
        assert not found.is_async

    def test_partials_and_methods_are_seen_through(self) -> None:
        class Service:
            async def work(self, a: int, b: int) -> None: ...

        found = analyse("f", partial(Service().work, b=1))
        assert found.is_async
        assert found.required == {"a"}

    def test_a_builtin_without_a_signature_is_called_with_what_there_is(self) -> None:
        assert analyse("f", dict).takes_any


class TestProblems:
    def problems(self, function: Any, **fields: Any) -> list[str]:
        registry = FunctionRegistry()
        registry.register("f", function)
        return registry.problems([NodeSpec(id="n", function="f", **fields)])

    def test_an_input_key_that_the_function_cannot_take(self) -> None:
        (problem,) = self.problems(nothing, input_keys=["x"])
        assert problem == "node 'n': function 'f' has no parameter for input key 'x'"

    def test_keywords_take_every_input_key(self) -> None:
        assert self.problems(lambda **rest: None, input_keys=["x", "any text"]) == []

    def test_a_parameter_that_no_input_key_gives(self) -> None:
        (problem,) = self.problems(lambda x, y: None, input_keys=["x"])
        assert "needs parameters ['y']" in problem

    def test_a_default_makes_a_parameter_optional(self) -> None:
        assert self.problems(lambda x=1: None) == []

    def test_parameters_that_have_no_keyword(self) -> None:
        def function(x: int, /) -> None: ...

        assert any("by position" in one for one in self.problems(function))

    def test_an_input_key_named_like_the_context(self) -> None:
        (problem,) = self.problems(lambda ctx: None, input_keys=["ctx"])
        assert "'ctx'" in problem

    def test_functions_that_nobody_registered(self) -> None:
        registry = FunctionRegistry()
        nodes = [
            NodeSpec(id="a"),
            NodeSpec(id="b", function="f"),
            NodeSpec(id="c", function="f"),
            NodeSpec(id="d", node_type="router", routes={"default": "a"}),
            NodeSpec(id="e", node_type="router", function="pick", routes={"default": "a"}),
        ]
        assert registry.missing(nodes) == ["a", "f", "pick"]
        assert len(registry.problems(nodes)) == 4


class TestOutputs:
    def outputs(self, value: object, **fields: Any) -> tuple[dict[str, Any], str | None]:
        plan = NodePlan(NodeSpec(id="n", **fields), analyse("n", nothing))
        found, route = encode_outputs(plan, value)
        return {key: decode_value(raw) for key, raw in found.items()}, route

    @pytest.mark.parametrize(
        ("value", "keys", "outputs"),
        [
            ({"a": 1, "b": 2}, [], {"a": 1, "b": 2}),
            ({"a": 1}, ["a", "b"], {"a": 1}),
            ({"other": 1}, ["a", "b"], {"a": {"other": 1}}),
            ({}, ["a"], {"a": {}}),
            ({}, [], {}),
            (5, ["a", "b"], {"a": 5}),
            ((1, 2), [], {"result": [1, 2]}),
            (False, [], {"result": False}),
            (None, ["a"], {}),
            (None, [], {}),
        ],
    )
    def test_what_a_return_value_stands_for(
        self, value: object, keys: list[str], outputs: dict[str, Any]
    ) -> None:
        assert self.outputs(value, output_keys=keys) == (outputs, None)

    def test_a_key_that_is_not_declared_is_refused(self) -> None:
        with pytest.raises(PermissionError, match=r"^Not allowed to write key: z$"):
            self.outputs({"a": 1, "z": 2}, output_keys=["a"])
        with pytest.raises(KeyNotAllowed):
            self.outputs({"a": 1, 5: 2}, output_keys=["a"])

    @pytest.mark.parametrize("key", ["", 5, "\ud800", "k" * 2000])
    def test_a_key_that_cannot_be_stored_is_refused(self, key: Any) -> None:
        with pytest.raises(InvalidValue):
            self.outputs({key: 1})

    def test_a_value_that_cannot_be_stored_is_named_by_its_path(self) -> None:
        with pytest.raises(InvalidValue) as caught:
            self.outputs({"a": [{"b": {1, object()}}]})
        assert caught.value.path == "$.a[0].b[0]" or caught.value.path == "$.a[0].b[1]"

    def test_a_routers_text_is_its_route(self) -> None:
        assert self.outputs("left", node_type="router") == ({}, "left")

    def test_a_routers_dict_may_hold_its_route_and_outputs(self) -> None:
        value = {"route": "left", "why": "because"}
        assert self.outputs(value, node_type="router") == ({"why": "because"}, "left")
        assert self.outputs({"route": "left"}, node_type="router", output_keys=["x"]) == (
            {},
            "left",
        )
        assert self.outputs(value, node_type="router", output_keys=["route", "why"]) == (
            value,
            "left",
        )

    def test_a_functions_text_is_no_route(self) -> None:
        assert self.outputs("left") == ({"result": "left"}, None)


class _Final(NodeFailed):
    retryable = False


class _Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class TestErrors:
    def test_the_text_is_the_errors_own_or_its_class(self) -> None:
        assert error_text(ValueError("no good")) == "no good"
        assert error_text(ValueError()) == "ValueError"
        assert error_text(_Broken()) == "_Broken"

    def test_the_text_can_always_be_sent_and_is_bounded(self) -> None:
        assert error_text(ValueError("\ud800")) == "\\ud800"
        assert len(error_text(ValueError("x" * 100_000))) == 4_000

    def test_types_are_the_class_names_and_the_code(self) -> None:
        assert error_types(ZeroDivisionError()) == (
            *("ZeroDivisionError", "ArithmeticError", "Exception", "BaseException"),
        )
        assert error_types(StoreUnavailable())[-1] == "store_unavailable"

    def test_an_error_may_say_that_a_retry_is_of_no_use(self) -> None:
        assert may_be_retried(ValueError())
        assert may_be_retried(NodeFailed("try again"))
        assert not may_be_retried(_Final("never"))
        assert not may_be_retried(InvalidValue("$", "never"))
