"""Random histories of several executions over a store: what must hold whatever happens.

Nothing is simulated but the world: the engine decides, the real maker of commits encodes, the
store in memory checks and applies, and what it holds is compared with what is live.
"""

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.live import Live
from greenroom.actors.stream.recovery import load
from greenroom.actors.stream.roster import Roster
from greenroom.protocol.budget import Budget, OnBreach
from greenroom.protocol.commit import OutcomeKind
from greenroom.protocol.effects import (
    EffectChange,
    EffectOutcome,
    EffectPolicy,
    EffectRecord,
    slot_of,
)
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.due import due_at
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import (
    Accept,
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
    Tick,
)
from greenroom.protocol.execution import (
    SETTLED,
    TERMINAL,
    Accepted,
    ExecutionState,
    Phase,
    Status,
    Token,
)
from greenroom.protocol.graph import GraphSpec
from greenroom.protocol.patch import apply
from greenroom.protocol.questions import AskedQuestion
from greenroom.protocol.stream_messages import ResumeExecution
from greenroom.protocol.values import encode_value
from greenroom.storage import journal
from greenroom.storage.check import check
from greenroom.storage.memory_store import MemoryStore

ENTRY = "main"
WAYS = st.sampled_from(["review", "again", "quick", "nowhere"])
LIMITED = [Budget(steps=3, on_breach=one) for one in OnBreach]
TIMED = [Budget(wall_s=6.0, on_breach=one) for one in OnBreach]
BUDGETS = [None, None, *LIMITED, *TIMED]
GRANTED = {"review": True, "again": 1, "quick": 2, "nowhere": False}
POLICIES = st.sampled_from(list(EffectPolicy))
RESTING = (Status.WAITING, Status.PAUSED, Status.HELD, *TERMINAL)


def encoded(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode_value(value))


FIRST = {"way": encoded("quick"), "list": encoded(["review", "again", "quick"])}


class Histories(RuleBasedStateMachine):
    """Up to six executions; every rule is one thing that may happen to one of them."""

    changes: ClassVar[set[tuple[str, str, str]]] = set()  # of status, as documented
    fits: ClassVar[Any] = None
    graph: ClassVar[GraphSpec]

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.commits = 0
        self.plan = compile_plan(self.graph)
        self.store = MemoryStore()
        self.live: dict[str, Live] = {}
        self.ended: dict[str, ExecutionState] = {}
        self.restart()

    def restart(self) -> None:
        fence = self.store.raise_fence(ENTRY)
        self.maker = CommitMaker(ENTRY, fence, self.plan.digest, self.store)

    def teardown(self) -> None:
        self.come_to_rest()
        for live in self.live.values():
            assert live.state.status in RESTING, live.state
            event(f"at rest as {live.state.status}")
        assert check(self.store) == []
        self.store.close()

    # --- one tick, through everything that a stream does with it

    def tick(self, live: Live, tick: Tick) -> bool:
        before = None if live.state is None else live.state.status
        transition = advance(self.plan, live.state, tick, self.now)
        if transition is None:
            return False
        self.commits += 1
        commit = self.maker.step(self.commits, live, transition, self.now)
        (outcome,) = self.store.commit([commit], self.now)
        assert outcome.kind is OutcomeKind.APPLIED, outcome
        live.ordinal = outcome.ordinal
        live.state = apply(live.state, transition.patch, commit.expected_seq + 1)
        seen(before, live.state.status, transition.cause.tick)
        Histories.fits(live.state)
        assert live.state.steps <= self.graph.max_steps
        return True

    def come_to_rest(self) -> None:
        """Let everything run on that can, without a person and without waiting."""
        for live in self.live.values():
            for _ in range(10 * self.graph.max_steps):
                state = live.state
                if state.status in RESTING:
                    break
                if flying := running(live):
                    assert self.tick(live, success(*flying[0], {"way": encoded("quick")}))
                elif state.status is Status.QUEUED:
                    assert self.tick(live, Dispatch())
                else:
                    self.now = max(self.now, due_at(state))
                    assert self.tick(live, Due(permit=True))

    def one(self, data: st.DataObject) -> Live:
        """One of them; those that have ended seldom, because little can happen to them."""
        going = [name for name, one in self.live.items() if one.state.status not in TERMINAL]
        ended = data.draw(st.integers(0, 9)) == 0
        return self.live[
            data.draw(st.sampled_from(sorted(self.live) if ended or not going else going))
        ]

    def some(self, data: st.DataObject, live: Live) -> list[tuple[int, Token]]:
        """One of its nodes that run, if any do."""
        flying = running(live)
        return [data.draw(st.sampled_from(flying))] if flying else []

    # --- what may happen

    @initialize(permit=st.booleans())
    def begin(self, permit: bool) -> None:
        self.accept(permit)

    @rule(
        permit=st.booleans(),
        timeout_s=st.sampled_from([None, None, 4.0]),
        deadline_s=st.sampled_from([None, None, 30.0]),
        budget=st.sampled_from(BUDGETS),
    )
    def accept(
        self,
        permit: bool,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        budget: Budget | None = None,
    ) -> None:
        if len(self.live) == 6:
            return
        name = f"e{len(self.live)}"
        accepted = Accepted(
            execution_id=name,
            entry_point=ENTRY,
            entry_node=self.graph.entry_node,
            graph_id=self.graph.id,
            goal_id="goal",
            correlation_id=name,
            accepted_at=self.now,
            timeout_s=timeout_s,
            deadline=None if deadline_s is None else self.now + deadline_s,
        )
        live = self.live[name] = Live(name)
        tick = Accept(accepted=accepted, memory=FIRST, permit=permit, budget=budget)
        assert self.tick(live, tick)

    @rule()
    def permits_are_there(self) -> None:
        for live in self.live.values():
            if live.state.status is Status.QUEUED:
                assert self.tick(live, Dispatch())

    @rule(
        data=st.data(),
        way=WAYS,
        asked=st.lists(st.sampled_from([None, "default", "none"]), max_size=2),
        sleep=st.sampled_from([None, 3.0]),
    )
    def succeed(
        self, data: st.DataObject, way: str, asked: list[str | None], sleep: float | None
    ) -> None:
        live = self.one(data)
        until = None if sleep is None else self.now + sleep
        asked = tuple(self.question(expiry) for expiry in asked)
        for token_id, token in self.some(data, live):
            outputs = {"way": encoded(way)}
            tick = success(token_id, token, outputs, sleep_until=until, questions=asked)
            assert self.tick(live, tick)
            assert not self.tick(live, tick), "the same end counts once"

    def question(self, expiry: str | None) -> AskedQuestion:
        return AskedQuestion(
            prompt="Which way?",
            to="way",
            deadline=None if expiry is None else self.now + 4.0,
            default=encoded("quick") if expiry == "default" else None,
        )

    @rule(data=st.data(), way=WAYS)
    def inject(self, data: st.DataObject, way: str) -> None:
        live = self.one(data)
        for token in list(live.state.tokens.values()):
            request = f"request {self.commits}"
            tick = Inject(node=token.node, value=encoded(way), request=request)
            if self.tick(live, tick):
                assert not self.tick(live, tick), "the same input is kept once"

    @rule(data=st.data(), retryable=st.booleans())
    def fail(self, data: st.DataObject, retryable: bool) -> None:
        live = self.one(data)
        for token_id, token in self.some(data, live):
            tick = NodeErrored(
                token_id, token.visit, token.attempt, "broken", ("ValueError",), 1, retryable
            )
            assert self.tick(live, tick)
            assert not self.tick(live, tick), "the same end counts once"

    @rule(data=st.data())
    def lose_a_race(self, data: st.DataObject) -> None:
        live = self.one(data)
        for token_id, token in self.some(data, live):
            assert self.tick(live, Conflicted(token_id, token.visit, token.attempt, ("key",)))

    @rule(data=st.data(), policy=POLICIES, done=st.booleans(), occurrence=st.integers(1, 2))
    def record_an_effect(
        self, data: st.DataObject, policy: EffectPolicy, done: bool, occurrence: int
    ) -> None:
        live = self.one(data)
        outcome = EffectOutcome.DONE if done else EffectOutcome.BEGUN
        value = encoded(1) if done else None
        record = EffectRecord(policy, outcome, b"digest", value)
        for token_id, token in running(live):
            changes = (EffectChange(slot_of("send", occurrence), record),)
            self.tick(live, Progressed(token_id, token.visit, token.attempt, changes))

    @rule(seconds=st.sampled_from([0.5, 2.0, 10.0]), permit=st.booleans())
    def time_passes(self, seconds: float, permit: bool) -> None:
        self.now += seconds
        for live in self.live.values():
            due = due_at(live.state)
            was_due = due is not None and due <= self.now
            assert self.tick(live, Due(permit=permit)) == was_due

    @rule(data=st.data(), way=WAYS, permit=st.booleans())
    def answer(self, data: st.DataObject, way: str, permit: bool) -> None:
        live = self.one(data)
        for number, question in list(live.state.questions.items())[:1]:
            value = encoded(way if question.to else GRANTED[way])
            tick = Answer(number=number, value=value, digest=b"digest", by=None, permit=permit)
            assert self.tick(live, tick)
            assert not self.tick(live, tick), "an answer counts once"

    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        live = self.one(data)
        may = live.state.status in (Status.QUEUED, Status.RUNNING, Status.WAITING)
        assert self.tick(live, Pause("for a while")) == may

    @rule(data=st.data(), way=st.none() | WAYS, more=st.booleans())
    def resume(self, data: st.DataObject, way: str | None, more: bool) -> None:
        live = self.one(data)
        memory = {} if way is None else {"way": encoded(way)}
        budget = Budget(steps=20) if more else None
        wish = ResumeExecution(execution_id=live.execution_id, memory=memory, budget=budget)
        tick = Roster(ENTRY, self.store).way_on(live, wish)
        assert tick is not None
        self.tick(live, tick)

    @rule(data=st.data(), way=st.none() | WAYS)
    def go_back(self, data: st.DataObject, way: str | None) -> None:
        live = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        if live.state.status not in SETTLED:
            return
        seq = data.draw(st.integers(1, live.state.seq))
        wish = ResumeExecution(
            execution_id=live.execution_id,
            memory={} if way is None else {"way": encoded(way)},
            seq=seq,
        )
        before = live.state.rewinds
        tick = Roster(ENTRY, self.store).way_on(live, wish)
        assert tick is not None
        if self.tick(live, tick):
            assert live.state.rewinds == before + 1

    @rule(data=st.data(), hold=st.booleans(), chance=st.integers(0, 3))
    def stop(self, data: st.DataObject, hold: bool, chance: int) -> None:
        if chance:
            return
        live = self.one(data)
        ended = live.state.status in TERMINAL
        if hold:
            held = live.state.status is Status.HELD
            assert self.tick(live, Hold("odd")) == (not ended and not held)
        else:
            assert self.tick(live, Cancel("enough")) == (not ended)

    @rule(process=st.booleans(), permit=st.booleans())
    def crash(self, process: bool, permit: bool) -> None:
        """Nothing in memory is left, and the next owner takes up what runs."""
        self.restart()
        for name, old in list(self.live.items()):
            found = self.store.read(lambda reader, name=name: load(
                name, ENTRY, reader, also_ended=True
            ))  # fmt: skip
            assert found is not None
            assert found.state == old.state
            self.live[name] = found
            flying = any(True for _ in running(found))
            assert self.tick(found, Recover(process_death=process, permit=permit)) or not flying

    @invariant()
    def the_journal_folds_to_what_is_live(self) -> None:
        for live in self.live.values():
            if live.state is not None:
                stored = self.store.read(
                    lambda reader, live=live: journal.fold(reader.transaction, live.ordinal)
                )
                assert stored == live.state


def success(token_id: int, token: Token, outputs: dict[str, Any], **more: Any) -> NodeSucceeded:
    return NodeSucceeded(token_id, token.visit, token.attempt, outputs, 1, **more)


def running(live: Live) -> list[tuple[int, Token]]:
    if live.state.status is not Status.RUNNING:
        return []
    return [one for one in live.state.tokens.items() if one[1].phase is Phase.RUNNING]


def seen(before: Status | None, after: Status, step: str) -> None:
    """A change of status is one of those in the documentation."""
    event(f"{before} -> {after} by {step}")
    assert (step, before or "new", after) in Histories.changes


@pytest.mark.parametrize("name", ["plain", "branching"])
def test_random_histories_keep_every_promise(
    changes: Any, fits: Any, graphs: dict[str, GraphSpec], name: str
) -> None:
    Histories.changes, Histories.fits = changes, staticmethod(fits)
    Histories.graph = graphs[name]
    run_state_machine_as_test(
        Histories, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_the_documentation_names_every_status_and_its_way_out(
    changes: set[tuple[str, str, str]],
) -> None:
    statuses = set(Status)
    assert {after for _, _, after in changes} == statuses
    assert {before for _, before, _ in changes} - {"new"} == statuses
