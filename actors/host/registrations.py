"""What a host registers before the start, and what must hold when it starts."""

from collections.abc import Callable, Mapping
from typing import Any

from greenroom.actors.nodes.functions import FunctionRegistry, takes_one
from greenroom.actors.nodes.migrator import Migrate
from greenroom.protocol.engine.plan import Plan, compile_plan
from greenroom.protocol.engine.unsupported import refuse_unsupported
from greenroom.protocol.engine.validation import check_graph
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import (
    EntryPointExists,
    EntryPointNotFound,
    FunctionNotFound,
    InvalidConfig,
    InvalidGraph,
    InvalidInput,
    NodeNotFound,
)
from greenroom.protocol.goal import Goal
from greenroom.protocol.goal_criteria import functions_of, needs_metrics
from greenroom.protocol.graph import GraphSpec, NodeSpec


class Registrations:
    """The graph's entry points and functions, each checked when it comes."""

    def __init__(
        self, graph: GraphSpec, goal: Goal, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        # Which nodes are entered is known at the start; until then any may be.
        check_graph(graph, entry_nodes=_node_ids(graph))
        if graph.goal_id and graph.goal_id != goal.id:
            raise InvalidGraph(
                [f"graph {graph.id!r} is for goal {graph.goal_id!r}, and the goal is {goal.id!r}"]
            )
        self.graph = graph
        self._goal = goal
        self.entry_points: dict[str, EntryPointSpec] = {}
        self.functions = FunctionRegistry()
        self.migration: Migrate | None = None
        self.plan = self._compile()
        for name, function in functions.items():
            self.functions.register(name, function)

    def add_entry_point(self, spec: EntryPointSpec) -> None:
        """Raises InvalidConfig, EntryPointExists, NodeNotFound, UnsupportedSetting."""
        if not isinstance(spec, EntryPointSpec):
            raise InvalidConfig(f"an entry point is a {type(spec).__name__}: use an EntryPointSpec")
        if spec.id in self.entry_points:
            raise EntryPointExists(f"Entry point '{spec.id}' already registered")
        # Not the plan's: nobody may begin in the middle of a graph that is in a node.
        if spec.entry_node not in _node_ids(self.graph):
            raise NodeNotFound(f"Entry node '{spec.entry_node}' not found in graph")
        refuse_unsupported(None, (spec,))
        self.entry_points[spec.id] = spec

    def entry_point(self, entry_point_id: str) -> EntryPointSpec:
        """Raises EntryPointNotFound, which names those that there are."""
        # Whatever is not a str is unknown too, and some of it cannot even be looked up.
        known_type = isinstance(entry_point_id, str)
        spec = self.entry_points.get(entry_point_id) if known_type else None
        if spec is None:
            known = ", ".join(self.entry_points) or "none"
            raise EntryPointNotFound(
                f"Entry point '{entry_point_id}' not found; registered: {known}"
            )
        return spec

    def add_migration(self, function: Migrate) -> None:
        """Raises InvalidInput for what cannot be called with a session, and for a second one."""
        if not callable(function) or not takes_one(function):
            raise InvalidInput(
                f"the migration {function!a:.80} must be a function that takes the session, and "
                "nothing else that has no default"
            )
        if self.migration is not None:
            raise InvalidInput("a migration is registered already: one function judges every case")
        self.migration = function

    def check_complete(self) -> None:
        """Everything that a start needs is there.

        Raises InvalidConfig, InvalidGraph (with all problems), FunctionNotFound.
        """
        if not self.entry_points:
            raise InvalidConfig("no entry point is registered: register at least one")
        entered = [spec.entry_node for spec in self.entry_points.values()]
        check_graph(self.graph, entry_nodes=entered)
        for rule in self._goal.constraints:
            if rule.check.strip() in self.functions:
                raise InvalidConfig(
                    f"constraint {rule.id!r}: its check names the function {rule.check!r}, and a "
                    "check is an expression: call the function in a node and check what it returns"
                )
        specs = [node.spec for node in self.plan.nodes.values() if node.inside is None]
        missing = self.functions.missing(specs)
        asked = functions_of(self._goal)
        missing += [name for name in dict.fromkeys(asked.values()) if name not in self.functions]
        if missing:
            raise FunctionNotFound(
                f"functions {missing} are not registered: pass functions={{name: callable}} or "
                "call register_function() before start()"
            )
        problems = self.functions.problems(specs)
        problems += [
            f"success criterion {criterion!r}: function {name!r} must take the output, and nothing "
            "else that has no default"
            for criterion, name in asked.items()
            if not takes_one(self.functions.get(name).call)
        ]
        if problems:
            raise InvalidGraph(problems)
        self.plan = self._compile()  # now it is known which functions are plain ones

    def _compile(self) -> Plan:
        return compile_plan(
            self.graph,
            self._goal.constraints,
            tells_metrics=needs_metrics(self._goal),
            blocking=self.functions.plain,
        )


def check_kind(name: str, value: object, kind: type) -> None:
    """Raise InvalidConfig unless `value` is a `kind`."""
    if not isinstance(value, kind):
        raise InvalidConfig(f"{name} is a {type(value).__name__}: use a {kind.__name__}")


def _node_ids(graph: GraphSpec) -> list[str]:
    """The ids as far as there are any: what else is in the graph is for `check_graph` to tell."""
    nodes = graph.nodes if isinstance(graph, GraphSpec) else ()
    if not isinstance(nodes, list | tuple):
        return []
    return [node.id for node in nodes if isinstance(node, NodeSpec)]
