"""An agent declared with decorators: short forms of GraphSpec, NodeSpec and EdgeSpec, no more."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from greenroom.actors.host.create import create_agent_runtime
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.host.store_factory import StoreFactory, open_durable_store
from greenroom.actors.nodes.functions import CONTEXT_PARAMETER
from greenroom.actors.nodes.migrator import Migrate
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.engine.conditions import compile_condition
from greenroom.protocol.engine.validation import check_graph
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import EntryPointExists, InvalidGraph, InvalidInput
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.ids import validate_id
from greenroom.protocol.limits import ATTEMPTS_DEFAULT
from greenroom.protocol.parallel import MapSpec

DEFAULT_ENTRY_POINT: Final = "default"

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Agent:
    """Collects nodes, edges and entry points; `runtime()` makes an AgentRuntime of them.

    `id` is the graph's id, and the goal's when `goal` is only its description. Executions of an
    entry point that names no node begin at `entry_node`, by default the node declared first.
    What is wrong by itself is refused where it is declared; what concerns several parts, such as an
    edge to a node that does not exist, by `graph()` and `runtime()`. All raise InvalidInput.
    `settings`, here and below, are other fields of the spec by their own names, as in
    `max_steps=50`; TypeError for one that it has not.
    """

    def __init__(
        self, id: str, *, goal: Goal | str = "", entry_node: str | None = None, **settings: Any
    ) -> None:
        self.id = validate_id("agent", id)
        self.goal = goal if isinstance(goal, Goal) else Goal(id=id, description=goal)
        self._entry_node = entry_node
        self._settings = settings
        self._nodes: dict[str, NodeSpec] = {}
        self._edges: list[EdgeSpec] = []
        self._terminal: list[str] = []
        self._pauses: list[str] = []
        self._resume_at: dict[str, str] = {}
        self._then: dict[str, list[str]] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self.migration: Migrate | None = None
        self._entry_points: dict[str, EntryPointSpec] = {}

    @property
    def entry_points(self) -> list[EntryPointSpec]:
        """The declared entry points; without any, "default" at the entry node."""
        if self._entry_points:
            return list(self._entry_points.values())
        return [EntryPointSpec(id=DEFAULT_ENTRY_POINT, entry_node=self._first_node())]

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """The callables by the names under which a runtime registers them."""
        return dict(self._functions)

    def node(
        self,
        id: str | None = None,
        *,
        inputs: Iterable[str] | None = None,
        outputs: Iterable[str] = (),
        nullable: Iterable[str] = (),
        then: str | Iterable[str] | None = None,
        on_failure: str | None = None,
        terminal: bool = False,
        pause: bool = False,
        resume_at: str | None = None,
        attempts: int = ATTEMPTS_DEFAULT,
        **settings: Any,
    ) -> Callable[[_Function], _Function]:
        """Declare the decorated function as a node; it stays as it is.

        `id` defaults to the function's name, `inputs` to its parameters without `ctx`. A dict with
        one of the `outputs` among its keys is the outputs, and other keys are refused; any other
        value is the first output. Without `outputs` every dict is the outputs, and any other value
        goes under "result". Outputs may not be missing or None unless they are `nullable`, which
        are outputs too. `then` names the next node after a success, or several that run side by
        side, unless an edge with a condition leads elsewhere, `on_failure` the one after `attempts`
        runs have failed. With `pause` an execution stands still after the node until it
        is resumed, and goes on at `resume_at` if that is set. `settings` go to NodeSpec.
        """
        if callable(id):
            raise InvalidInput("node needs parentheses: write @agent.node()")

        def declare(function: _Function) -> _Function:
            name = _name_of(function) if id is None else id
            may_be_none = list(nullable)
            spec = NodeSpec(
                id=name,
                input_keys=_parameters(name, function) if inputs is None else list(inputs),
                output_keys=list(dict.fromkeys([*outputs, *may_be_none])),
                nullable_output_keys=may_be_none,
                max_retries=attempts,
                **settings,
            )
            self._add_node(spec, terminal=terminal)
            self._add_function(name, function)
            if pause:
                self._pauses.append(name)
            if resume_at is not None:
                self._resume_at[f"{name}_resume"] = resume_at
            self._add_ways(name, then, on_failure)
            return function

        return declare

    def router(
        self, id: str, routes: Mapping[str, str], *, on: str | None = None, **settings: Any
    ) -> None:
        """Declare a node that only picks the next one, by the value of the key `on`.

        The value is looked up in the output of the node before, then in memory, and matched against
        the names of `routes`; "default" takes the rest. Without `on`: "success" or "failure".
        """
        spec = NodeSpec(
            id=id,
            node_type="router",
            input_keys=[] if on is None else [on],
            routes=dict(routes),
            route_on=on,
            **settings,
        )
        self._add_node(spec, terminal=False)

    def subgraph(
        self,
        id: str,
        graph: "GraphSpec | Agent",
        *,
        inputs: Iterable[str] = (),
        outputs: Iterable[str] = (),
        then: str | Iterable[str] | None = None,
        on_failure: str | None = None,
        terminal: bool = False,
        **settings: Any,
    ) -> None:
        """Declare a node that runs another graph from its entry node to an end.

        That sees the `inputs` alone, or all memory without any, and of its memory at the end the
        `outputs`, or all without any, are the node's output. The functions of an Agent come with
        it, and stay its own: two agents may share a function, not a name. What is declared to the
        agent later is not in the node. Raises InvalidInput.
        """
        functions: dict[str, Callable[..., Any]] = {}
        if isinstance(graph, Agent):
            functions, graph = graph.functions, graph.declared()
        spec = NodeSpec(
            id=id,
            node_type="subgraph",
            graph=graph,
            input_keys=list(inputs),
            output_keys=list(outputs),
            **settings,
        )
        for name, function in functions.items():
            if self._functions.get(name) is not function:
                self._add_function(name, function)
        self._add_node(spec, terminal=terminal)
        self._add_ways(id, then, on_failure)

    def edge(
        self,
        source: str,
        target: str,
        *,
        when: str | None = None,
        on_failure: bool = False,
        always: bool = False,
        otherwise: bool = False,
        map: MapSpec | None = None,
        priority: int = 0,
        inputs: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> None:
        """Declare a way from one node to another, taken after a success.

        `on_failure` takes it after a failure instead, `always` after both, `when` after both where
        that condition holds, as in "output.confidence > 0.8", `otherwise` when no other way is.
        After a success all ways are taken that may be, side by side, but of those with a condition
        only those with the highest priority; after a failure one is. `inputs` maps keys for the
        target to keys of the source's output; with `map` the target runs for each element of a
        list. Raises InvalidExpression for a condition that cannot be read.
        """
        if id is None:
            same = sum(one.source == source and one.target == target for one in self._edges)
            id = f"{source}-{target}" + (f"-{same + 1}" if same else "")
        if (when is not None) + on_failure + always + otherwise > 1:
            raise InvalidGraph([f"edge {id!r}: use one of when, on_failure, always and otherwise"])
        condition = EdgeCondition.ON_SUCCESS
        if when is not None:
            compile_condition(when)
            condition = EdgeCondition.CONDITIONAL
        elif on_failure or always:
            condition = EdgeCondition.ON_FAILURE if on_failure else EdgeCondition.ALWAYS
        elif otherwise:
            condition = EdgeCondition.OTHERWISE
        self._edges.append(
            EdgeSpec(
                id=id,
                source=source,
                target=target,
                condition=condition,
                condition_expr=when,
                input_mapping=dict(inputs or {}),
                priority=priority,
                map=map,
            )
        )

    def entry_point(self, id: str, node: str | None = None, **settings: Any) -> None:
        """Declare a way in, at `node` (default: the agent's entry node).

        `settings` go to EntryPointSpec. Raises EntryPointExists.
        """
        if id in self._entry_points:
            raise EntryPointExists(f"Entry point {id!r} already registered")
        entry_node = self._first_node() if node is None else node
        self._entry_points[id] = EntryPointSpec(id=id, entry_node=entry_node, **settings)

    def function(self, function: _Function) -> _Function:
        """Register a function under its own name, for `ctx.update`; returns it unchanged."""
        self._add_function(_name_of(function), function)
        return function

    def migrate(self, function: _Function) -> _Function:
        """Declare the function that makes sessions of earlier versions fit this graph, as
        `AgentRuntime.register_migration` does; returns it unchanged.
        """
        if self.migration is not None:
            raise InvalidInput("a migration is declared already: one function judges every case")
        self.migration = function
        return function

    def graph(self) -> GraphSpec:
        """Return the plain graph, checked. Raises InvalidGraph with all the problems it has."""
        graph = self.declared()
        check_graph(graph, entry_nodes=[entry.entry_node for entry in self.entry_points])
        return graph

    def declared(self) -> GraphSpec:
        """Return the plain graph as declared so far, unchecked. Raises InvalidGraph without nodes,
        TypeError for a setting that GraphSpec has not.
        """
        return GraphSpec(
            id=self.id,
            goal_id=self.goal.id,
            entry_node=self._first_node(),
            terminal_nodes=list(self._terminal),
            pause_nodes=list(self._pauses),
            entry_points=dict(self._resume_at),
            nodes=list(self._nodes.values()),
            edges=self._all_edges(),
            **self._settings,
        )

    def runtime(
        self,
        storage_path: str | Path,
        config: AgentRuntimeConfig | None = None,
        store_factory: StoreFactory = open_durable_store,
        checkpoint_config: CheckpointConfig | None = None,
    ) -> AgentRuntime:
        """Return a runtime of the agent as declared so far, not started."""
        return create_agent_runtime(
            self.graph(),
            self.goal,
            storage_path,
            self.entry_points,
            config=config,
            checkpoint_config=checkpoint_config,
            functions=self._functions,
            migrate=self.migration,
            store_factory=store_factory,
        )

    def _all_edges(self) -> list[EdgeSpec]:
        """The `then` of each node, which gives way to conditions, and those that were declared."""
        asking = {one.source for one in self._edges if one.kind is EdgeCondition.CONDITIONAL}
        taken = {one.id for one in self._edges}
        found = []
        for source, targets in self._then.items():
            kind = EdgeCondition.OTHERWISE if source in asking else EdgeCondition.ON_SUCCESS
            for target in targets:
                name = f"{source}-{target}"
                while name in taken:
                    name += "-then"
                taken.add(name)
                found.append(EdgeSpec(id=name, source=source, target=target, condition=kind))
        return [*found, *self._edges]

    def _first_node(self) -> str:
        if self._entry_node is not None:
            return self._entry_node
        if not self._nodes:
            raise InvalidGraph([f"agent {self.id!r} has no nodes: declare one with @agent.node"])
        return next(iter(self._nodes))

    def _add_node(self, spec: NodeSpec, *, terminal: bool) -> None:
        validate_id("node", spec.id)
        if spec.id in self._nodes:
            raise InvalidGraph([f"node {spec.id!r} is declared twice: give one another id"])
        self._nodes[spec.id] = spec
        if terminal:
            self._terminal.append(spec.id)

    def _add_ways(
        self, name: str, then: str | Iterable[str] | None, on_failure: str | None
    ) -> None:
        if then is not None:
            self._then[name] = [then] if isinstance(then, str) else list(then)
        if on_failure is not None:
            self.edge(name, on_failure, on_failure=True)

    def _add_function(self, name: str, function: Callable[..., Any]) -> None:
        if name in self._functions:
            raise InvalidInput(f"function {name!r} is registered already: choose another name")
        self._functions[name] = function


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str) or not name.isidentifier():
        raise InvalidInput(f"{function!a:.60} has no name of its own: give it an id=")
    return name


def _parameters(node: str, function: Callable[..., Any]) -> list[str]:
    """The names that a function is given by keyword: the node's input keys."""
    found = []
    for one in inspect.signature(function).parameters.values():
        if one.kind is one.POSITIONAL_ONLY:
            raise InvalidGraph(
                [f"node {node!r}: {one.name!r} can only be given by position: remove the '/'"]
            )
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            found.append(one.name)
    return [name for name in found if name != CONTEXT_PARAMETER]
