"""One execution driven by hand: every tick is also checked against what holds for all of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from greenroom.protocol.branches import BranchIndex, Branching, BranchStatus
from greenroom.protocol.budget import Budget, counts_time
from greenroom.protocol.codec import decode_record, encode
from greenroom.protocol.effects import EffectOutcome
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.due import due_at, stored_due, timer_move
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.result import ExecutionResult, result_of
from greenroom.protocol.engine.ticks import Accept, Dispatch, Due, NodeErrored, NodeSucceeded, Tick
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import TERMINAL, Accepted, ExecutionState, Phase, Status, Token
from greenroom.protocol.goal import Constraint
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import ParallelExecutionConfig
from greenroom.protocol.patch import JournalRecord, apply
from greenroom.protocol.values import decode_value, encode_value

_RESTING = {Status.HELD, Status.PAUSED}


class Run:
    """Folds each transition twice, live and from its stored record, and keeps both."""

    def __init__(
        self,
        graph: GraphSpec,
        memory: dict[str, object],
        *,
        permit: bool = True,
        entry: str | None = None,
        rules: Sequence[Constraint] = (),
        timeout_s: float | None = None,
        deadline: float | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.graph = graph
        self.plan = compile_plan(graph, rules)
        self.now = 1_000.0
        self.state: ExecutionState | None = None
        self.stored: ExecutionState | None = None
        self.transitions: list[Transition] = []
        self.timer: float | None = None  # what the store's index of what comes due would hold
        accepted = Accepted(
            execution_id="session_1",
            entry_point="api",
            entry_node=entry or graph.entry_node,
            graph_id=graph.id,
            goal_id="goal",
            correlation_id="correlation_1",
            accepted_at=999.0,
            hops=2,
            timeout_s=timeout_s,
            deadline=deadline,
        )
        first = self.encoded(memory)
        self.tick(Accept(accepted=accepted, memory=first, permit=permit, budget=budget))

    @staticmethod
    def encoded(values: dict[str, object]) -> dict[str, msgspec.Raw]:
        """Each value as it is stored."""
        return {key: msgspec.Raw(encode_value(value)) for key, value in values.items()}

    def tick(self, tick: Tick) -> Transition | None:
        """Decide twice, compare, and fold; a state is never touched by the decision."""
        before = encode(self.state)
        transition = advance(self.plan, self.state, tick, self.now)
        assert encode(advance(self.plan, self.state, tick, self.now)) == encode(transition)
        assert encode(self.state) == before
        if transition is None:
            return None
        seq = len(self.transitions) + 1
        move = timer_move(self.state, transition.patch)
        assert encode(self.state) == before
        record = JournalRecord(
            seq=seq,
            at=self.now,
            incarnation=1,
            plan=self.plan.digest,
            cause=transition.cause,
            patch=transition.patch,
        )
        self.transitions.append(transition)
        self.state = apply(self.state, transition.patch, seq)
        self.stored = apply(self.stored, decode_record(encode(record)).patch, seq)
        assert encode(self.state) == encode(self.stored)
        if move is not None:
            assert self.timer == move.before
            self.timer = move.after
        assert self.timer == stored_due(self.state)
        return transition

    @property
    def known(self) -> ExecutionState:
        """The state, which exists after the accept."""
        assert self.state is not None
        return self.state

    @property
    def token(self) -> Token:
        """The only token."""
        (token,) = self.known.tokens.values()
        return token

    @property
    def token_id(self) -> int:
        """The id of the only token."""
        (token_id,) = self.known.tokens
        return token_id

    @property
    def last(self) -> Transition:
        """The newest transition."""
        return self.transitions[-1]

    def succeed(
        self,
        outputs: dict[str, object] | None = None,
        *,
        route: str | None = None,
        sleep_until: float | None = None,
    ) -> Transition:
        """Let the running node return."""
        token = self.token
        encoded = self.encoded(outputs or {})
        own = (self.token_id, token.visit, token.attempt)
        tick = NodeSucceeded(*own, encoded, 5, route, sleep_until)
        transition = self.tick(tick)
        assert transition is not None
        return transition

    def fail(
        self,
        error: str = "broken",
        types: Iterable[str] = ("ValueError", "Exception"),
        *,
        retryable: bool = True,
    ) -> Transition:
        """Let the running node raise."""
        token = self.token
        types = tuple(types)
        transition = self.tick(
            NodeErrored(self.token_id, token.visit, token.attempt, error, types, 5, retryable)
        )
        assert transition is not None
        return transition

    def dispatch(self) -> Transition:
        """Give the queued token its permit."""
        transition = self.tick(Dispatch())
        assert transition is not None
        return transition

    def come_due(self, *, permit: bool) -> Transition:
        """Let the time come that the execution waits for."""
        due = due_at(self.known)
        assert due is not None
        self.now = due
        transition = self.tick(Due(permit=permit))
        assert transition is not None
        return transition

    def value(self, key: str) -> Any:
        """A value of the memory, decoded."""
        return decode_value(self.known.memory[key])

    def events(self, kind: str | None = None) -> list[EventBody]:
        """All events so far, or those of one type."""
        found = [event for transition in self.transitions for event in transition.events]
        return found if kind is None else [event for event in found if event.type == kind]

    def data(self, kind: str) -> dict[str, Any]:
        """The data of the newest event of that type."""
        event = self.events(kind)[-1]
        assert event.data is not None
        data: dict[str, Any] = decode_value(event.data)
        return data

    def result(self) -> ExecutionResult:
        """What a caller would get now."""
        return result_of(self.known)


def build_graph(
    nodes: Iterable[NodeSpec | str],
    edges: Iterable[EdgeSpec | str],
    *,
    terminal: Iterable[str] = (),
    pause: Iterable[str] = (),
    max_steps: int = 100,
    parallel: Mapping[str, Any] | None = None,
) -> GraphSpec:
    """A graph from specs or short forms: node "a" has a function, edge "a>b" is always taken."""
    specs = [NodeSpec(id=one) if isinstance(one, str) else one for one in nodes]
    ways = []
    for number, edge in enumerate(edges):
        if isinstance(edge, str):
            source, target = edge.split(">")
            edge = EdgeSpec(id=f"e{number}", source=source, target=target)
        ways.append(edge)
    return GraphSpec(
        id="graph",
        entry_node=specs[0].id,
        nodes=specs,
        edges=ways,
        terminal_nodes=list(terminal),
        pause_nodes=list(pause),
        max_steps=max_steps,
        parallel=ParallelExecutionConfig(**(parallel or {})),
    )


@pytest.fixture
def graph_of() -> Callable[..., GraphSpec]:
    """Build a graph."""
    return build_graph


@pytest.fixture
def start() -> Callable[..., Run]:
    """Accept an execution: `start(nodes, edges, memory, terminal=, permit=, ...)`."""

    def begin(
        nodes: Iterable[NodeSpec | str],
        edges: Iterable[EdgeSpec | str] = (),
        memory: dict[str, object] | None = None,
        *,
        terminal: Iterable[str] = (),
        pause: Iterable[str] = (),
        max_steps: int = 100,
        parallel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        graph = build_graph(
            nodes, edges, terminal=terminal, pause=pause, max_steps=max_steps, parallel=parallel
        )
        return Run(graph, memory or {}, **options)

    return begin


@pytest.fixture
def done(start: Callable[..., Run]) -> Run:
    """a, b (with a failed attempt), c: seven records to completion; c forgets nothing."""
    retried = NodeSpec(id="b", output_keys=[], max_retries=2, backoff_initial_s=0.0)
    run = start(["a", retried, "c"], ["a>b", "b>c"], {"topic": "cats"}, terminal=["c"])
    run.succeed({"text": "one"})
    run.fail()
    run.succeed({"text": "two", "extra": [1]})
    run.succeed({"sent": True})
    assert run.known.status is Status.COMPLETED
    return run


@pytest.fixture(scope="session")
def run_class() -> type[Run]:
    """The driver itself, for properties, which build their own graphs."""
    return Run


@pytest.fixture(scope="session")
def fits() -> Callable[[Run], None]:
    """Checks the state of a run: nothing in it is stuck or contradicts itself."""
    return check_fit


def check_fit(run: Run) -> None:
    """Statuses, phases, branches and questions belong together: nothing is ever stuck."""
    state = run.known
    tokens = [token for token in state.tokens.values() if token.phase is not Phase.FAILED]
    phases = {token.phase for token in tokens}
    short = [one for one in tokens if one.phase is Phase.BACKOFF and one.due - run.now < 1]
    match state.status:
        case Status.RUNNING:
            assert Phase.RUNNING in phases or short
            assert Phase.READY not in phases or state.run > 1  # elements that are taken up again
        case Status.WAITING:
            assert phases
            assert phases <= {Phase.BACKOFF, Phase.SLEEPING, Phase.ASKING}
        case Status.QUEUED:
            assert Phase.READY in phases
            assert Phase.RUNNING not in phases
        case Status.COMPLETED:
            assert not state.tokens
        case _:
            assert state.status in {*TERMINAL, *_RESTING}
            assert state.tokens or state.status in TERMINAL
            assert phases <= {Phase.READY}
    branches_fit(state)
    asking = {number for number, token in state.tokens.items() if token.phase is Phase.ASKING}
    asked = {one.token for one in state.questions.values()}
    for number in asking - asked:  # another asks for the budget of all
        assert state.tokens[number].ended is None
        assert any(one.budget for one in state.questions.values())
    assert not state.questions or state.status not in TERMINAL
    for one in state.questions.values():
        assert (state.tokens[one.token].ended is None) == (one.to == "")
        assert (one.effect, one.budget) == (None, None) or one.to == ""
        if one.effect is not None:
            assert state.effects[one.token][one.effect].outcome is EffectOutcome.UNKNOWN
    assert (state.ended_at is not None) == (state.status in TERMINAL)
    assert state.steps == sum(state.visits.values()) <= run.plan.max_steps
    assert len(state.path) <= state.steps
    assert state.effects.keys() <= {key for key, one in state.tokens.items() if not one.ended}
    for token in tokens:
        match token.phase:
            case Phase.READY:
                assert token.due is None or (token.ended and state.status in _RESTING)
            case Phase.RUNNING:
                limit = run.plan.nodes[token.node].spec.timeout_s
                assert (token.due is None) == (limit is None)
            case Phase.ASKING | Phase.PAUSED:
                assert token.ended is not None or token.due is None
            case _:
                assert token.due is not None
    assert (state.active_at is not None) == (
        state.status is Status.RUNNING and counts_time(state.accepted.timeout_s, state.budget)
    )
    budget = state.budget or Budget()
    assert budget.steps is None or state.node_runs <= budget.steps
    limit = state.accepted.timeout_s
    assert limit is None or state.active_s <= limit + 1.0 or state.status in TERMINAL


def branches_fit(state: ExecutionState) -> None:
    """Every open branch has one token, or one fan-out, and every fan-out something that is open."""
    there = state.branching or Branching()
    anew = BranchIndex(there.fans, there.branches)
    for name in ("members", "opened", "inner"):
        assert getattr(there.index, name) == getattr(anew, name)
    assert there.index.first_end() == anew.first_end()
    busy = [one.branch for one in state.tokens.values()] + [
        one.branch for one in there.fans.values()
    ]
    if state.status is not Status.COMPLETED:
        assert sorted(one for one in busy if one == 0) == [0]
    for number, branch in there.branches.items():
        assert branch.fan in there.fans
        if branch.status is BranchStatus.ARRIVED:
            assert number not in busy
        elif branch.status is BranchStatus.FAILED:
            assert busy.count(number) <= 1
        else:
            assert busy.count(number) == 1
    for number, fan in there.fans.items():
        own = [one for one in there.branches.values() if one.fan == number]
        open_still = any(one.status is not BranchStatus.ARRIVED for one in own)
        assert open_still or state.status in TERMINAL or not _lives(there, fan.branch)
        if fan.map is not None:
            done = len(there.results.get(number, {}))
            running = sum(one.status is BranchStatus.OPEN for one in own)
            assert running <= fan.map.concurrency
            assert len(own) + done <= fan.map.total
            at_work = state.status not in {*TERMINAL, *_RESTING}
            if at_work and len(own) + done < fan.map.total and _lives(there, fan.branch):
                assert running == fan.map.concurrency
    assert there.overlays.keys() | there.visits.keys() <= there.branches.keys()
    assert there.results.keys() <= there.fans.keys()
    assert there.newest >= max([0, *there.fans, *there.branches, *(-one for one in state.tokens)])


def _lives(there: Branching, number: int) -> bool:
    while number:
        branch = there.branches[number]
        if branch.status is not BranchStatus.OPEN:
            return False
        number = there.fans[branch.fan].branch
    return True
