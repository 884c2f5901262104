"""Runs as they are shown: what an execution decided, how its node runs ended, what went wrong.

Nothing of this is stored twice: a decision gets its outcome, a router its choice and a run its
metrics from the journal.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from greenroom.protocol.commit import Summary
from greenroom.protocol.decisions import DecisionMade, DecisionType, Note, Option, Severity
from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.execution import ExecutionState, Status
from greenroom.protocol.history import changed_keys
from greenroom.protocol.limits import RUN_PARTS_MAX
from greenroom.protocol.patch import JournalRecord
from greenroom.protocol.timers import moment
from greenroom.protocol.values import decode_value

NUMBER_OF_CHOICES: Final = 1_000_000  # choices of routers come behind what nodes said
_POSITION: Final = re.compile(r"([0-9]{1,19})\.([0-9]{1,10})\.([0-9]{1,10})")
_HIGHEST: Final = (2**63, 2**32 - 1, 2**32 - 1)  # of an execution, a record, a note of one
_NODE_ENDS: Final = frozenset({"node_succeeded", "node_errored"})

Routers = Mapping[str, tuple[str, ...]]
"""The nodes of a graph that pick the next one, and which ones they can pick."""


class Position(msgspec.Struct, frozen=True, order=True):
    """Where a decision or problem stands: in which execution, at which of its steps."""

    ordinal: int
    seq: int
    number: int

    def __str__(self) -> str:
        return f"{self.ordinal}.{self.seq}.{self.number}"

    @classmethod
    def parse(cls, text: object) -> "Position":
        """Return the position of that text. Raises InvalidInput."""
        found = _POSITION.fullmatch(text) if isinstance(text, str) else None
        numbers = [int(one) for one in found.groups()] if found else []
        if not numbers or any(one > top for one, top in zip(numbers, _HIGHEST, strict=True)):
            raise InvalidInput(f"after is {text!a:.60}: use the position of a decision or problem")
        return cls(*numbers)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one node run ended. `state_changes` are the keys of memory that it set, `error` is set
    after a failure.
    """

    node_id: str
    visit: int
    attempt: int
    success: bool
    error: str | None
    latency_ms: int
    state_changes: list[str]
    timestamp: datetime


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One choice that a node made, or a router. `outcome` is that of the node run that made it;
    None for a router that runs no function. `position` is for `after=` of the next query.
    """

    id: str
    session_id: str
    entry_point: str
    goal_id: str
    node_id: str
    visit: int
    attempt: int
    timestamp: datetime
    intent: str
    decision_type: DecisionType
    options: list[Option]
    chosen_option_id: str
    reasoning: str
    active_constraints: list[str]
    input_context: dict[str, Any]
    outcome: Outcome | None
    position: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a node reported as wrong; texts that it did not give are empty."""

    id: str
    session_id: str
    entry_point: str
    goal_id: str
    node_id: str
    visit: int
    attempt: int
    timestamp: datetime
    severity: Severity
    description: str
    root_cause: str
    decision_id: str
    suggested_fix: str
    position: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one execution. `id` is its session id.

    `output_data` is the memory as it stands. Of `decisions`, `outcomes` and `problems` the first
    RUN_PARTS_MAX are here; `truncated` says that there are more. `records_pruned` of its steps are
    gone, with what was decided, ended and reported there, and are not counted in the outcomes of
    `metrics` either; everything else is as it was.
    """

    id: str
    goal_id: str
    entry_point: str
    correlation_id: str
    status: Status
    error: str | None
    started_at: datetime | None
    completed_at: datetime | None
    input_data: dict[str, Any]
    output_data: dict[str, Any]
    path: list[str]
    decisions: list[Decision]
    outcomes: list[Outcome]
    problems: list[Problem]
    metrics: dict[str, Any]
    truncated: bool
    records_pruned: int

    @property
    def narrative(self) -> str:
        """The run in one sentence."""
        counts = (
            (self.metrics["steps_executed"], "step"),
            (self.metrics["failed_outcomes"], "failed attempt"),
            (len(self.decisions), "decision"),
            (len(self.problems), "problem"),
        )
        things = ", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in counts)
        told = f"{self.status.value} after {things}"
        if self.records_pruned:
            told += f" ({self.records_pruned} of its records were pruned)"
        return told if self.error is None else f"{told}: {self.error}"


class RunReading:
    """Goes through the journal of one execution, record by record, in order."""

    def __init__(self, ordinal: int, summary: Summary, routers: Routers) -> None:
        self.input: dict[str, msgspec.Raw] = {}
        self._ordinal = ordinal
        self._summary = summary
        self._routers = routers
        self._left: list[Outcome | str] = []  # routers that the path has left, and not gone on from
        self._seq = 0

    def outcome(self, record: JournalRecord) -> Outcome | None:
        """How the node run ended that the record closes; None when it closes none."""
        cause = record.cause
        if cause.node is None or (cause.error is None and cause.tick not in _NODE_ENDS):
            return None
        return Outcome(
            node_id=cause.node,
            visit=cause.visit,
            attempt=cause.attempt,
            success=cause.error is None,
            error=cause.error,
            latency_ms=record.patch.latency_ms,
            state_changes=changed_keys(record.patch),
            timestamp=moment(record.at),
        )

    def told(
        self, record: JournalRecord, noted: Sequence[tuple[int, Note]]
    ) -> list[Decision | Problem]:
        """What was decided and reported in the record's step: by its node, then by routers."""
        outcome = self.outcome(record)
        if record.seq != self._seq + 1:
            self._left = []  # where the way led in between is not known any more
        self._seq = record.seq
        if record.patch.accepted is not None:
            self.input = record.patch.memory
        found: list[Decision | Problem] = [
            self._note(record, number, note, outcome) for number, note in noted
        ]
        if self._routers:
            found += self._choices(record, outcome)
        return found

    def _of(self, record: JournalRecord, seq_number: int) -> dict[str, Any]:
        summary, cause = self._summary, record.cause
        return {
            "session_id": summary.execution_id,
            "entry_point": summary.entry_point,
            "goal_id": summary.goal_id,
            "node_id": cause.node or "",
            "visit": cause.visit,
            "attempt": cause.attempt,
            "position": str(Position(self._ordinal, record.seq, seq_number)),
        }

    def _note(
        self, record: JournalRecord, number: int, note: Note, outcome: Outcome | None
    ) -> Decision | Problem:
        whose = self._of(record, number)
        if isinstance(note, DecisionMade):
            return Decision(
                id=note.id,
                timestamp=moment(note.at),
                intent=note.intent,
                decision_type=note.decision_type,
                options=note.options,
                chosen_option_id=note.chosen,
                reasoning=note.reasoning,
                active_constraints=note.active_constraints,
                input_context=note.input_context,
                outcome=outcome,
                **whose,
            )
        return Problem(
            id=note.id,
            timestamp=moment(note.at),
            severity=note.severity,
            description=note.description,
            root_cause=note.root_cause,
            decision_id=note.decision_id,
            suggested_fix=note.suggested_fix,
            **whose,
        )

    def _choices(self, record: JournalRecord, outcome: Outcome | None) -> list[Decision]:
        """What routers chose: on the path, each router is followed by its choice; nodes of other
        branches may lie between.
        """
        if record.patch.rewound is not None:
            self._left = []  # the way goes on from an earlier position
        if outcome is not None and outcome.node_id in self._routers:
            # One with a function is left when its run has ended. After a failure the way is chosen
            # by the edges, not by the router.
            if outcome.node_id in self._left:
                self._left.remove(outcome.node_id)
            if outcome.success:
                self._left.append(outcome)
        found: list[Decision] = []
        for place, node in enumerate(record.patch.path):
            router = next((one for one in self._left if node in self._options(one)), None)
            if router is not None:
                self._left.remove(router)
                found.append(self._choice(record, NUMBER_OF_CHOICES + place, router, node))
            if node in self._routers:
                self._left.append(node)
        return found

    def _options(self, router: Outcome | str) -> Sequence[str]:
        return self._routers[router.node_id if isinstance(router, Outcome) else router]

    def _choice(
        self, record: JournalRecord, number: int, router: Outcome | str, chosen: str
    ) -> Decision:
        outcome = router if isinstance(router, Outcome) else None
        name = router.node_id if isinstance(router, Outcome) else router
        whose = self._of(record, number) | {
            "node_id": name,
            "visit": outcome.visit if outcome else 0,
            "attempt": outcome.attempt if outcome else 0,
        }
        return Decision(
            id=f"route_{record.seq}.{number - NUMBER_OF_CHOICES}",
            timestamp=moment(record.at),
            intent=f"choose where to go on after {name}",
            decision_type=DecisionType.PATH_CHOICE,
            options=[Option(one) for one in self._routers[name]],
            chosen_option_id=chosen,
            reasoning="",
            active_constraints=[],
            input_context={},
            outcome=outcome,
            **whose,
        )


class RunParts:
    """Gathers what a `Run` holds; bounded."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.problems: list[Problem] = []
        self.outcomes: list[Outcome] = []
        self.truncated = False
        self._records = 0
        self._succeeded = self._failed = 0

    def add(self, told: Sequence[Decision | Problem], outcome: Outcome | None) -> None:
        """What one record tells."""
        self._records += 1
        for one in told:
            if isinstance(one, Decision):
                self._keep(self.decisions, one)
            else:
                self._keep(self.problems, one)
        if outcome is not None:
            self._keep(self.outcomes, outcome)
            self._succeeded += outcome.success
            self._failed += not outcome.success

    def _keep(self, kept: list[Any], one: object) -> None:
        if len(kept) < RUN_PARTS_MAX:
            kept.append(one)
        else:
            self.truncated = True

    def run(self, state: ExecutionState, input_data: Mapping[str, msgspec.Raw]) -> Run:
        """The run, when its journal has been gone through."""
        accepted = state.accepted
        return Run(
            id=accepted.execution_id,
            goal_id=accepted.goal_id,
            entry_point=accepted.entry_point,
            correlation_id=accepted.correlation_id,
            status=state.status,
            error=state.error,
            started_at=None if state.started_at is None else moment(state.started_at),
            completed_at=None if state.ended_at is None else moment(state.ended_at),
            input_data={key: decode_value(raw) for key, raw in input_data.items()},
            output_data={key: decode_value(raw) for key, raw in state.memory.items()},
            path=list(state.path),
            decisions=self.decisions,
            outcomes=self.outcomes,
            problems=self.problems,
            metrics={
                "steps_executed": state.steps,
                "successful_outcomes": self._succeeded,
                "failed_outcomes": self._failed,
                "total_retries": state.retries,
                "total_latency_ms": state.latency_ms,
                "nodes_with_failures": dict(state.retry_details),
                "node_visit_counts": dict(state.visits),
            },
            truncated=self.truncated,
            records_pruned=state.seq - self._records,
        )
