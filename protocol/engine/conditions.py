"""Conditions on edges: small expressions over a node's output and the execution's memory.

The syntax is Python's: constants, lists, tuples, dicts, arithmetic on numbers, comparisons, `and`,
`or`, `not` (short-circuit), `a if c else b`, subscripts, `output.confidence` for a key of a dict,
calls to the functions and methods listed below. All else is refused when a condition is compiled.

Names: `output`, `memory`, `result` (the key "result" of the output), `true`, `false`, then every
key of the memory. The reserved names win over memory keys of the same name on purpose: a node that
happens to write a key called "output" must not change what the graph's conditions mean; such a
key is read as `memory["output"]`.

Something missing (a name, a key, an index) is an error, never a silent False: use
`output.get("key")` or `"key" in memory` where absence is expected.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, NoReturn

import simpleeval  # type: ignore[import-untyped, unused-ignore]

from greenroom.protocol.errors import InvalidExpression
from greenroom.protocol.limits import (
    CONDITION_CHARS_MAX,
    CONDITION_DEPTH_MAX,
    CONDITION_EXPONENT_MAX,
    CONDITION_INTEGER_BITS_MAX,
    CONDITION_NODES_MAX,
)

RESERVED_NAMES: Final = frozenset({"output", "memory", "result", "true", "false"})

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            *(len, int, float, str, bool, list, dict, tuple, set),
            *(min, max, sum, abs, round, all, any),
        )
    }
)
_MAPPING_METHODS: Final = frozenset({"get", "keys", "values", "items"})
_TEXT_METHODS: Final = frozenset({"lower", "upper", "strip", "split"})
METHODS: Final = _MAPPING_METHODS | _TEXT_METHODS
_KEYWORDS: Final = frozenset({"default", "ndigits", "sep", "maxsplit"})

_ALLOWED: Final = (
    *(ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Name, ast.Load),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp),
    *(ast.Subscript, ast.Slice, ast.Attribute, ast.Call, ast.keyword),
    *(ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
)

# What evaluating plain data can raise. Errors of the store under the memory pass as they are.
_FAILURES: Final = (
    simpleeval.InvalidExpression,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
    MemoryError,
)


class Condition:
    """A parsed condition. Immutable and safe to share between threads. `tree` None is always true.

    `expression` is the text as written.
    """

    __slots__ = ("expression", "tree")

    def __init__(self, expression: str, tree: ast.expr | None) -> None:
        self.expression = expression
        self.tree = tree

    def __repr__(self) -> str:
        return f"Condition({self.expression!r})"


def compile_condition(expression: str | None) -> Condition:
    """Parse a condition once. None and blank text are always true.

    Raises InvalidExpression with the reason when it does not parse, is too long or too deep, or
    uses what conditions may not use.
    """
    text = "" if expression is None else expression
    if not isinstance(text, str):
        raise InvalidExpression(f"a condition must be a str, not {type(text).__name__}")
    if not text.strip():
        return Condition(text, None)
    if len(text) > CONDITION_CHARS_MAX:
        raise InvalidExpression(
            f"the condition {text[:40]!a}... has {len(text)} characters, "
            f"over the limit of {CONDITION_CHARS_MAX}"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise InvalidExpression(f"{text!a} does not parse: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidExpression(f"{text!a} does not parse: {error}") from error
    _check(text, tree)
    return Condition(text, tree)


def evaluate(
    condition: Condition,
    *,
    output: Any,
    memory: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
) -> bool:
    """Return whether the condition holds. The arguments are only read, memory key by key.

    `metrics`, when given, is what the name "metrics" means. Raises InvalidExpression with the
    reason when it cannot be evaluated on these values.
    """
    return bool(value_of(condition, output=output, memory=memory, metrics=metrics))


def value_of(
    condition: Condition,
    *,
    output: Any,
    memory: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
) -> Any:
    """Return the value of the expression itself. Otherwise as `evaluate`."""
    if condition.tree is None:
        return True
    token = _names.set(_Names(output, memory, metrics))
    try:
        return _evaluator.value_of(condition.tree)
    except InvalidExpression as error:
        raise InvalidExpression(f"{condition.expression!a}: {error}") from error
    except _FAILURES as error:
        reason = f"{type(error).__name__}: {error}"
        raise InvalidExpression(f"{condition.expression!a}: {reason}") from error
    finally:
        _names.reset(token)


def _check(text: str, tree: ast.expr) -> None:
    """Refuse everything outside the language, so that a bad condition fails before it runs."""

    def refuse(why: str) -> NoReturn:
        raise InvalidExpression(f"{text!a}: {why}")

    methods: set[int] = set()
    functions: set[int] = set()
    pending: list[tuple[ast.AST, int]] = [(tree, 1)]
    seen = 0
    while pending:
        node, depth = pending.pop()
        seen += 1
        if depth > CONDITION_DEPTH_MAX or seen > CONDITION_NODES_MAX:
            refuse(f"more than {CONDITION_NODES_MAX} parts or {CONDITION_DEPTH_MAX} deep")
        if not isinstance(node, _ALLOWED):
            refuse(f"{type(node).__name__} is not available in conditions")
        match node:
            case ast.Call(func=ast.Name(id=name)):
                functions.add(id(node.func))
                if name not in FUNCTIONS:
                    refuse(f"no function {name!r}: use {', '.join(FUNCTIONS)}")
            case ast.Call(func=ast.Attribute(attr=name)):
                methods.add(id(node.func))
                if name not in METHODS:
                    refuse(f"no method {name!r}: use {', '.join(sorted(METHODS))}")
            case ast.Call():
                refuse("only named functions and methods can be called")
            case ast.keyword(arg=name) if name not in _KEYWORDS:
                refuse(f"the keyword argument {name!r} is not available")
            case ast.Attribute(attr=name) if name.startswith("_"):
                refuse(f"the name {name!r} begins with an underscore")
            case ast.Name(id=name) if name.startswith("__"):
                refuse(f"the name {name!r} begins with underscores")
            case ast.Dict(keys=keys) if None in keys:
                refuse("** is not available in conditions")
            case ast.BinOp(op=ast.MatMult()):
                refuse("the operator @ is not available in conditions")
            case ast.Constant(value=value) if isinstance(value, complex) or value is ...:
                refuse(f"the constant {value!r} is not available in conditions")
        pending += [(child, depth + 1) for child in ast.iter_child_nodes(node)]


class _Names:
    """What a bare name means; reads the memory only for the names that are used."""

    __slots__ = ("_memory", "_metrics", "_output")

    def __init__(
        self, output: Any, memory: Mapping[str, Any], metrics: Mapping[str, Any] | None
    ) -> None:
        self._output = output
        self._memory = memory
        self._metrics = metrics

    def __getitem__(self, name: str) -> Any:
        match name:
            case "output":
                return self._output
            case "memory":
                return self._memory
            case "true":
                return True
            case "false":
                return False
            case "result":
                return _key_of(self._output, "result", "output")
        if name == "metrics" and self._metrics is not None:
            return self._metrics
        if name in self._memory:
            return self._memory[name]
        raise InvalidExpression(f"there is no name {name!r}: memory has no such key")


# One evaluator serves all threads, so what differs per evaluation is kept here and not in it.
# Making one swaps the process's warning filters for a moment: not safe while threads run.
_names: Final[ContextVar[_Names]] = ContextVar("names")


class _Evaluator(simpleeval.EvalWithCompoundTypes):  # type: ignore[misc, unused-ignore]
    """simpleeval over plain data: an attribute is a key, a method is one of ours."""

    def __init__(self) -> None:
        super().__init__(operators=dict(_OPERATORS), functions=dict(FUNCTIONS), names={})
        self.nodes[ast.Name] = self._name
        self.nodes[ast.Attribute] = self._attribute
        self.nodes[ast.Call] = self._call

    def value_of(self, tree: ast.expr) -> Any:
        """Return the value of a checked tree under the names of this context."""
        return self._eval(tree)

    def _check_disallowed_items(self, item: object) -> None:
        # The values come from the store and are plain data; scanning each again, whole, for modules
        # and forbidden functions would cost their full size at every step of the evaluation.
        return

    def _name(self, node: ast.Name) -> Any:
        return _names.get()[node.id]

    def _attribute(self, node: ast.Attribute) -> Any:
        return _key_of(self._eval(node.value), node.attr, ast.unparse(node.value))

    def _call(self, node: ast.Call) -> Any:
        arguments = [self._eval(argument) for argument in node.args]
        keywords = {
            keyword.arg: self._eval(keyword.value)
            for keyword in node.keywords
            if keyword.arg is not None
        }
        match node.func:
            case ast.Name(id=name):
                return FUNCTIONS[name](*arguments, **keywords)
            case ast.Attribute(value=value, attr=name):
                return _method(self._eval(value), name)(*arguments, **keywords)
        raise InvalidExpression("only named functions and methods can be called")


def _key_of(value: object, key: str, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise InvalidExpression(f"{where} is a {type(value).__name__} and has no key {key!r}")
    if key not in value:
        raise InvalidExpression(f"{where} has no key {key!r}")
    return value[key]


def _method(value: object, name: str) -> Callable[..., Any]:
    fits = isinstance(value, Mapping) and name in _MAPPING_METHODS
    if not fits and not (isinstance(value, str) and name in _TEXT_METHODS):
        raise InvalidExpression(f"a {type(value).__name__} has no method {name!r}")
    method: Callable[..., Any] = getattr(value, name)
    return method


def _multiply(left: Any, right: Any) -> Any:
    _require_numbers("*", left, right)
    return left * right


def _remainder(left: Any, right: Any) -> Any:
    # On text `%` would be formatting, where a width of a billion takes all memory.
    _require_numbers("%", left, right)
    return left % right


def _power(left: Any, right: Any) -> Any:
    _require_numbers("**", left, right)
    if abs(right) > CONDITION_EXPONENT_MAX:
        raise InvalidExpression(f"the exponent is over {CONDITION_EXPONENT_MAX}")
    if isinstance(left, int) and left.bit_length() * abs(right) > CONDITION_INTEGER_BITS_MAX:
        raise InvalidExpression("the power is too large")
    return left**right


def _require_numbers(sign: str, left: object, right: object) -> None:
    for value in (left, right):
        if not isinstance(value, int | float):
            raise InvalidExpression(f"{sign} needs numbers, not a {type(value).__name__}")


_OPERATORS: Final = {
    **simpleeval.DEFAULT_OPERATORS,
    ast.Mult: _multiply,
    ast.Mod: _remainder,
    ast.Pow: _power,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}

_evaluator: Final = _Evaluator()
