"""A transition in the making, as far as it is memory and events; Draft has the rest."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from greenroom.protocol.branches import MAIN
from greenroom.protocol.codec import encode
from greenroom.protocol.engine.branch_draft import BranchDraft
from greenroom.protocol.engine.plan import Plan, PlanNode
from greenroom.protocol.events import EventBody, EventType, Reference
from greenroom.protocol.execution import Accepted, ExecutionState
from greenroom.protocol.limits import EVENT_DATA_BYTES_MAX

Values = Mapping[str, msgspec.Raw]

# Plain strings: the encoder writes them faster than enum members.
_NODE_STARTED: Final = EventType.NODE_STARTED.value
_NODE_COMPLETED: Final = EventType.NODE_COMPLETED.value


class Collected:
    """What a transition reads and writes of memory, and the events that it adds. Draft sets it all
    up: one more call would cost every step.
    """

    __slots__ = (
        "accepted",
        "branch",
        "events",
        "failures",
        "latency_ms",
        "memory",
        "now",
        "parallel",
        "plan",
        "retries",
        "state",
        "steps",
    )

    plan: Plan
    state: ExecutionState
    accepted: Accepted
    now: float
    branch: int  # that of the token in hand
    parallel: BranchDraft | None
    memory: dict[str, msgspec.Raw]
    steps: int
    retries: int
    failures: dict[str, int]
    latency_ms: int
    events: list[EventBody]

    def branches(self) -> BranchDraft:
        """The part of the transition that is about branches."""
        if self.parallel is None:
            self.parallel = BranchDraft(self.state.branching)
        return self.parallel

    def layers(self) -> tuple[Values, ...]:
        """The memory that the branch in hand sees, as this transition leaves it, in layers of which
        the earlier ones hide the later ones.
        """
        main = (self.memory, self.state.memory)
        if self.branch == MAIN or self.parallel is None:
            return main
        return tuple(self.parallel.layers(self.branch, main))

    def read(self, key: str) -> msgspec.Raw | None:
        """Return the encoded value of `key` that the branch in hand sees."""
        for layer in self.layers():
            found = layer.get(key)
            if found is not None:
                return found
        return None

    def write(self, values: Values) -> None:
        """Set keys in the memory of the branch in hand."""
        if self.branch == MAIN or self.parallel is None:
            self.memory.update(values)
        else:
            self.parallel.write(self.branch, values)

    def all_memory(self) -> dict[str, msgspec.Raw]:
        """Return all the memory that the branch in hand sees."""
        layers = self.layers()
        if len(layers) == 2 and not self.memory and self.branch == MAIN:
            return self.state.memory
        seen: dict[str, msgspec.Raw] = {}
        for layer in reversed(layers):
            seen.update(layer)
        return seen

    def event(self, kind: str, node: str | None = None, data: dict[str, Any] | None = None) -> None:
        """Add an event; `data` must be small."""
        accepted = self.accepted
        self.events.append(
            EventBody(
                type=kind,
                at=self.now,
                stream=accepted.entry_point,
                execution=accepted.execution_id,
                node=node,
                correlation=accepted.correlation_id,
                data=None if data is None else msgspec.Raw(encode(data)),
                hops=accepted.hops,
            )
        )

    def metrics(self) -> dict[str, int]:
        """`constraints.METRICS` of the execution, as this transition leaves it."""
        state = self.state
        return {
            "steps": state.steps + self.steps,
            "latency_ms": state.latency_ms + self.latency_ms,
            "retries": state.retries + self.retries,
            "failures": sum(state.retry_details.values()) + sum(self.failures.values()),
            "run": state.run,
        }

    def event_of_memory(
        self, kind: str, name: str, beside: dict[str, dict[str, int]] | None = None
    ) -> None:
        """Add an event with the main line's memory as its data under `name`, or a reference when
        that is too large; what is `beside` it is small.
        """
        accepted = self.accepted
        memory = {**self.state.memory, **self.memory}
        data = reference = None
        if sum(map(len, memory.values())) <= EVENT_DATA_BYTES_MAX:
            data = msgspec.Raw(encode({name: memory, **(beside or {})}))
        if data is None or len(data) > EVENT_DATA_BYTES_MAX:
            data = None if beside is None else msgspec.Raw(encode(beside))
            reference = Reference(name, len(encode(memory)))
        self.events.append(
            EventBody(
                type=kind,
                at=self.now,
                stream=accepted.entry_point,
                execution=accepted.execution_id,
                correlation=accepted.correlation_id,
                data=data,
                reference=reference,
                hops=accepted.hops,
            )
        )

    def node_completed(self, node: PlanNode, visit: int, attempt: int, latency_ms: int) -> None:
        """Note the end of a node run, or that a router was passed."""
        data = {"visit": visit, "attempt": attempt, "latency_ms": latency_ms}
        self.event(_NODE_COMPLETED, node.id, data)

    def node_entered(self, node: PlanNode, visit: int) -> None:
        """Note that a node was entered that needs no run of its own."""
        self.event(_NODE_STARTED, node.id, {"visit": visit, "attempt": 1})

    def router_passed(self, node: PlanNode, visit: int) -> None:
        """Note a router that needed no run of its own."""
        self.node_entered(node, visit)
        self.node_completed(node, visit, 1, 0)
