"""Conditions: what they can say, and that everything else is a visible error."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.protocol.engine.conditions import compile_condition, evaluate
from greenroom.protocol.errors import InvalidExpression, StoreCorrupt

OUTPUT = {"confidence": 0.9, "result": 3, "items": [1, 2], "deep": {"a": {"b": 1}}, "empty": ""}
MEMORY = {"x": 5, "output": 1, "name": "Bob", "tags": ["bug", "ui"]}


def holds(expression: str | None, output: Any = OUTPUT, memory: Any = MEMORY) -> bool:
    return evaluate(compile_condition(expression), output=output, memory=memory)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (None, True),
        ("  ", True),
        ("output.confidence > 0.8", True),
        ("output['confidence'] > 0.95", False),
        ("output.deep.a.b == 1 and x == 5", True),
        ("result == 3", True),
        ("output.items == [1, 2]", True),
        ("len(output.items()) == 5", True),
        ("output.get('missing') is None", True),
        ("'missing' in output", False),
        ("memory.output == 1", True),
        ("output.result == 3", True),
        ("name.lower() == 'bob'", True),
        ("'bug' in tags", True),
        ("tags[0:1] == ['bug']", True),
        ("true and not false", True),
        ("True or nope", True),
        ("false and nope", False),
        ("x if true else nope", True),
        ("1 < x < 9", True),
        ("9 < x < nope", False),
        ("max(output.items, default=0) + 2 ** 3 == 10", True),
        ("output.empty", False),
        ("sum((1, 2)) == 3 and {'a': 1}['a'] == 1", True),
        ("all([true, x > 1]) and any([false, x % 2 == 1])", True),
        ("round(output.confidence) == 1 and int('4') == 4", True),
    ],
)
def test_a_condition_means_what_python_means(expression: str | None, expected: bool) -> None:
    assert holds(expression) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "x.__class__",
        "().__class__.__bases__",
        "x._private",
        "__import__('os')",
        "open('/etc/passwd')",
        "eval('1')",
        "lambda: 1",
        "[a for a in tags]",
        "f'{x}'",
        "{**memory}",
        "max(*tags)",
        "x = 1",
        "x := 1",
        "import os",
        "x; x",
        "(",
        "name.format(x)",
        "name.lower",
        "tags.append(1)",
        "(lambda: 1)()",
        "max(tags, key=len)",
        "x @ x",
        "1j",
        "...",
        "await x",
        "yield x",
        "{1, 2}",
        "a\x00b",
        "x > 1 " + "or x > 1 " * 300,
        "(" * 60 + "1" + ")" * 60 + "+" + "-" * 60 + "1",
        "1" * 5000,
    ],
)
def test_what_conditions_may_not_say_is_refused(expression: str) -> None:
    if expression == "name.lower":  # parses as a key of a dict; text has no keys
        condition = compile_condition(expression)
        with pytest.raises(InvalidExpression, match="no key 'lower'"):
            evaluate(condition, output=OUTPUT, memory=MEMORY)
        return
    with pytest.raises(InvalidExpression):
        compile_condition(expression)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("nope", "no name 'nope'"),
        ("len > 3", "no name 'len'"),
        ("output.nope", "output has no key 'nope'"),
        ("output.deep.a.c", "output.deep.a has no key 'c'"),
        ("memory['zz']", "zz"),
        ("tags[9]", "IndexError"),
        ("x.confidence", "x is a int and has no key"),
        ("x.lower()", "a int has no method 'lower'"),
        ("tags.items()", "a list has no method"),
        ("x > name", "TypeError"),
        ("1 / 0", "ZeroDivisionError"),
        ("int('x')", "ValueError"),
        ("9 ** 9 ** 9", "exponent"),
        ("(2 ** 900) ** 900", "too large"),
        ("'%99999999999d' % 1", "needs numbers"),
        ("'a' * 10 ** 9", "needs numbers"),
        ("[0] * 10 ** 9", "needs numbers"),
        ("1 << 10 ** 6", "NumberTooHigh"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_with_its_reason(expression: str, why: str) -> None:
    condition = compile_condition(expression)
    with pytest.raises(InvalidExpression) as caught:
        evaluate(condition, output=OUTPUT, memory=MEMORY)
    assert why in str(caught.value)
    assert expression in str(caught.value)


def test_a_missing_result_and_an_output_without_keys_are_errors() -> None:
    for expression, output in (("result", {}), ("output.a", [1]), ("result > 1", None)):
        with pytest.raises(InvalidExpression, match="no key"):
            holds(expression, output)


class Lazy(Mapping[str, Any]):
    """A memory that records which keys are decoded."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values_by_key = values
        self.read: list[str] = []

    def __getitem__(self, key: str) -> Any:
        self.read.append(key)
        if key == "broken":
            raise StoreCorrupt("stored bytes are not a value")
        return self.values_by_key[key]

    def __contains__(self, key: object) -> bool:
        return key in self.values_by_key

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_key)

    def __len__(self) -> int:
        return len(self.values_by_key)


def test_only_the_memory_keys_that_are_used_are_read() -> None:
    memory = Lazy({"a": 1, "b": 2, "c": 3, "broken": 0})
    assert holds("a == 1 and memory.b == 2 and ('c' in memory)", {}, memory)
    assert memory.read == ["a", "b"]
    assert holds("memory.get('c') == 3 and len(memory) == 4", {}, memory)


def test_a_failing_store_under_the_memory_is_not_taken_for_a_bad_condition() -> None:
    with pytest.raises(StoreCorrupt):
        holds("broken", {}, Lazy({"broken": 0}))


def test_one_condition_serves_many_threads_at_once() -> None:
    condition = compile_condition("output.n == n and memory.n == n")
    start = threading.Barrier(4)
    wrong: list[int] = []

    def run(number: int) -> None:
        start.wait()
        for _ in range(300):
            if not evaluate(condition, output={"n": number}, memory={"n": number}):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("x output.name[]()'12+-*%<>=&|~,:{} andornotif"), max_size=30))
def test_any_text_is_a_bool_or_a_typed_error(expression: str) -> None:
    with contextlib.suppress(InvalidExpression):
        assert holds(expression) in (True, False)
