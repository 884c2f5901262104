"""Whether a session of one version of a graph can go on under another: the rule, and its reasons.

A session fits when every node at which it stands is there with the same type and the same declared
keys, runs a function that is registered, and still leads somewhere if it did: a session must never
end because an edge was taken from it. What lies ahead of it may change in any way: today's graph
holds from there on.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from greenroom.protocol.engine.plan import Plan, PlanNode
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.limits import REASONS_MAX
from greenroom.protocol.versions import NodeVersion, PlanVersion

_MEND: Final = "change it back, or give a migration"

Known = Callable[[str], bool]
"""Says whether a function is registered under a name."""


def describe(plan: Plan, version: str = "") -> PlanVersion:
    """Return what must be known later of a graph; `version` is its own text."""
    nodes = {name: _describe(node) for name, node in plan.nodes.items()}
    return PlanVersion(digest=plan.digest, graph_id=plan.graph_id, version=version, nodes=nodes)


def _describe(node: PlanNode) -> NodeVersion:
    spec = node.spec
    after_success = [edge for edge in node.edges if edge.after_success]
    ways = [*node.routes.values(), *(edge.target for edge in after_success)]
    if node.resume_at is not None:  # set for pause nodes alone
        ways.insert(0, node.resume_at)
    by_outcome = spec.route_on is None and node.function is None
    leads = (
        node.resume_at is not None
        or any(edge.condition is None for edge in after_success)
        or "default" in node.routes
        or (by_outcome and "success" in node.routes)
    )
    return NodeVersion(
        node_type=spec.node_type,
        inputs=tuple(spec.input_keys),
        outputs=tuple(spec.output_keys),
        nullable=tuple(spec.nullable_output_keys),
        function=node.function,
        terminal=node.terminal,
        pause=node.pause,
        routes=dict(node.routes),
        ways=tuple(dict.fromkeys(ways)),
        leads=leads,
    )


class Differences:
    """Why sessions of one version do not fit another graph, by the node at which they stand."""

    __slots__ = ("_nodes", "_plan", "_reasons")

    def __init__(self, reasons: Mapping[str, tuple[str, ...]], nodes: Iterable[str], plan: Plan):
        self._reasons = reasons
        self._nodes = frozenset(nodes)
        self._plan = plan

    @property
    def any(self) -> bool:
        """False when every session of that version fits, wherever it stands."""
        return bool(self._reasons) or not self._nodes

    def of(self, state: ExecutionState) -> tuple[str, ...]:
        """Return why the session does not fit, () when it does."""
        found: dict[str, None] = {}
        for node in named_nodes(state):
            reasons = self._reasons.get(node, ())
            if node not in self._nodes and node not in self._plan.nodes:
                reasons = (_gone(node, self._plan),)
            found.update(dict.fromkeys(map(bounded_text, reasons)))
        reasons = tuple(found)
        more = len(reasons) - REASONS_MAX
        return reasons if more <= 0 else (*reasons[:REASONS_MAX], f"and {more} reasons more")


def named_nodes(state: ExecutionState) -> list[str]:
    """Return the nodes at which a session stands: those of its tokens, whatever they wait for, and
    so those that have asked, sleep, or are to be tried again; and where its branches join.
    """
    found = [token.node for token in state.tokens.values()]
    if state.branching is not None:
        found += [node for fan in state.branching.fans.values() for node in fan.needs()]
    return list(dict.fromkeys(found))


def differences(old: PlanVersion | None, plan: Plan, known: Known) -> Differences:
    """Compare a graph with an earlier version of it; `old` None when nobody knows what that was,
    which leaves it at whether the nodes are there.
    """
    if old is None:
        return Differences({}, (), plan)
    found: dict[str, tuple[str, ...]] = {}
    for name, was in old.nodes.items():
        node = plan.nodes.get(name)
        if node is None:
            found[name] = (_gone(name, plan),)
        elif reasons := tuple(_changes(was, _describe(node), name, known)):
            found[name] = reasons
    return Differences(found, old.nodes, plan)


def _gone(name: str, plan: Plan) -> str:
    return (
        f"node {name!r} is not in graph {plan.graph_id!r} any more: put it back, or give a "
        "migration that maps it to another node"
    )


def _changes(was: NodeVersion, now: NodeVersion, name: str, known: Known) -> Iterable[str]:
    if was.node_type != now.node_type:
        yield (
            f"node {name!r} was of node_type {was.node_type!r} and is of {now.node_type!r}: {_MEND}"
        )
    for what, before, after in (
        ("input_keys", was.inputs, now.inputs),
        ("output_keys", was.outputs, now.outputs),
        ("nullable_output_keys", was.nullable, now.nullable),
    ):
        # A value that is no dict becomes the first output, so that one must stay the first.
        if set(before) != set(after) or (what == "output_keys" and before[:1] != after[:1]):
            yield f"node {name!r} had {what} {[*before]} and has {[*after]}: {_MEND}"
    if now.function is not None and not known(now.function):
        yield f"node {name!r} runs function {now.function!r}, which is not registered: register it"
    if was.terminal or not was.ways:
        return
    led = " or ".join(repr(one) for one in was.ways)
    if now.terminal:
        yield f"node {name!r} led to {led} and is terminal, so that the session ends: {_MEND}"
    elif not now.ways or (was.leads and not now.leads):
        kept = ", and leads nowhere" if not now.ways else ", and may lead nowhere"
        yield (
            f"node {name!r} led to {led}{kept} now, so that the session ends: give it an edge, or "
            "give a migration"
        )
