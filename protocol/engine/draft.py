"""A transition in the making: what one tick changes, laid over a state that is only read."""

from typing import Any, Final

import msgspec

from greenroom.protocol.budget import counts_time
from greenroom.protocol.codec import encode
from greenroom.protocol.effects import EffectRecord
from greenroom.protocol.engine.plan import Plan, PlanNode
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.engine.transition import Command, Finish, RunNode, StopNode, Transition
from greenroom.protocol.events import EventBody, EventType, Reference
from greenroom.protocol.execution import TERMINAL, Accepted, ExecutionState, Phase, Status, Token
from greenroom.protocol.limits import EVENT_DATA_BYTES_MAX
from greenroom.protocol.patch import Cause, Patch
from greenroom.protocol.questions import (
    Closing,
    Injected,
    OpenQuestion,
    QuestionChange,
    QuestionEnding,
    question_id,
)

NONE: Final = msgspec.Raw(b"\xc0")  # an encoded None

# Plain strings: the encoder writes them faster than enum members.
_STARTED: Final = EventType.EXECUTION_STARTED.value
_QUEUED: Final = EventType.EXECUTION_QUEUED.value
_WAITING: Final = EventType.EXECUTION_WAITING.value
_COMPLETED: Final = EventType.EXECUTION_COMPLETED.value
_NODE_STARTED: Final = EventType.NODE_STARTED.value
_NODE_COMPLETED: Final = EventType.NODE_COMPLETED.value
_ENDS: Final = {
    Status.FAILED: EventType.EXECUTION_FAILED.value,
    Status.CANCELLED: EventType.EXECUTION_CANCELLED.value,
    Status.TIMED_OUT: EventType.EXECUTION_TIMED_OUT.value,
    Status.EXHAUSTED: EventType.EXECUTION_EXHAUSTED.value,
    Status.HELD: EventType.EXECUTION_HELD.value,
}
_PAUSED: Final = EventType.EXECUTION_PAUSED.value
_QUESTION_CLOSED: Final = EventType.QUESTION_CLOSED.value


class Draft:
    """Collects one transition. Lives for one call of `advance`, in its thread."""

    __slots__ = (
        "accepted",
        "active_from_zero",
        "active_unknown",
        "budget",
        "clear_error",
        "closed",
        "commands",
        "effects",
        "error",
        "events",
        "failures",
        "inbox",
        "latency_ms",
        "memory",
        "node_runs",
        "now",
        "path",
        "plan",
        "question_changes",
        "questions",
        "retries",
        "run",
        "started_at",
        "state",
        "status",
        "steps",
        "tokens",
        "violated",
        "visits",
    )

    def __init__(self, plan: Plan, state: ExecutionState, now: float) -> None:
        self.plan = plan
        self.state = state
        self.accepted: Accepted = state.accepted
        self.now = now
        self.status = state.status
        self.tokens: dict[int, Token | None] = {}
        self.memory: dict[str, msgspec.Raw] = {}
        self.visits: dict[str, int] = {}
        self.path: list[str] = []
        self.effects: dict[int, dict[str, EffectRecord | None]] = {}
        self.steps = 0
        self.retries = 0
        self.failures: dict[str, int] = {}
        self.latency_ms = 0
        self.budget = state.budget
        self.node_runs = 0
        self.error: str | None = None
        self.started_at: float | None = None
        self.run: int | None = None
        self.clear_error = False
        self.closed = False
        self.violated: tuple[str, ...] | None = None
        self.active_from_zero = False
        self.active_unknown = False
        self.commands: list[Command] = []
        self.events: list[EventBody] = []
        self.questions: dict[int, OpenQuestion | None] = {}
        self.inbox: dict[int, Injected | None] = {}
        self.question_changes: list[QuestionChange] = []

    def read(self, key: str) -> msgspec.Raw | None:
        """Return the encoded value of `key` in memory as this transition leaves it."""
        found = self.memory.get(key)
        return found if found is not None else self.state.memory.get(key)

    def all_memory(self) -> dict[str, msgspec.Raw]:
        """Return the whole memory as this transition leaves it."""
        if not self.memory:
            return self.state.memory
        return {**self.state.memory, **self.memory}

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
        """Add an event with the whole memory as its data under `name`, or a reference when that is
        too large; what is `beside` it is small.
        """
        accepted = self.accepted
        memory = self.all_memory()
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

    def start(self) -> None:
        """Set the execution running; the first time, say so with its input."""
        self.status = Status.RUNNING
        if self.state.started_at is None:
            self.started_at = self.now
            self.event_of_memory(_STARTED, "input")

    def queue(self, token_id: int, token: Token) -> None:
        """Let the token wait for a permit."""
        self.tokens[token_id] = token
        self.status = Status.QUEUED
        self.event(_QUEUED, token.node)

    def wait(self, node: str, until: float | None) -> None:
        """Let the execution wait without a permit, for a time or for people; its token says for
        what.
        """
        self.status = Status.WAITING
        self.event(_WAITING, node, {"until": until})

    def move(self, old_id: int, new_id: int, token: Token) -> None:
        """Replace the token `old_id`, if it was there before, by `token` under `new_id`."""
        if old_id != new_id and old_id in self.state.tokens:
            self.tokens[old_id] = None
        self.tokens[new_id] = token

    def dispatch(self, token_id: int, token: Token) -> None:
        """Run the token's node once this transition is committed; with no time at all it never
        begins.
        """
        timeout_s = self.plan.nodes[token.node].spec.timeout_s
        if timeout_s is not None:
            token = msgspec.structs.replace(token, due=self.now + timeout_s)
        self.tokens[token_id] = token
        self.status = Status.RUNNING
        if timeout_s != 0:
            self.commands.append(RunNode(token_id, token.node, token.visit, token.attempt))
        data = {"visit": token.visit, "attempt": token.attempt}
        self.event(_NODE_STARTED, token.node, data)

    def node_completed(self, node: PlanNode, visit: int, attempt: int, latency_ms: int) -> None:
        """Note the end of a node run, or that a router was passed."""
        data = {"visit": visit, "attempt": attempt, "latency_ms": latency_ms}
        self.event(_NODE_COMPLETED, node.id, data)

    def router_passed(self, node: PlanNode, visit: int) -> None:
        """Note a router that needed no run of its own."""
        self.event(_NODE_STARTED, node.id, {"visit": visit, "attempt": 1})
        self.node_completed(node, visit, 1, 0)

    def complete(self) -> None:
        """End with success; no token is left."""
        for token_id in (*self.state.tokens, *self.tokens):
            self.tokens[token_id] = None
        self.status = Status.COMPLETED
        beside = {"metrics": self.metrics()} if self.plan.tells_metrics else None
        self.event_of_memory(_COMPLETED, "output", beside)
        self.commands.append(Finish(Status.COMPLETED))

    def stop(self, status: Status, error: str) -> None:
        """End without success, or hold. Tokens stay, parked, so that the work can be taken up where
        it stopped.
        """
        self._park_all(keep_sleep=status is Status.HELD)
        text = bounded_text(error)
        self.status = status
        self.error = text
        self.event(_ENDS[status], None, {"error": text})
        self.commands.append(Finish(status))

    def pause(self, node: str, reason: str) -> None:
        """Stand still until someone resumes it. A node that runs is stopped, unfinished."""
        self._park_all(keep_sleep=True)
        self.status = Status.PAUSED
        self.event(_PAUSED, node, {"reason": bounded_text(reason)})
        self.commands.append(Finish(Status.PAUSED))

    def awaits_answers(self, token_id: int) -> bool:
        """Say whether a question of the token is open, as the transition stands."""
        return any(one.token == token_id for one in self._open_questions().values())

    def close_question(self, number: int, closing: Closing) -> None:
        """Close an open question."""
        self.questions[number] = None
        self.question_changes.append(QuestionChange(number=number, closing=closing))

    def _open_questions(self) -> dict[int, OpenQuestion]:
        merged = {**self.state.questions, **self.questions}
        return {number: one for number, one in merged.items() if one is not None}

    def close_questions(self, token_id: int | None = None) -> None:
        """Nobody waits for the answers any more: of the token, or of the execution."""
        for number, question in self._open_questions().items():
            if token_id not in (None, question.token):
                continue
            self.close_question(number, Closing(ending=QuestionEnding.CLOSED, at=self.now))
            name = question_id(self.accepted.execution_id, number)
            self.event(_QUESTION_CLOSED, None, {"question_id": name})

    def _park_all(self, *, keep_sleep: bool) -> None:
        for token_id, token in {**self.state.tokens, **self.tokens}.items():
            if token is None:
                continue
            at_rest = self.stop_run(token_id, token)
            if keep_sleep and token.ended is not None:
                at_rest = msgspec.structs.replace(at_rest, due=token.due)
            self.tokens[token_id] = at_rest

    def stop_run(self, token_id: int, token: Token) -> Token:
        """Stop the token's node, unfinished, if it runs; return the token at rest."""
        if token.phase is Phase.RUNNING and token_id not in self.tokens:
            self.commands.append(StopNode(token_id))
        return parked(token)

    def ran_s(self) -> float:
        """How long it has run since its latest step. What was not observed does not count."""
        since = self.state.active_at
        return 0.0 if since is None or self.active_unknown else max(0.0, self.now - since)

    def _seldom(self) -> dict[str, Any]:
        """What few patches hold: of effects, questions, kept input, checks, time and budgets."""
        state, budget = self.state, self.budget
        found: dict[str, Any] = {}
        if self.effects:
            found["effects"] = self.effects
        if self.questions:
            found["questions"] = self.questions
        if self.inbox:
            found["inbox"] = self.inbox
        if self.violated is not None:
            found["violated"] = self.violated
        if budget is not None:
            found.update(node_runs=self.node_runs, wall_s=self.ran_s())
            if budget is not state.budget:
                found["budget"] = budget
        if counts_time(self.accepted.timeout_s, budget):
            ran_s = 0.0 if self.active_from_zero else state.active_s + self.ran_s()
            found["active_s"] = ran_s
            found["active_at"] = self.now if self.status is Status.RUNNING else None
        return found

    def finish(self, cause: Cause, accepted: Accepted | None = None) -> Transition:
        """Return what was collected."""
        state = self.state
        status = self.status
        # A resumed execution may end at once as it had ended before: that is an end of its own.
        began = accepted is not None or self.run is not None
        changed = began or status is not state.status
        if state.questions and status in TERMINAL:
            self.close_questions()
        # Python builds a dict for a call with more than 15 keywords, which would cost every step
        # three times as much as the rest of this.
        patch = Patch(
            accepted=accepted,
            status=status if changed else None,
            tokens=self.tokens,
            memory=self.memory,
            visits=self.visits,
            path=tuple(self.path),
            steps=self.steps,
            retries=self.retries,
            failures=self.failures,
            latency_ms=self.latency_ms,
            run=self.run,
            error=self.error,
            clear_error=self.clear_error,
            started_at=self.started_at,
            ended_at=self.now if changed and status in TERMINAL else None,
        )
        seldom = self._seldom()
        return Transition(
            msgspec.structs.replace(patch, **seldom) if seldom else patch,
            cause,
            tuple(self.commands),
            tuple(self.events),
            self.closed,
            tuple(self.question_changes),
        )


def parked(token: Token) -> Token:
    """Return the token at rest, all its counters kept."""
    return msgspec.structs.replace(token, phase=Phase.READY, due=None)
