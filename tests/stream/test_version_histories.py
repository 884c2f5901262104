"""Random histories over deploys: the graph changes to and fro while executions stand in it."""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from greenroom.actors.nodes.migrator import Asked
from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.live import Live
from greenroom.actors.stream.recovery import load
from greenroom.actors.stream.versions import Versions, in_words
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import OutcomeKind
from greenroom.protocol.effects import idempotency_key
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.plan import Plan, compile_plan
from greenroom.protocol.engine.ticks import (
    Accept,
    Answer,
    Dispatch,
    Due,
    Hold,
    Migrate,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Recover,
    Release,
    Resume,
    Tick,
)
from greenroom.protocol.engine.versions import describe
from greenroom.protocol.execution import Accepted, ExecutionState, Phase, Status, Token
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.patch import apply
from greenroom.protocol.questions import AskedQuestion
from greenroom.protocol.values import encode_value
from greenroom.storage import journal
from greenroom.storage.check import check
from greenroom.storage.memory_store import MemoryStore

ENTRY = "main"
RENAMES = {"work": "job", "job": "work"}  # between the first version and the second
GOING_ON = (Status.QUEUED, Status.RUNNING, Status.WAITING)


def plan_of(first: str, attempts: int) -> Plan:
    node = NodeSpec(id=first, max_retries=attempts, backoff_initial_s=5.0)
    way = EdgeSpec(id="way", source=first, target="end", condition="on_success")
    graph = GraphSpec(id="graph", entry_node=first, nodes=[node, NodeSpec(id="end")], edges=[way])
    return compile_plan(graph)


PLANS = [plan_of("work", 2), plan_of("work", 4), plan_of("job", 2)]  # the first two fit each other


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode_value(value))


class Deploys(RuleBasedStateMachine):
    """A few executions of two nodes; every rule is one thing that may happen to one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.commits = 1_000.0, 0
        self.store = MemoryStore()
        self.live: dict[str, Live] = {}
        self.closed: set[str] = set()  # keys of the visits whose nodes have ended
        self.use(PLANS[0])

    def use(self, plan: Plan) -> None:
        self.plan = plan
        self.store.note_plan(plan.digest, msgspec.Raw(encode(describe(plan))))
        self.versions = Versions(self.store, plan, "", lambda name: True)
        fence = self.store.raise_fence(ENTRY)
        self.maker = CommitMaker(ENTRY, fence, plan.digest, self.store)

    def teardown(self) -> None:
        assert check(self.store) == []
        self.store.close()

    def tick(self, live: Live, tick: Tick) -> bool:
        transition = advance(self.plan, live.state, tick, self.now)
        if transition is None:
            return False
        self.commits += 1
        commit = self.maker.step(self.commits, live, transition, self.now)
        (outcome,) = self.store.commit([commit], self.now)
        assert outcome.kind is OutcomeKind.APPLIED, outcome
        live.ordinal = outcome.ordinal
        live.state = apply(live.state, transition.patch, commit.expected_seq + 1)
        if live.version is not None:
            live.version = self.maker.version_after(live, transition)
        return True

    def one(self, data: st.DataObject) -> tuple[Live, ExecutionState]:
        live = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        assert live.state is not None
        return live, live.state

    @initialize()
    def begin(self) -> None:
        self.accept(permit=True)

    @rule(permit=st.booleans())
    def accept(self, permit: bool) -> None:
        if len(self.live) == 3:
            return
        name = f"e{len(self.live)}"
        accepted = Accepted(
            execution_id=name,
            entry_point=ENTRY,
            entry_node=next(iter(self.plan.nodes)),
            graph_id="graph",
            goal_id="goal",
            correlation_id=name,
            accepted_at=self.now,
        )
        self.live[name] = Live(name)
        assert self.tick(self.live[name], Accept(accepted=accepted, memory={}, permit=permit))

    @rule(data=st.data(), how=st.sampled_from(["ends", "fails", "asks", "sleeps"]))
    def run(self, data: st.DataObject, how: str) -> None:
        """A node runs to its end, or the next attempt; nothing that had ended runs again."""
        live, state = self.one(data)
        for token_id, token in list(state.tokens.items()):
            if state.status is Status.QUEUED and token.phase is Phase.READY:
                self.tick(live, Dispatch())
            elif token.phase is Phase.RUNNING:
                self.end(live, token_id, token, how)

    def end(self, live: Live, token_id: int, token: Token, how: str) -> None:
        key = idempotency_key(live.execution_id, token.node, token.visit, known_as=token.known_as)
        assert key not in self.closed
        own = (token_id, token.visit, token.attempt)
        if how == "fails":
            self.tick(live, NodeErrored(*own, "broken", ("ValueError",), 1))
            return
        self.closed.add(key)
        asked = (AskedQuestion(prompt="?", to="said"),) if how == "asks" else ()
        until = self.now + 10 if how == "sleeps" else None
        self.tick(live, NodeSucceeded(*own, {}, 1, sleep_until=until, questions=asked))

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        live, state = self.one(data)
        for number in list(state.questions):
            self.tick(live, Answer(number=number, value=raw(1), digest=b"d", by=None, permit=True))

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for live in self.live.values():
            self.tick(live, Due(permit=True))

    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        self.tick(self.one(data)[0], Pause())

    @rule(data=st.data(), migrates=st.booleans())
    def resume(self, data: st.DataObject, migrates: bool) -> None:
        live, state = self.one(data)
        if state.status in GOING_ON or state.status is Status.COMPLETED:
            return
        if self.settle(live, migrates=migrates):
            self.tick(live, Resume())

    @rule(plan=st.sampled_from(PLANS), migrates=st.booleans())
    def deploy(self, plan: Plan, migrates: bool) -> None:
        """The process ends, and the next one has a graph of its own."""
        self.use(plan)
        for name, old in list(self.live.items()):
            found = self.store.read(
                lambda reader, name=name: load(name, ENTRY, reader, also_ended=True)
            )
            assert found is not None
            assert found.state is not None
            assert found.state == old.state
            self.live[name] = found
            status = found.state.status
            if status in GOING_ON:
                if self.settle(found, migrates=migrates):
                    self.tick(found, Recover(process_death=False, permit=True))
            elif found.state.unfit and self.settle(found, migrates=migrates):
                assert self.tick(found, Release())

    def settle(self, live: Live, *, migrates: bool) -> bool:
        """As recovery and streams do; whether the execution may go on."""
        assert live.state is not None
        reasons = self.versions.judge(live)
        if not reasons:
            return True
        before = live.state.status
        if migrates:
            verdict = self.versions.verdict(live, Asked(nodes=self.renames()))
            assert isinstance(verdict, Migrate)
            assert self.tick(live, verdict)
            assert live.state.status is before
            assert live.version is None
            return True
        if before in GOING_ON:
            assert self.tick(live, Hold(in_words(reasons), reasons))
        return False

    def renames(self) -> dict[str, str]:
        return {old: new for old, new in RENAMES.items() if new in self.plan.nodes}

    @invariant()
    def what_is_stored_is_what_is_live(self) -> None:
        for live in self.live.values():
            stored = self.store.read(
                lambda reader, live=live: journal.load(reader.transaction, live.ordinal)
            )
            assert stored.state == live.state
            assert stored.plan == (self.plan.digest if live.version is None else live.version) or (
                live.version is None and stored.plan in {one.digest for one in PLANS}
            )

    @invariant()
    def nobody_who_does_not_fit_goes_on_and_nobody_ends_before_the_end(self) -> None:
        for live in self.live.values():
            assert live.state is not None
            if live.state.status in GOING_ON:
                assert all(token.node in self.plan.nodes for token in live.state.tokens.values())
            if live.state.status is Status.COMPLETED:
                assert live.state.path[-1] == "end"
            assert not live.state.unfit or live.state.status is Status.HELD
            assert live.state.steps == sum(live.state.visits.values())


def test_random_deploys_strand_nobody_and_repeat_nothing() -> None:
    run_state_machine_as_test(
        Deploys, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
