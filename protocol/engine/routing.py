"""Where an execution goes after a node: routes of a router, then edges, and the input mapping of
the way taken.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from greenroom.protocol.engine.conditions import evaluate
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.plan import KeyMapping, PlanEdge, PlanNode
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.errors import InvalidExpression
from greenroom.protocol.events import EventType
from greenroom.protocol.values import decode_value

Outputs = Mapping[str, msgspec.Raw]

_EDGE_ERROR: Final = EventType.EDGE_ERROR.value


class Way(msgspec.Struct, frozen=True):
    """The next node, and what it gets as its source's output."""

    target: str
    output: Outputs


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
) -> tuple[Way | None, str | None]:
    """Return the way onward from `node`, and why a condition could not tell (None when none
    failed).

    `label` is what a router matches against its routes; None means that routes are not asked. A
    route goes before the edges. Of the edges, the first that may be taken is. A condition that
    cannot be evaluated leaves its edge untaken and adds an `edge_error` event.
    """
    if label is not None:
        target = pick_route(node.routes, label)
        if target is not None:
            mapping = node.mapping_to.get(target, ())
            return Way(target, _map_input(draft, mapping, output)), None
    broken: str | None = None
    views: tuple[DecodedView, DecodedView] | None = None
    for edge in node.edges:
        if not (edge.after_success if succeeded else edge.after_failure):
            continue
        if edge.condition is not None:
            if views is None:
                views = DecodedView(output), DecodedView(draft.memory, draft.state.memory)
            try:
                if not evaluate(edge.condition, output=views[0], memory=views[1]):
                    continue
            except InvalidExpression as error:
                why = _report(draft, node, edge, error)
                broken = broken or why
                continue
        return Way(edge.target, _map_input(draft, edge.mapping, output)), broken
    return None, broken


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


def _map_input(draft: Draft, mapping: KeyMapping, output: Outputs) -> Outputs:
    """Write the mapped keys into memory and return them; without a mapping the whole output is
    passed on.

    All sources are read before the first write, so that a mapping may swap keys.
    """
    if not mapping:
        return output
    mapped: dict[str, msgspec.Raw] = {}
    for key, source in mapping:
        raw = output.get(source)
        if raw is None:
            raw = draft.read(source)
        if raw is not None:
            mapped[key] = raw
    draft.memory.update(mapped)
    return mapped


def _report(draft: Draft, node: PlanNode, edge: PlanEdge, error: InvalidExpression) -> str:
    why = bounded_text(str(error))
    draft.event(_EDGE_ERROR, node.id, {"edge": edge.id, "target": edge.target, "error": why})
    return f"edge {edge.id!r}: {why}"
