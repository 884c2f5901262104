"""The registry of users' callables, and the rules for what they are given and what they return."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from greenroom.actors.nodes.host import is_async
from greenroom.protocol.errors import FunctionNotFound, InvalidInput, KeyNotAllowed
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.ids import validate_id
from greenroom.protocol.shared_state import check_key
from greenroom.protocol.values import encode_value

CONTEXT_PARAMETER: Final = "ctx"
RESULT_KEY: Final = "result"
ROUTE_KEY: Final = "route"
ROUTER: Final = "router"
ERROR_CHARS_MAX: Final = 4_000  # of an error's text on its way to the stream, which stores less

NAMED: Final = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})


class RegisteredFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A callable and what its signature says; analysed once.

    `parameters` are the names that it can be given by keyword, without `ctx`; `required` those
    among them that have no default; `takes_any` is true with `**keywords`. `problem` says why it
    can never be called, None when it can.
    """

    name: str
    call: Callable[..., Any]
    is_async: bool
    takes_context: bool
    takes_any: bool
    parameters: frozenset[str]
    required: frozenset[str]
    problem: str | None = None


class FunctionRegistry:
    """Callables by name: functions of nodes and of `update`. Filled before the runtime starts."""

    def __init__(self) -> None:
        self._by_name: dict[str, RegisteredFunction] = {}
        self._names: dict[int, str] = {}  # id of the callable, which the registry keeps alive

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def names(self) -> tuple[str, ...]:
        """Every registered name, in the order of registration."""
        return tuple(self._by_name)

    @property
    def plain(self) -> frozenset[str]:
        """The names of those that are not async: nothing can stop them once they run."""
        return frozenset(name for name, one in self._by_name.items() if not one.is_async)

    def register(self, name: str, function: Callable[..., Any]) -> RegisteredFunction:
        """Bind `name` to `function`.

        Raises InvalidId, and InvalidInput for something that cannot be called or a taken name.
        """
        validate_id("function", name)
        if not callable(function):
            raise InvalidInput(
                f"function {name!r} is a {type(function).__name__}: register something callable"
            )
        if name in self._by_name:
            raise InvalidInput(f"function {name!r} is registered already: choose another name")
        found = analyse(name, function)
        self._by_name[name] = found
        self._names.setdefault(id(function), name)
        return found

    def get(self, name: str) -> RegisteredFunction:
        """Return the function of that name. Raises FunctionNotFound."""
        found = self._by_name.get(name)
        if found is None:
            raise FunctionNotFound(
                f"function {name!r} is not registered: pass functions={{{name!r}: callable}} or "
                "call register_function() before start()"
            )
        return found

    def name_of(self, function: str | Callable[..., Any]) -> str:
        """Return the name of a registered callable, or the registered name itself.

        Raises FunctionNotFound.
        """
        if isinstance(function, str):
            return self.get(function).name
        name = self._names.get(id(function))
        if name is None:
            shown = getattr(function, "__qualname__", repr(function))
            raise FunctionNotFound(
                f"{shown} is not registered: functions that change shared state are called again "
                "by name; register it before start()"
            )
        return name

    def missing(self, nodes: Iterable[NodeSpec]) -> list[str]:
        """Return the names that the nodes use and nobody registered, each once, in order."""
        names = [
            node.function_name
            for node in nodes
            if not (node.node_type == ROUTER and node.function is None)
        ]
        return [name for name in dict.fromkeys(names) if name not in self._by_name]

    def problems(self, nodes: Iterable[NodeSpec]) -> list[str]:
        """Return how the nodes and their functions do not fit, one text each; missing ones too."""
        found: list[str] = []
        for node in nodes:
            if node.node_type == ROUTER and node.function is None:
                continue
            function = self._by_name.get(node.function_name)
            if function is None:
                found.append(f"node {node.id!r}: function {node.function_name!r} is not registered")
            else:
                found += _misfits(node, function)
        return found


def analyse(name: str, function: Callable[..., Any]) -> RegisteredFunction:
    """Read a callable's signature. One that has none (some built-ins) is taken to accept any."""
    try:
        parameters = tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = (inspect.Parameter("keywords", inspect.Parameter.VAR_KEYWORD),)
    named = {one.name: one for one in parameters if one.kind in NAMED}
    unnamed = [
        one.name
        for one in parameters
        if one.kind is inspect.Parameter.POSITIONAL_ONLY and one.default is one.empty
    ]
    problem = None
    if unnamed:
        problem = f"parameters {unnamed} can only be given by position: inputs come by keyword"
    return RegisteredFunction(
        name=name,
        call=function,
        is_async=is_async(function),
        takes_context=CONTEXT_PARAMETER in named,
        takes_any=any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters),
        parameters=frozenset(named) - {CONTEXT_PARAMETER},
        required=frozenset(key for key, one in named.items() if one.default is one.empty)
        - {CONTEXT_PARAMETER},
        problem=problem,
    )


def takes_one(function: Callable[..., Any]) -> bool:
    """Say whether `function` can be called with one argument by position."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # some built-ins have no signature; the call will tell
        return True
    return True


def _misfits(node: NodeSpec, function: RegisteredFunction) -> list[str]:
    where = f"node {node.id!r}: function {function.name!r}"
    found = []
    if function.problem is not None:
        found.append(f"{where}: {function.problem}")
    if CONTEXT_PARAMETER in node.input_keys:
        found.append(
            f"node {node.id!r}: input key {CONTEXT_PARAMETER!r} is the name under which a function "
            "gets its NodeContext: rename the key"
        )
    if not function.takes_any:
        found += [
            f"{where} has no parameter for input key {key!r}"
            for key in node.input_keys
            if key not in function.parameters and key != CONTEXT_PARAMETER
        ]
    lost = sorted(function.required - set(node.input_keys))
    if lost:
        found.append(f"{where} needs parameters {lost} that are not among the node's input_keys")
    return found


class NodePlan:
    """What running one node needs, worked out once; `inputs` are (key, must it be there)."""

    __slots__ = (
        "call",
        "declared",
        "first_output",
        "function",
        "inline",
        "inputs",
        "is_async",
        "is_router",
        "node",
        "takes_context",
    )

    def __init__(self, node: NodeSpec, function: RegisteredFunction) -> None:
        self.node = node
        self.function = function
        self.call = function.call
        self.is_async = function.is_async
        self.inline = node.inline
        self.is_router = node.node_type == ROUTER
        self.takes_context = function.takes_context
        self.inputs = tuple((key, key in function.required) for key in node.input_keys)
        self.declared = frozenset(node.output_keys)
        self.first_output = node.output_keys[0] if node.output_keys else None


def encode_outputs(plan: NodePlan, value: object) -> tuple[dict[str, msgspec.Raw], str | None]:
    """Return what a node's return value stands for: its outputs, each encoded, and its route.

    With declared `output_keys` a dict that has one of them is a dict of outputs; any other value is
    the first output. Without, a dict is the outputs and any other value is "result". None is no
    output. A router's str, or the "route" of its dict, is its route.
    Raises KeyNotAllowed for a key that is not declared, InvalidValue and ValueTooLarge with the
    path of what cannot be stored.
    """
    route: str | None = None
    if plan.is_router:
        if isinstance(value, str):
            return {}, check_key(value)
        if isinstance(value, dict) and isinstance(chosen := value.get(ROUTE_KEY), str):
            route = check_key(chosen)
            if ROUTE_KEY not in plan.declared:
                value = {key: item for key, item in value.items() if key != ROUTE_KEY}
                if not value:
                    return {}, route
    if value is None:
        return {}, route
    first = plan.first_output
    if isinstance(value, dict):
        if first is None or not plan.declared.isdisjoint(value):
            return _encode_each(plan, value), route
    elif first is None:
        first = RESULT_KEY
    assert first is not None  # a dict without a declared key has a first output key to go to
    return {first: msgspec.Raw(encode_value(value, f"$.{first}"))}, route


def _encode_each(plan: NodePlan, outputs: Mapping[Any, object]) -> dict[str, msgspec.Raw]:
    declared = plan.declared
    encoded: dict[str, msgspec.Raw] = {}
    for key, value in outputs.items():
        if declared and key not in declared:
            raise KeyNotAllowed(f"Not allowed to write key: {key}")
        name = check_key(key)
        encoded[name] = msgspec.Raw(encode_value(value, f"$.{name}"))
    return encoded


def error_types(error: BaseException) -> tuple[str, ...]:
    """Return what `retry_on` may name: the class names of the error, then its code."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind is not object]
    code = getattr(error, "code", None)
    if isinstance(code, str) and code:
        names.append(code)
    return tuple(names)


def error_text(error: BaseException) -> str:
    """Return the error's own text, or its class name when it has none; bounded, never raises.

    A KeyError's text is only the key, so its class comes first.
    """
    try:
        text = f"KeyError: {error}" if type(error) is KeyError else str(error)
    except Exception:  # noqa: BLE001  a broken __str__ must not hide that the node failed
        text = ""
    # A lone surrogate cannot be sent, and would take the other results of its batch with it.
    return (
        (text[:ERROR_CHARS_MAX] or type(error).__name__)
        .encode("utf-8", "backslashreplace")
        .decode()
    )


def may_be_retried(error: BaseException) -> bool:
    """False when the error says of itself that another attempt is of no use."""
    return getattr(error, "retryable", True) is not False
