"""The graph that a user declares: nodes, edges, and where it starts and ends."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import InvalidGraph
from greenroom.protocol.limits import (
    ATTEMPTS_DEFAULT,
    BACKOFF_FACTOR_DEFAULT,
    BACKOFF_INITIAL_S_DEFAULT,
    BACKOFF_S_DEFAULT_MAX,
    STEPS_DEFAULT,
)
from greenroom.protocol.parallel import PARALLEL_DEFAULT, MapSpec, ParallelExecutionConfig


class EdgeCondition(StrEnum):
    """When an edge may be taken. `conditional` looks at `condition_expr` only, not at success;
    `otherwise` is for a success after which no other edge may be.
    """

    ALWAYS = "always"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    CONDITIONAL = "conditional"
    LLM_DECIDE = "llm_decide"
    OTHERWISE = "otherwise"


if TYPE_CHECKING:  # a plain str is accepted and converted; decoding knows the members only
    EdgeConditionLike: TypeAlias = EdgeCondition | str
else:
    EdgeConditionLike = EdgeCondition


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `node_type` is "function" (the default), "router" or "subgraph"; other types come
    later.

    A function node runs the callable registered as `function` (default: the node's id) with its
    `input_keys`; what it returns is stored under `output_keys`. A router node picks its next node
    from `routes` by the value of `route_on`, looked up in its input, then in memory, or by what
    its `function` returns, if it has one: the exact key first, then the first key that is part of
    the value, then "default"; with neither by "success" or "failure".

    A subgraph node runs `graph` from its entry node to an end. That begins with the node's
    `input_keys`, or with all memory if it declares none, and sees nothing else; its memory at the
    end, under the `output_keys` or under all keys, is the node's output. Its nodes are steps of the
    same execution, with "<node>." before their ids.

    After a node several of whose edges may be taken, all of them are, each as a branch of its own,
    and `parallel` says how these fail, merge and time out; None stands for that of the graph.

    `max_retries` is the number of attempts in all: 0 and 1 both mean one. `retry_on` names errors
    (class names, those of base classes too, or codes) that are worth another attempt; empty means
    every error. `no_retry_on` names those that are not, and wins. An error whose `retryable` is
    False (NonRetryable) never is. The wait before attempt n + 1 is
    `backoff_initial_s * backoff_factor ** (n - 1)`, at most `backoff_max_s` seconds; with
    `backoff_jitter` up to that share of it (0 to 1) is left out, so that those who failed together
    do not come again together. The share is a hash of execution, node, visit and failure: it is
    the same whoever asks. What is not retried follows an edge for failures, if there is one.

    `max_node_visits` 0 means no limit; `nullable_output_keys` may be missing from the output and
    are reset on every new visit. `inline` calls a plain function on the nodes' loop itself: only
    for short code that never waits.

    An attempt that takes longer than `timeout_s` seconds has failed with NodeTimedOut, and what it
    returns later is refused. It is counted from the commit that starts the attempt; 0 fails at
    once, None waits for ever. An async function is cancelled. A plain one cannot be stopped and
    may still run, so it gets another attempt only if `retry_on` names the error.

    `name` defaults to the id. Fields that need a language model are accepted at their defaults.
    """

    id: str
    name: str = ""
    description: str = ""
    node_type: str = "function"
    input_keys: list[str] = []
    output_keys: list[str] = []
    nullable_output_keys: list[str] = []
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}
    function: str | None = None
    routes: dict[str, str] = {}
    route_on: str | None = None
    max_retries: int = ATTEMPTS_DEFAULT
    retry_on: list[str] = []
    no_retry_on: list[str] = []
    backoff_initial_s: float = BACKOFF_INITIAL_S_DEFAULT
    backoff_factor: float = BACKOFF_FACTOR_DEFAULT
    backoff_max_s: float = BACKOFF_S_DEFAULT_MAX
    backoff_jitter: float = 0.0
    max_node_visits: int = 1
    inline: bool = False
    timeout_s: float | None = None
    parallel: ParallelExecutionConfig | None = None
    graph: "GraphSpec | None" = None
    system_prompt: str | None = None
    tools: list[str] = []
    model: str | None = None
    output_model: Any = None
    max_validation_retries: int = 2
    client_facing: bool = False
    success_criteria: str | None = None

    def __post_init__(self) -> None:
        if self.name == "" and isinstance(self.id, str):
            msgspec.structs.force_setattr(self, "name", self.id)

    @property
    def function_name(self) -> str:
        """The name under which the callable of a function node is registered."""
        return self.function if self.function is not None else self.id

    @property
    def attempts_max(self) -> int:
        """How often one visit may run in all; at least 1."""
        return max(1, self.max_retries)

    def backoff_s(self, failures: int) -> float:
        """Return the seconds to wait after the `failures`-th failure (1 is the first)."""
        if self.backoff_initial_s == 0:
            return 0.0
        try:
            wait_s = self.backoff_initial_s * self.backoff_factor ** (failures - 1)
        except OverflowError:
            return self.backoff_max_s
        return min(wait_s, self.backoff_max_s)


class EdgeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One edge from `source` to `target`, both node ids.

    Edges of a node are in the order of their `priority`, highest first, then of the graph. After a
    success all that may be taken are, side by side if there are several; but of the conditional
    ones only those with the highest priority. After a failure the first that may be taken is.
    `condition_expr` is read for `condition="conditional"` only; an empty one is true. With `map`
    the target runs once for each element of a list. `input_mapping` is {key for the target: key of
    the source's output}; a key that the output lacks is taken from memory, and one that is in
    neither is left out.

    Raises InvalidGraph when constructed with an unknown condition.
    """

    id: str
    source: str
    target: str
    condition: EdgeConditionLike = EdgeCondition.ALWAYS
    condition_expr: str | None = None
    input_mapping: dict[str, str] = {}
    priority: int = 0
    description: str = ""
    map: MapSpec | None = None

    def __post_init__(self) -> None:
        try:
            condition = EdgeCondition(self.condition)
        except ValueError:
            choices = ", ".join(EdgeCondition)
            raise InvalidGraph(
                [f"edge {self.id!a:.80}: condition is {self.condition!a:.80}: use one of {choices}"]
            ) from None
        msgspec.structs.force_setattr(self, "condition", condition)

    @property
    def kind(self) -> EdgeCondition:
        """`condition` as the enum member that it always is after construction."""
        return EdgeCondition(self.condition)


class GraphSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A whole graph. It is used as declared: nothing is added, dropped or reordered.

    An execution that has passed one of `pause_nodes` stands still, durably, until it is resumed;
    then it goes on at the node that `entry_points` has under "<pause node>_resume", else by the
    edges of the pause node. Other names of `entry_points` make their nodes reachable, no more.
    Several entry nodes that reach disjoint parts are fine. `async_entry_points` are entry points
    that come with the graph: a runtime registers them. `goal_id` must be the goal's, if it is
    set. A run ends after a terminal node, at a node none of whose edges can be taken, or as
    exhausted after `max_steps`.

    Branches go on in one at the node where all ways from their fan-out meet, however deep they are
    and whatever fans out in them: it runs once, when every branch has come to it or to an end of
    its own, with what they wrote merged into memory in the order of their edges. Until then each
    sees its own writes over what was there before, and nothing of the others. `parallel` says how
    branches fail, merge and time out.

    Construction checks nothing across fields: `validation.validate_graph` lists every problem.
    """

    id: str
    entry_node: str
    goal_id: str = ""
    version: str = "1.0.0"
    entry_points: dict[str, str] = {}
    async_entry_points: list[EntryPointSpec] = []
    terminal_nodes: list[str] = []
    pause_nodes: list[str] = []
    nodes: list[NodeSpec] = []
    edges: list[EdgeSpec] = []
    memory_keys: list[str] = []
    default_model: str | None = None
    max_tokens: int | None = None
    cleanup_llm_model: str | None = None
    max_steps: int = STEPS_DEFAULT
    max_retries_per_node: int = ATTEMPTS_DEFAULT
    loop_config: dict[str, Any] = {}
    conversation_mode: str = "continuous"
    identity_prompt: str | None = None
    description: str = ""
    created_by: str = ""
    parallel: ParallelExecutionConfig = PARALLEL_DEFAULT

    def get_node(self, node_id: str) -> NodeSpec | None:
        """Return the node with that id, or None. Linear: for lookups outside the hot path."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def get_outgoing_edges(self, node_id: str) -> list[EdgeSpec]:
        """Return the edges that leave a node in the order in which they are tried."""
        outgoing = [edge for edge in self.edges if edge.source == node_id]
        return sorted(outgoing, key=lambda edge: -edge.priority)
