"""Random graphs and random histories: what must hold whatever happens."""

from collections.abc import Iterator

from hypothesis import event, given, settings
from hypothesis import strategies as st

from greenroom.protocol.budget import Budget
from greenroom.protocol.effects import EffectChange, EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.due import due_at, overdue
from greenroom.protocol.engine.ticks import (
    Answer,
    Cancel,
    Conflicted,
    Dispatch,
    Due,
    Hold,
    Inject,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Progressed,
    Recover,
    Resume,
    Tick,
)
from greenroom.protocol.engine.transition import Finish, RunNode, StopNode
from greenroom.protocol.execution import SETTLED, TERMINAL, Phase, Status
from greenroom.protocol.goal import Constraint
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import EVENT_DATA_BYTES_MAX
from greenroom.protocol.parallel import (
    MapSpec,
    MemoryConflictStrategy,
    OnBranchFailure,
    ParallelExecutionConfig,
)
from greenroom.protocol.questions import AskedQuestion

CONDITIONS = [
    "n > 1",
    "output.n < 2",
    "memory.get('n', 0) == 1",
    "'error' in output",
    "1 / n > 0",
    "true",
]
EFFECTS = [
    (EffectPolicy.ONCE, EffectOutcome.UNKNOWN),
    (EffectPolicy.ONCE, EffectOutcome.BEGUN),
    (EffectPolicy.STEP, EffectOutcome.DONE),
]
SAID = ["happened", "call_again", "fail"]
GRANTED = [False, 2, True, 1]
LIMITS = [
    {},
    {"timeout_s": 6.0},
    {"deadline": 1_030.0},
    {"budget": Budget(steps=3)},
    {"budget": Budget(steps=4, on_breach="pause")},
    {"budget": Budget(wall_s=6, on_breach="pause")},
    {"budget": Budget(steps=3, on_breach="ask")},
    {"budget": Budget(wall_s=3, on_breach="ask")},
]
RESTING = {Status.HELD, Status.PAUSED}
VALUES = [None, 0, 1, [2, 1, 0, "bug"], "", "bug", [1, 2, 3], True]


@st.composite
def graphs(draw: st.DrawFn) -> GraphSpec:
    """Up to five nodes, a third of them routers, with edges in every direction."""
    ids = [f"node{number}" for number in range(draw(st.integers(1, 5)))]
    one = st.sampled_from(ids)
    nodes = []
    for node_id in ids:
        router = draw(st.integers(0, 2)) == 0
        nodes.append(
            NodeSpec(
                id=node_id,
                node_type="router" if router else "function",
                routes=draw(st.dictionaries(st.sampled_from(["bug", "default", "1"]), one))
                if router
                else {},
                route_on=draw(st.sampled_from([None, "n"])) if router else None,
                output_keys=draw(st.sampled_from([[], ["n"]])),
                nullable_output_keys=draw(st.sampled_from([[], ["n"]])),
                max_retries=draw(st.integers(0, 3)),
                max_node_visits=draw(st.integers(0, 3)),
                backoff_initial_s=draw(st.sampled_from([0.0, 0.5, 2.0])),
                timeout_s=None if router else draw(st.sampled_from([None, None, 0.0, 3.0])),
            )
        )
    over = st.sampled_from([None, None, None, MapSpec(over="list", item="n", concurrency=2)])
    edges = [
        EdgeSpec(
            id=f"edge{number}",
            source=draw(one),
            target=draw(one),
            condition=draw(
                st.sampled_from(
                    [one for one in EdgeCondition if one is not EdgeCondition.LLM_DECIDE]
                )
            ),
            condition_expr=draw(st.sampled_from(CONDITIONS)),
            input_mapping=draw(st.sampled_from([{}, {"m": "n", "n": "m"}, {"m": "error"}])),
            priority=draw(st.integers(-1, 1)),
            map=draw(over),
        )
        for number in range(draw(st.integers(len(ids) - 1, 9)))
    ]
    return GraphSpec(
        id="graph",
        entry_node=draw(one),
        nodes=nodes,
        edges=edges,
        terminal_nodes=draw(st.lists(one, max_size=1)),
        pause_nodes=draw(st.lists(one, max_size=2, unique=True)),
        entry_points={f"{node}_resume": draw(one) for node in ids if draw(st.integers(0, 3)) == 0},
        max_steps=draw(st.integers(1, 25)),
        parallel=ParallelExecutionConfig(
            on_branch_failure=draw(st.sampled_from(list(OnBranchFailure))),
            memory_conflict_strategy=draw(st.sampled_from(list(MemoryConflictStrategy))),
            branch_timeout_seconds=draw(st.sampled_from([None, 0, 5, 300])),
        ),
    )


def choose(run, number: int) -> Tick:
    """Any tick that the world may come up with, the likely ones more often."""
    kind, detail = number % 17, number // 17
    tokens = list(run.known.tokens.items())
    token_id, token = tokens[detail % len(tokens)]
    visit, attempt = token.visit, token.attempt
    value = VALUES[detail % len(VALUES)]
    if run.known.questions and kind % 2:
        return run.answer(detail % (run.known.asked + 1), value, permit=detail % 3 != 0)
    if run.known.status in RESTING:
        return Resume(run.encoded({"n": value})) if kind % 3 else Dispatch()
    if kind % 2 == 0 and run.known.effects.get(token_id):
        error_types = ("OutcomeUnknown", "outcome_unknown")
        return NodeErrored(token_id, visit, attempt, "who knows", error_types, 1, retryable=False)
    if kind < 6:
        sleep_until = run.now + detail % 7 if detail % 5 == 0 else None
        outputs = {"list": value} if detail % 3 == 0 else {"n": value}
        return run.success(outputs, sleep_until, which=detail)
    if kind == 6:
        until = run.now + 3 if detail % 2 else None
        return run.success({"n": value}, until, *("n", "m")[: detail % 3], which=detail)
    if kind == 8 and detail % 2:
        content = run.encoded({"n": value})["n"]
        return Inject(node=token.node, value=content, request=f"request {run.known.seq}")
    if kind < 9:
        return NodeErrored(token_id, visit, attempt, "broken", ("E",), 1, detail % 4 != 0)
    if kind in (14, 16):
        policy, outcome = EFFECTS[detail % 3]
        known = EffectRecord(policy, outcome, b"d", ask=outcome is EffectOutcome.UNKNOWN)
        change = EffectChange(f"pay/{detail % 4 + 1}", known if detail % 5 else None)
        return Progressed(token_id, visit, attempt, (change,) * (1 + detail % 2))
    if kind == 9:
        return Conflicted(token_id, visit, attempt, ("k",))
    if kind in (10, 13):
        return Recover(process_death=detail % 2 == 0, permit=detail % 4 != 0)
    if kind == 11:
        return Due(permit=detail % 2 == 0)
    if kind == 12 and detail % 3 == 0:
        return Cancel("enough") if detail % 2 else Hold("odd")
    if kind == 12:
        return Pause("wait")
    return Dispatch()


def commands_fit(run, transition) -> None:
    """Commands say what the tokens say."""
    tokens = run.known.tokens
    runs = {one for one in transition.commands if isinstance(one, RunNode)}
    ends = [one for one in transition.commands if isinstance(one, Finish)]
    stops = [one for one in transition.commands if isinstance(one, StopNode)]
    if transition.cause.tick in ("progressed", "inject"):
        assert transition.commands == ()
        assert transition.patch.steps == 0
        return
    began = {
        RunNode(number, token.node, token.visit, token.attempt)
        for number, token in transition.patch.tokens.items()
        if token is not None
        and token.phase is Phase.RUNNING
        and run.plan.nodes[token.node].spec.timeout_s != 0
    }
    assert runs == began
    kept = transition.cause.tick == "answer" and transition.patch.status is None
    over = run.known.status in SETTLED and not kept
    assert ends == ([Finish(run.known.status)] if over else [])
    for one in stops:
        token = tokens.get(one.token_id)
        assert token is None or token.phase is not Phase.RUNNING or token.attempt > 1
    assert all(len(one.data or b"") <= EVENT_DATA_BYTES_MAX for one in transition.events)


RULES = [
    ("soft", "n == 1"),
    ("soft", "metrics.failures < 1"),
    ("soft", "output.missing"),
    ("hard", "metrics.steps < 7"),
    ("hard", "n != 'x'"),
]


def driver(run_class, fits) -> type:
    """The driver of the other tests, with a check after every tick."""

    class Checked(run_class):
        def tick(self, tick: Tick):
            transition = super().tick(tick)
            if transition is not None:
                fits(self)
                commands_fit(self, transition)
            return transition

        def success(self, outputs, sleep_until=None, *keys, which=0) -> NodeSucceeded:
            tokens = list(self.known.tokens.items())
            token_id, token = tokens[which % len(tokens)]
            encoded, until = self.encoded(outputs), sleep_until
            deadline = self.now + 2 if "m" in keys else None
            default = self.encoded(outputs).get("n") if sleep_until is None else None
            asked = tuple(
                AskedQuestion(prompt="?", to=key, deadline=deadline, default=default)
                for key in keys
            )
            return NodeSucceeded(
                *(token_id, token.visit, token.attempt, encoded, 1),
                sleep_until=until,
                questions=asked,
            )

        def answer(self, number, value, *, permit=True) -> Answer:
            asked = self.known.questions.get(number)
            if asked is not None and asked.effect is not None:
                value = {"outcome": SAID[VALUES.index(value) % 3], "result": value}
            if asked is not None and asked.budget is not None:
                value = GRANTED[VALUES.index(value) % 4]
            raw = self.encoded({"n": value})["n"]
            return Answer(number=number, value=raw, digest=b"d", by=None, permit=permit)

        def next_tick(self) -> Tick:
            """What the world owes an execution that is not at rest."""
            phases = [token.phase for token in self.known.tokens.values()]
            if Phase.RUNNING in phases:
                return self.success({"n": 1}, which=phases.index(Phase.RUNNING))
            if Phase.READY in phases:
                return Dispatch()
            if self.known.questions:
                return self.answer(max(self.known.questions), 1)
            self.now = max(self.now, due_at(self.known))
            return Due(permit=int(self.now) % 2 == 0)

    return Checked


def dispatches(run) -> Iterator[tuple[tuple[str, int], int]]:
    """(node, visit), attempt of every node run."""
    for transition in run.transitions:
        for command in transition.commands:
            if isinstance(command, RunNode):
                yield (command.node, command.visit), command.attempt


@settings(max_examples=400)
@given(
    graph=graphs(),
    permit=st.booleans(),
    value=st.sampled_from(VALUES),
    numbers=st.lists(st.integers(0, 17 * 120 - 1), min_size=5, max_size=40),
    limits=st.sampled_from(LIMITS),
    rules=st.lists(st.sampled_from(RULES), unique=True),
)
def test_a_random_history_keeps_every_promise(
    run_class, fits, graph, permit, value, limits, numbers, rules
):
    """Folds agree, nothing sticks, attempts grow, ends are final, success leads to an end."""
    constraints = [
        Constraint(id=f"c{at}", constraint_type=kind, check=check)
        for at, (kind, check) in enumerate(rules)
    ]
    run = driver(run_class, fits)(graph, {"n": value}, permit=permit, rules=constraints, **limits)
    fits(run)
    ended: list[Tick] = []
    for number in numbers:
        if run.known.status in TERMINAL:
            if number % 3 or run.tick(Resume({})) is None:
                break
            continue
        tick = choose(run, number)
        if run.tick(tick) is not None and isinstance(tick, NodeSucceeded | NodeErrored):
            ended.append(tick)
        run.now += 1.0
        if overdue(run.known, run.now) is not None:  # the stream's timer never misses that
            run.tick(Due(permit=True))
    for tick in ended:
        assert run.tick(tick) is None  # stale for ever
    for _ in range(12 * graph.max_steps + 12):  # an attempt may take four ticks
        if run.known.status in TERMINAL or run.known.status is Status.HELD:
            break
        if run.known.status is Status.PAUSED:
            assert run.tick(Resume({}, Budget())) is not None
            continue
        assert run.tick(run.next_tick()) is not None
    event(f"ended as {run.known.status}")
    assert run.known.status in TERMINAL or run.known.status is Status.HELD
    highest: dict[tuple[str, int], int] = {}
    for visit, attempt in dispatches(run):
        assert attempt > highest.get(visit, 0)
        highest[visit] = attempt
    assert sum(kind.type == "execution_started" for kind in run.events()) <= 1
