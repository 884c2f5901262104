"""Rules about one node."""

from collections.abc import Iterator
from typing import Final

import msgspec

from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.limits import (
    ATTEMPTS_MAX,
    BACKOFF_FACTOR_MAX,
    BACKOFF_S_MAX,
    NODE_VISITS_MAX,
    TIMEOUT_S_MAX,
)

NODE_TYPES: Final = ("function", "router", "subgraph")
LATER_NODE_TYPES: Final = ("llm_tool_use", "llm_generate", "human_input", "event_loop")

_PLAIN: Final = NodeSpec(id="plain")
_NOT_FOR_SUBGRAPHS: Final = (
    *("function", "inline", "retry_on", "no_retry_on", "max_retries"),
    *("backoff_initial_s", "backoff_factor", "backoff_max_s", "backoff_jitter"),
)


def node_problems(node: NodeSpec) -> Iterator[str]:
    """Ranges, keys, and fields that the node's type does not read."""
    where = f"node {node.id!r}: "
    if node.node_type not in NODE_TYPES and node.node_type not in LATER_NODE_TYPES:
        yield f"{where}node_type is {node.node_type!r}: use one of {', '.join(NODE_TYPES)}"
    if not 0 <= node.max_retries <= ATTEMPTS_MAX:
        yield f"{where}max_retries is {node.max_retries}: use 0 to {ATTEMPTS_MAX} attempts"
    if not 0 <= node.max_node_visits <= NODE_VISITS_MAX:
        yield (
            f"{where}max_node_visits is {node.max_node_visits}: "
            f"use 1 to {NODE_VISITS_MAX}, or 0 for no limit"
        )
    for field, value, low, high in (
        ("backoff_initial_s", node.backoff_initial_s, 0, BACKOFF_S_MAX),
        ("backoff_max_s", node.backoff_max_s, 0, BACKOFF_S_MAX),
        ("backoff_factor", node.backoff_factor, 1, BACKOFF_FACTOR_MAX),
        ("backoff_jitter", node.backoff_jitter, 0, 1),
    ):
        if not low <= value <= high:
            yield f"{where}{field} is {value}: use {low:g} to {high:g}"
    if node.timeout_s is not None and not 0 <= node.timeout_s <= TIMEOUT_S_MAX:
        yield f"{where}timeout_s is {node.timeout_s}: use 0 to {TIMEOUT_S_MAX:g}, or None for none"
    for field in ("input_keys", "output_keys", "nullable_output_keys", "retry_on", "no_retry_on"):
        keys: list[str] = getattr(node, field)
        if not all(keys) or len(set(keys)) != len(keys):
            yield f"{where}{field} has an empty or repeated entry: {keys}"
    torn = sorted(set(node.retry_on) & set(node.no_retry_on))
    if torn:
        yield f"{where}{torn} are in retry_on and in no_retry_on: leave them out of one"
    stray = sorted(set(node.nullable_output_keys) - set(node.output_keys))
    if stray:
        yield f"{where}nullable_output_keys {stray} are not among its output_keys"
    yield from _routing_problems(where, node)
    yield from _subgraph_problems(where, node)


def _routing_problems(where: str, node: NodeSpec) -> Iterator[str]:
    if node.node_type == "router":
        if not node.routes:
            yield f"{where}a router needs routes, as in {{'default': 'next_node'}}"
        if node.function is not None and node.route_on is not None:
            yield f"{where}route_on is not read by a router with a function: leave one of them out"
        if node.function is None and node.timeout_s is not None:
            yield f"{where}timeout_s is not read by a router without a function: leave it out"
    elif node.routes or node.route_on is not None:
        yield f"{where}routes and route_on belong to nodes of type 'router'"


def _subgraph_problems(where: str, node: NodeSpec) -> Iterator[str]:
    if node.node_type != "subgraph":
        if node.graph is not None:
            yield f"{where}graph is read by nodes of type 'subgraph' only: set node_type"
        return
    if node.graph is None:
        yield f"{where}a subgraph node needs a graph: set graph to a GraphSpec"
    unread = [
        field.name
        for field in msgspec.structs.fields(node)
        if field.name in _NOT_FOR_SUBGRAPHS
        and getattr(node, field.name) != getattr(_PLAIN, field.name)
    ]
    if unread:
        yield (
            f"{where}{', '.join(unread)} {'is' if len(unread) == 1 else 'are'} not read by a "
            "subgraph node: leave them out, or set them on nodes of its graph"
        )
