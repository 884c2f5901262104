"""A transition in the making: what one tick changes, laid over a state that is only read."""

from collections.abc import Collection, Iterator
from typing import Any, Final

import msgspec

from greenroom.protocol.branches import MAIN
from greenroom.protocol.budget import counts_time
from greenroom.protocol.effects import EffectRecord
from greenroom.protocol.engine.branch_draft import BranchDraft
from greenroom.protocol.engine.collected import Collected
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.standing import keep_time, standing, wakes_at
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.engine.transition import Command, Finish, RunNode, StopNode, Transition
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import TERMINAL, Accepted, ExecutionState, Phase, Status, Token
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
PAUSE_NODE: Final = "the graph pauses after this node"

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
_MOVING: Final = frozenset({Status.QUEUED, Status.RUNNING, Status.WAITING})
_QUESTION_CLOSED: Final = EventType.QUESTION_CLOSED.value


class Draft(Collected):
    """Collects one transition. Lives for one call of `advance`, in its thread."""

    __slots__ = (
        "active_from_zero",
        "active_unknown",
        "budget",
        "clear_error",
        "closed",
        "commands",
        "effects",
        "error",
        "inbox",
        "node_runs",
        "notice",
        "over",
        "passed",
        "path",
        "question_changes",
        "questions",
        "run",
        "started_at",
        "status",
        "tokens",
        "violated",
        "visits",
    )

    def __init__(self, plan: Plan, state: ExecutionState, now: float) -> None:
        self.plan = plan
        self.state = state
        self.accepted = state.accepted
        self.now = now
        self.branch = MAIN
        branching = state.branching
        self.parallel = BranchDraft(branching) if branching and branching.fans else None
        self.memory = {}
        self.steps = 0
        self.retries = 0
        self.failures = {}
        self.latency_ms = 0
        self.events = []
        self.status = state.status
        self.over = False  # it has ended, or stands still
        self.passed = 0  # nodes that were passed without a run
        self.notice: dict[Status, str] = {}  # for what a token waits -> its node
        self.tokens: dict[int, Token | None] = {}
        self.visits: dict[str, int] = {}
        self.path: list[str] = []
        self.effects: dict[int, dict[str, EffectRecord | None]] = {}
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
        self.questions: dict[int, OpenQuestion | None] = {}
        self.inbox: dict[int, Injected | None] = {}
        self.question_changes: list[QuestionChange] = []

    def start(self) -> None:
        """Set the execution running; the first time, say so with its input."""
        self.status = Status.RUNNING
        if self.state.started_at is None and self.started_at is None:
            self.started_at = self.now
            self.event_of_memory(_STARTED, "input")

    def queue(self, token_id: int, token: Token) -> None:
        """Let the token wait for a permit."""
        self.tokens[token_id] = token
        self._stand(Status.QUEUED, token.node)

    def wait(self, node: str, until: float | None) -> None:
        """Let the token wait without a permit, for a time or for people; it says for what."""
        self._stand(Status.WAITING, node, until)

    def _stand(self, status: Status, node: str, until: float | None = None) -> None:
        if self.parallel is not None:  # how the execution stands is known when all is decided
            self.notice[status] = node
            return
        self.status = status
        self._tell_stand(status, node, until)

    def _tell_stand(self, status: Status, node: str, until: float | None) -> None:
        if status is Status.QUEUED:
            self.event(_QUEUED, node)
        else:
            self.event(_WAITING, node, {"until": until})

    def remove(self, token_id: int) -> None:
        """Take a token away."""
        if token_id in self.state.tokens:
            self.tokens[token_id] = None
        else:
            self.tokens.pop(token_id, None)

    def move(self, old_id: int, new_id: int, token: Token) -> None:
        """Replace the token `old_id`, if there is one, by `token` under `new_id`."""
        if old_id != new_id:
            self.remove(old_id)
        self.tokens[new_id] = token

    def standing_tokens(self) -> dict[int, Token]:
        """Every token, as the transition stands."""
        merged = {**self.state.tokens, **self.tokens}
        return {number: one for number, one in merged.items() if one is not None}

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

    def complete(self) -> None:
        """End with success; no token is left."""
        self.over = True
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
        self.over = True
        text = bounded_text(error)
        self.status = status
        self.error = text
        self.event(_ENDS[status], None, {"error": text})
        self.commands.append(Finish(status))

    def pause(self, node: str | None, reason: str) -> None:
        """Stand still until someone resumes it. A node that runs is stopped, unfinished."""
        self.over = True
        self._park_all(keep_sleep=True)
        self.status = Status.PAUSED
        self.event(_PAUSED, node, {"reason": bounded_text(reason)})
        self.commands.append(Finish(Status.PAUSED))

    def awaits_answers(self, token_id: int) -> bool:
        """Say whether a question of the token is open, as the transition stands."""
        return any(one.token == token_id for one in self._open_questions().values())

    def asks_for_budget(self) -> bool:
        """Say whether a question for more budget is open, as the transition stands."""
        return any(one.budget is not None for one in self._open_questions().values())

    def close_question(self, number: int, closing: Closing) -> None:
        """Close an open question."""
        self.questions[number] = None
        self.question_changes.append(QuestionChange(number=number, closing=closing))

    def _open_questions(self) -> dict[int, OpenQuestion]:
        merged = {**self.state.questions, **self.questions}
        return {number: one for number, one in merged.items() if one is not None}

    def note_unanswered(self, token_ids: Collection[int] | None = None) -> None:
        """Let the tokens, of which `token_ids` may name some, know what is being asked about them:
        it is to be asked again when they go on, as a node that has asked never runs again.
        """
        for number, question in self._open_questions().items():
            if token_ids is not None and question.token not in token_ids:
                continue
            token = self.tokens.get(question.token, self.state.tokens.get(question.token))
            if token is not None and token.ended is not None and question.to:
                self.tokens[question.token] = msgspec.structs.replace(
                    token, unanswered=(*token.unanswered, number)
                )

    def close_questions(self, token_id: int | None = None) -> None:
        """Nobody waits for the answers any more: of the token, or of the execution."""
        for number, question in self._open_questions().items():
            if token_id not in (None, question.token):
                continue
            self.close_question(number, Closing(ending=QuestionEnding.CLOSED, at=self.now))
            name = question_id(self.accepted.execution_id, number)
            self.event(_QUESTION_CLOSED, None, {"question_id": name})

    def _park_all(self, *, keep_sleep: bool) -> None:
        for token_id, token in self.standing_tokens().items():
            at_rest = self.stop_run(token_id, token)
            if keep_sleep and token.ended is not None:
                at_rest = msgspec.structs.replace(at_rest, due=token.due)
            self.tokens[token_id] = at_rest

    def stop_run(self, token_id: int, token: Token) -> Token:
        """Stop the token's node, unfinished, if it runs; return the token at rest."""
        before = self.state.tokens.get(token_id)
        if before is not None and before.phase is Phase.RUNNING and token_id not in self.tokens:
            self.commands.append(StopNode(token_id))
        elif token.phase is Phase.RUNNING:  # it was to begin after this transition
            self.commands = [
                one
                for one in self.commands
                if not isinstance(one, RunNode) or one.token_id != token_id
            ]
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
        if self.parallel is not None:
            found["branching"] = self.parallel.patch()
        if budget is not None:
            found.update(node_runs=self.node_runs, wall_s=self.ran_s())
            if budget is not state.budget:
                found["budget"] = budget
        if counts_time(self.accepted.timeout_s, budget):
            ran_s = 0.0 if self.active_from_zero else state.active_s + self.ran_s()
            found["active_s"] = ran_s
            found["active_at"] = self.now if self.status is Status.RUNNING else None
        return found

    def _settle(self, branches: BranchDraft) -> None:
        """With several tokens: say how the execution stands, and how long its branches ran."""
        if not self.over and (self.state.status in _MOVING or self.run is not None):
            permit = self.status is Status.RUNNING
            self.status = standing(self._changed_first(), self.now, permit=permit)
            if self.status is not Status.RUNNING:
                self._rest()
        before, unobserved = self.state.tokens, self.active_unknown
        rests = self.state.status is Status.RUNNING and self.status is not Status.RUNNING
        keep_time(branches, before, self.tokens, self.now, rests=rests, unobserved=unobserved)

    def _changed_first(self) -> Iterator[Token]:
        # What has changed is the likeliest to run, and then nobody looks at the many others.
        yield from (one for one in self.tokens.values() if one is not None)
        yield from (one for key, one in self.state.tokens.items() if key not in self.tokens)

    def _rest(self) -> None:
        """No node runs: say so, unless that was so before."""
        status, tokens = self.status, self.standing_tokens()
        node = self.notice.get(status) or next(iter(tokens.values())).node
        if status is Status.PAUSED:
            self.pause(node, PAUSE_NODE)
        elif status in self.notice or status is not self.state.status:
            self._tell_stand(status, node, wakes_at(tokens.values()))

    def finish(self, cause: Cause, accepted: Accepted | None = None) -> Transition:
        """Return what was collected."""
        state = self.state
        if self.parallel is not None:
            self._settle(self.parallel)
        status = self.status
        # A resumed execution may end at once as it had ended before: that is an end of its own.
        began = accepted is not None or self.run is not None
        changed = began or status is not state.status
        if (state.questions or self.questions) and status in TERMINAL:
            if status in (Status.FAILED, Status.EXHAUSTED):  # somebody may take it up again
                self.note_unanswered()
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
    """Return the token at rest, all its counters kept; one whose branch has failed stays so."""
    if token.phase is Phase.FAILED:
        return token
    return msgspec.structs.replace(token, phase=Phase.READY, due=None)
