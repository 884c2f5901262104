"""The fold of outcomes: what the goal's progress is computed from. Bounded, and O(1) per event.

Folding is deterministic: the same events in the same order give the same fold, wherever the
sequence was cut by a restart.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from greenroom.protocol.events import EventBody, EventType

EVIDENCE_MAX: Final = 5  # newest facts kept for each kind
VIOLATIONS_MAX: Final = 100  # newest violations kept; all are counted
VIOLATION_CHARS_MAX: Final = 500  # of each of its texts
STREAMS_MAX: Final = 10_000
CONSTRAINTS_MAX: Final = 1_000  # different constraint ids that are counted apart

Data = Callable[[], dict[str, Any]]
"""Gives an event's data; called only for events whose data matters."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a criterion asked about one completed execution came to: 1 and 0 for yes and no, or a
    `number`. `said` is it in words; `failed`: there was no answer, and it counts as 0.
    """

    value: float
    said: str
    number: bool = False
    failed: bool = False


Answers = Callable[[EventBody, dict[str, Any]], Mapping[str, tuple[str, Answer]]]
"""Gives the answers about a completed execution, whose data is the second argument: by the ids of
the criteria, each with what was asked.
"""

_ENDS: Final = {
    EventType.EXECUTION_COMPLETED.value: "completed",
    EventType.EXECUTION_FAILED.value: "failed",
    EventType.EXECUTION_CANCELLED.value: "cancelled",
    EventType.EXECUTION_TIMED_OUT.value: "timed_out",
    EventType.EXECUTION_EXHAUSTED.value: "exhausted",
}
COMPLETED: Final = EventType.EXECUTION_COMPLETED.value
_STARTED: Final = EventType.EXECUTION_STARTED.value
_NODE_COMPLETED: Final = EventType.NODE_COMPLETED.value
_NODE_FAILED: Final = EventType.NODE_FAILED.value
_VIOLATION: Final = EventType.CONSTRAINT_VIOLATION.value

FOLDED: Final = frozenset({*_ENDS, _STARTED, _NODE_COMPLETED, _NODE_FAILED, _VIOLATION})
"""The types of event that the fold counts; all others leave it as it is."""


class Violation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recorded violation of a constraint."""

    constraint_id: str
    description: str
    details: str
    stream_id: str | None
    at: float  # wall UTC seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the time as ISO 8601."""
        return {
            "constraint_id": self.constraint_id,
            "description": self.description,
            "details": self.details,
            "stream_id": self.stream_id,
            "timestamp": datetime.fromtimestamp(self.at, UTC).isoformat(),
        }


class Tally(msgspec.Struct, omit_defaults=True):
    """The answers about completed executions that one criterion got.

    `wanted` says what was asked: a criterion that is changed later starts from 0 again.
    """

    wanted: str = ""
    seen: int = 0  # completed executions asked about
    sum: float = 0.0
    numbers: int = 0  # answers that were numbers, and not yes or no
    failed: int = 0
    evidence: list[str] = []


class OutcomeFold(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Counts of everything folded so far. Mutable; one owner.

    `reported` is what the last progress event said, `achieved` whether the goal was announced.
    """

    nodes_succeeded: int = 0
    nodes_failed: int = 0
    started: int = 0
    ended: dict[str, int] = {}  # by terminal status
    streams: dict[str, int] = {}  # outcomes by stream
    recent_nodes: list[str] = []
    recent_executions: list[str] = []
    tallies: dict[str, Tally] = {}  # by criterion id
    violations: list[Violation] = []
    violated: dict[str, int] = {}  # by constraint id
    violations_total: int = 0
    reported: str = ""
    achieved: bool = False


def fold_event(fold: OutcomeFold, body: EventBody, data: Data, answers: Answers | None) -> bool:
    """Count one event; False when it changes nothing. `answers` is None when no criterion asks
    about outputs.
    """
    kind = body.type
    if kind == _NODE_COMPLETED:
        fold.nodes_succeeded += 1
        _remember(fold.recent_nodes, f"node {body.node} of {body.execution}: completed")
    elif kind == _NODE_FAILED:
        fold.nodes_failed += 1
        _remember(fold.recent_nodes, f"node {body.node} of {body.execution}: failed")
    elif kind in _ENDS:
        status = _ENDS[kind]
        fold.ended[status] = fold.ended.get(status, 0) + 1
        _remember(fold.recent_executions, f"execution {body.execution}: {status}")
        if kind == COMPLETED and answers is not None:
            for criterion_id, (wanted, answer) in answers(body, data()).items():
                _count(fold, body, criterion_id, wanted, answer)
    elif kind == _STARTED:
        fold.started += 1
    elif kind == _VIOLATION:
        _violation(fold, body, data())
    else:
        return False
    if body.stream is not None and (body.stream in fold.streams or len(fold.streams) < STREAMS_MAX):
        fold.streams[body.stream] = fold.streams.get(body.stream, 0) + 1
    return True


def _count(
    fold: OutcomeFold, body: EventBody, criterion_id: str, wanted: str, answer: Answer
) -> None:
    tally = fold.tallies.get(criterion_id)
    if tally is None or tally.wanted != wanted:
        tally = fold.tallies[criterion_id] = Tally(wanted)
    tally.seen += 1
    tally.sum += answer.value
    tally.numbers += answer.number
    tally.failed += answer.failed
    _remember(tally.evidence, f"execution {body.execution}: {answer.said}")


def _violation(fold: OutcomeFold, body: EventBody, data: dict[str, Any]) -> None:
    constraint_id = _text(data.get("constraint_id"))
    fold.violations_total += 1
    if constraint_id in fold.violated or len(fold.violated) < CONSTRAINTS_MAX:
        fold.violated[constraint_id] = fold.violated.get(constraint_id, 0) + 1
    violation = Violation(
        constraint_id,
        _text(data.get("description")),
        _text(data.get("details")),
        body.stream,
        body.at,
    )
    fold.violations.append(violation)
    del fold.violations[:-VIOLATIONS_MAX]


def _remember(facts: list[str], fact: str) -> None:
    facts.append(fact)
    del facts[:-EVIDENCE_MAX]


def _text(value: object) -> str:
    return "" if value is None else str(value)[:VIOLATION_CHARS_MAX]
