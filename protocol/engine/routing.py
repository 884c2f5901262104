"""Where an execution goes after a node: routes of a router, then edges, and the input mapping of
the way taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from greenroom.protocol.engine.conditions import evaluate
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.plan import KeyMapping, PlanEdge, PlanNode
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.errors import InvalidExpression
from greenroom.protocol.events import EventType
from greenroom.protocol.limits import MAP_ITEMS_MAX
from greenroom.protocol.values import decode_value

Outputs = Mapping[str, msgspec.Raw]

_EDGE_ERROR: Final = EventType.EDGE_ERROR.value
_SHORT_LIST: Final = range(0x90, 0xA0)  # MessagePack: the head of a list holds its length
_LIST_SIZES: Final = {0xDC: 2, 0xDD: 4}


class Way(msgspec.Struct, frozen=True):
    """A next node, and what it gets as its source's output; `over` is the edge of a map, with
    `items` as its list.

    `given` are the keys that the way maps: to memory, or, beside other ways, to its branch alone.
    """

    target: str
    output: Outputs
    given: Outputs = {}
    over: PlanEdge | None = None
    items: msgspec.Raw | None = None


class DecodedView(Mapping[str, Any]):
    """A read-only view that decodes a value when it is asked for, once. Earlier layers hide later
    ones.
    """

    __slots__ = ("_decoded", "_layers")

    def __init__(self, *layers: Outputs) -> None:
        self._layers = layers
        self._decoded: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self._decoded:
            return self._decoded[key]
        for layer in self._layers:
            raw = layer.get(key)
            if raw is not None:
                value = self._decoded[key] = decode_value(raw)
                return value
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return any(key in layer for layer in self._layers)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for layer in reversed(self._layers) for key in layer))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __len__(self) -> int:
        return len(set().union(*self._layers))


def choose(
    draft: Draft, node: PlanNode, output: Outputs, *, succeeded: bool, label: str | None
) -> tuple[Sequence[Way], str | None]:
    """Return the ways onward from `node`, in the order of its edges, and why a condition could not
    tell (None when none failed).

    `label` is what a router matches against its routes; None means that routes are not asked. A
    route goes before the edges. After a success all edges are taken that may be, of the conditional
    ones those of the highest priority; after a failure the first. An edge whose condition cannot be
    evaluated, or whose map has no list, is not taken, and adds an `edge_error` event.
    """
    if label is not None:
        target = pick_route(node.routes, label)
        if target is not None:
            return (_way(draft, target, node.mapping_to.get(target, ()), output),), None
    if succeeded and node.next_node is not None:
        return (Way(node.next_node, output),), None
    ways: list[Way] = []
    otherwise: list[PlanEdge] = []
    broken: str | None = None
    lowest: int | None = None  # of the conditional edges that are taken
    views: tuple[DecodedView, DecodedView] | None = None
    for edge in node.edges:
        if not (edge.after_success if succeeded else edge.after_failure):
            continue
        if edge.otherwise:
            otherwise.append(edge)
            continue
        if edge.conditional and lowest is not None and edge.priority < lowest:
            continue
        try:
            if edge.condition is not None:
                if views is None:
                    views = DecodedView(output), DecodedView(*draft.layers())
                if not evaluate(edge.condition, output=views[0], memory=views[1]):
                    continue
            ways.append(_along(draft, edge, output))
        except InvalidExpression as error:
            broken = broken or _report(draft, node, edge, error)
            continue
        if edge.conditional:
            lowest = edge.priority
        if not succeeded:
            break
    if not ways:
        for edge in otherwise:
            try:
                ways.append(_along(draft, edge, output))
            except InvalidExpression as error:
                broken = broken or _report(draft, node, edge, error)
    return ways, broken


def _along(draft: Draft, edge: PlanEdge, output: Outputs) -> Way:
    """The way along an edge. Raises InvalidExpression when it maps over what is not a list."""
    way = _way(draft, edge.target, edge.mapping, output)
    if edge.map is None:
        return way
    over = edge.map.over
    raw = output.get(over)
    if raw is None:
        raw = draft.read(over)
    if raw is None:
        raise InvalidExpression(f"there is no {over!r} to map over")
    count = items_in(raw)
    if count is None:
        raise InvalidExpression(f"{over!r} is not a list, and only lists can be mapped over")
    if count > MAP_ITEMS_MAX:
        raise InvalidExpression(f"{over!r} has {count} elements, a map takes {MAP_ITEMS_MAX}")
    return msgspec.structs.replace(way, over=edge, items=raw)


def items_in(raw: msgspec.Raw) -> int | None:
    """Return how many elements an encoded list has, None for another value."""
    encoded = memoryview(raw)
    first = encoded[0]
    if first in _SHORT_LIST:
        return first - _SHORT_LIST.start
    if first in _LIST_SIZES:
        return int.from_bytes(encoded[1 : 1 + _LIST_SIZES[first]], "big")
    return None


def route_label(draft: Draft, node: PlanNode, output: Outputs, *, succeeded: bool) -> str:
    """Return the text that a router without a choice of its own matches: the value of `route_on`,
    looked up in the source's output, then in memory; without `route_on` "success" or "failure" by
    the source's outcome.

    True and False stand for "success" and "failure", numbers for their digits. A missing value, or
    one of another kind, gives "", which matches "default" only.
    """
    key = node.spec.route_on
    if key is None:
        return "success" if succeeded else "failure"
    raw = output.get(key)
    if raw is None:
        raw = draft.read(key)
    value = None if raw is None else decode_value(raw)
    if isinstance(value, bool):
        return "success" if value else "failure"
    if isinstance(value, str | int | float):
        return str(value)
    return ""


def pick_route(routes: Mapping[str, str], label: str) -> str | None:
    """Return the target for `label`: its own route, else the first route whose name is a part of
    it, else "default".
    """
    target = routes.get(label)
    if target is not None:
        return target
    for name, target in routes.items():
        if name and name != "default" and name in label:
            return target
    return routes.get("default")


def _way(draft: Draft, target: str, mapping: KeyMapping, output: Outputs) -> Way:
    """The way to a node. With a mapping what it maps is passed on, else the whole output.

    All sources are read before anything is written, so that a mapping may swap keys.
    """
    if not mapping:
        return Way(target, output)
    mapped: dict[str, msgspec.Raw] = {}
    for key, source in mapping:
        raw = output.get(source)
        if raw is None:
            raw = draft.read(source)
        if raw is not None:
            mapped[key] = raw
    return Way(target, mapped, mapped)


def _report(draft: Draft, node: PlanNode, edge: PlanEdge, error: InvalidExpression) -> str:
    why = bounded_text(str(error))
    draft.event(_EDGE_ERROR, node.id, {"edge": edge.id, "target": edge.target, "error": why})
    return f"edge {edge.id!r}: {why}"
