"""Steps that are decided on what is not durable yet: whatever the writer refuses and whenever the
stream crashes, what happens is what would have happened one commit after the other.
"""

from typing import Any

import msgspec
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from greenroom.actors.kernel.clock import SystemClock
from greenroom.actors.nodes.runner import NodeRun
from greenroom.actors.stream.admission_desk import dispatch_of
from greenroom.actors.stream.commits import CommitMaker, tick_of
from greenroom.actors.stream.judging import Judging
from greenroom.actors.stream.live import InFlight, Live, Pending, StreamSlot
from greenroom.actors.stream.node_runs import node_run_of
from greenroom.actors.stream.roster import Roster
from greenroom.actors.stream.steps import StepMachine
from greenroom.actors.stream.versions import Versions
from greenroom.protocol.commit import Commit, CommitOutcome, OutcomeKind
from greenroom.protocol.effects import EffectChange, EffectOutcome, EffectPolicy, EffectRecord
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import Pause, Progressed, Recover, Resume
from greenroom.protocol.engine.transition import Finish, RunNode, StopNode, Transition
from greenroom.protocol.execution import Accepted, Phase, Status, Token
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import NOTE_BYTES_MAX
from greenroom.protocol.patch import Cause, Patch
from greenroom.protocol.stream_messages import NodeResult
from greenroom.protocol.values import encode_value
from greenroom.storage import journal
from greenroom.storage.check import check
from greenroom.storage.memory_store import MemoryStore

ENTRY, NAME, TOKENS = "main", "e1", 4
GRAPH = GraphSpec(
    id="graph",
    entry_node="work",
    max_steps=60,
    nodes=[NodeSpec(id="work", max_retries=0, max_node_visits=0)],
    edges=[
        EdgeSpec(id="again", source="work", target="work", condition="conditional",
                 condition_expr="n >= 0"),
        EdgeSpec(id="failed", source="work", target="work", condition="on_failure"),
    ],
)  # fmt: skip
TOO_LARGE = msgspec.Raw(b"\xc4" + bytes(NOTE_BYTES_MAX + 1))  # no store takes such a note
RUNNING = Phase.RUNNING


def encoded(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode_value(value))


class Asker:
    """Whoever waits to hear whether a sub-step is on record."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def set(self, value: Any = None) -> None:
        self.answers.append(value)


class Owner:
    """The stream, as far as the machine needs one: it runs what is durable, and nothing else."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.runs: dict[int, NodeRun] = {}
        self.begun: list[NodeRun] = []

    def carry_out(self, live: Live, command: Any, run: NodeRun | None) -> None:
        match command:
            case RunNode():
                assert live.state is not None
                made = run or node_run_of(live.state, command, holds_turns=False)
                self.runs[command.token_id] = made
                self.begun.append(made)
            case StopNode():
                self.runs.pop(command.token_id, None)  # it may have ended meanwhile
            case Finish():
                self.runs.clear()

    def contends(self, live: Live) -> bool:
        return False

    def blocked(self, live: Live, pending: Pending) -> bool:
        return False

    def reload(self, live: Live) -> None:
        event("taken back")
        self.roster.reload(live)

    def committed(self, live: Live, flight: InFlight) -> None:
        if flight.runs is not None:
            event("others were decided on it")

    def node_is_over(self, live: Live, token_id: int) -> None: ...

    def settle(self, live: Live) -> None: ...


class Following(RuleBasedStateMachine):
    """One execution with several nodes in flight, its stream, and a writer that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.plan = compile_plan(GRAPH)
        self.slot = StreamSlot()
        self.mailbox: list[list[Commit]] = []  # of the writer
        self.acks: list[list[CommitOutcome]] = []  # on their way back
        self.askers: list[Asker] = []
        self.count = 0
        self.start(plant=True)

    def start(self, *, plant: bool = False) -> None:
        roster = Roster(ENTRY, self.store)
        fence = self.store.raise_fence(ENTRY)
        maker = CommitMaker(ENTRY, fence, self.plan.digest, self.store)
        if plant:
            self.plant(maker)
        self.owner = Owner(roster)
        judging = Judging(Versions(self.store, self.plan, "", lambda _: True), ENTRY, fence)
        steps: Any = StepMachine(self.plan, maker, self.slot, SystemClock(), self.owner, judging)
        self.machine = steps
        live = roster.find(NAME, also_ended=True)
        assert live is not None
        self.live = live
        self.tick(Pending(Recover(process_death=False, permit=True)))
        self.slice_ends()

    def plant(self, maker: CommitMaker) -> None:
        accepted = Accepted(
            execution_id=NAME, entry_point=ENTRY, entry_node="work", graph_id="graph",
            goal_id="goal", correlation_id=NAME, accepted_at=1.0,
        )  # fmt: skip
        tokens = {
            one: Token(node="work", visit=one, attempt=1, phase=RUNNING)
            for one in range(1, TOKENS + 1)
        }
        patch = Patch(
            accepted=accepted, status=Status.RUNNING, tokens=dict(tokens), steps=TOKENS,
            visits={"work": TOKENS}, path=("work",) * TOKENS, started_at=1.0,
        )  # fmt: skip
        number = self.slot.take_commit_id()
        transition = Transition(patch, Cause(tick="accept"), (), ())
        (outcome,) = self.store.commit([maker.step(number, Live(NAME), transition, 1.0)], 1.0)
        assert outcome.kind is OutcomeKind.APPLIED

    def tick(self, pending: Pending) -> None:
        self.machine.tick(self.live, pending)

    def slice_ends(self) -> None:
        self.machine.close_batch()
        if self.slot.outbox:
            self.mailbox.append(list(self.slot.outbox))
            self.slot.outbox.clear()

    # --- what may happen in a slice

    @rule(data=st.data(), ways=st.lists(st.sampled_from("ggggbe"), min_size=1, max_size=TOKENS))
    def nodes_end(self, data: st.DataObject, ways: list[str]) -> None:
        """Well, with something that no store takes, or with an error."""
        for way in ways[: len(self.owner.runs)]:
            token_id = data.draw(st.sampled_from(sorted(self.owner.runs)))
            run = self.owner.runs.pop(token_id)
            self.count += 1
            result = NodeResult(
                execution_id=NAME,
                token_id=token_id,
                visit=run.visit,
                attempt=run.attempt,
                outputs={"n": encoded(self.count), f"k{self.count % 5}": encoded(self.count)},
                notes=(TOO_LARGE,) if way == "b" else (),
                error="failed" if way == "e" else None,
            )
            self.tick(Pending(tick_of(result), None if result.error else result))

    @rule(data=st.data(), large=st.booleans())
    def a_node_records(self, data: st.DataObject, large: bool) -> None:
        if self.owner.runs:
            run = self.owner.runs[data.draw(st.sampled_from(sorted(self.owner.runs)))]
            record = EffectRecord(EffectPolicy.STEP, EffectOutcome.DONE, b"d", encoded(1))
            change = EffectChange(f"send/{len(self.askers) + 1}", record)
            asker = Asker()
            self.askers.append(asker)
            tick = Progressed(run.token_id, run.visit, run.attempt, (change,))
            self.tick(Pending(tick, reply=asker))  # type: ignore[arg-type]

    @rule()
    def paused_and_resumed(self) -> None:
        self.tick(Pending(Pause("for a moment")))
        self.tick(Pending(Resume()))
        self.slice_ends()

    @rule()
    def a_permit_is_there(self) -> None:
        state = self.live.state
        if state is not None and state.status is Status.QUEUED and not self.live.in_flight:
            dispatch = dispatch_of(state)
            assert dispatch is not None
            self.tick(Pending(dispatch))

    @rule()
    def slice_is_over(self) -> None:
        self.slice_ends()

    # --- the writer, and what goes wrong

    @rule(count=st.integers(1, 3))
    def writer_works(self, count: int) -> None:
        group, self.mailbox = self.mailbox[:count], self.mailbox[count:]
        outcomes = self.store.commit([one for batch in group for one in batch], 2.0)
        for batch in group:
            self.acks.append(outcomes[: len(batch)])
            outcomes = outcomes[len(batch) :]

    @rule()
    def acknowledged(self) -> None:
        for outcome in self.acks.pop(0) if self.acks else []:
            self.machine.acknowledge(outcome)
        self.slice_ends()

    @rule()
    def no_room_for_a_moment(self) -> None:
        self.store.degraded = "no room"
        self.settle_writer()
        self.store.degraded = None
        self.machine.resubmit()
        self.slice_ends()

    @rule()
    def the_stream_crashes(self) -> None:
        """Its mailbox and its outbox stay: the next instance sends on what was left."""
        self.slice_ends()
        self.settle_writer(deliver=False)
        self.acks.clear()
        self.askers.clear()  # whoever asked hears that its stream is down
        self.start()

    def settle_writer(self, *, deliver: bool = True) -> None:
        while self.mailbox or (deliver and self.acks):
            self.writer_works(9)
            if deliver:
                self.acknowledged()

    # --- what is always true

    @invariant()
    def nothing_runs_that_is_not_durable(self) -> None:
        """Each node sees what its own step left, also when later steps were decided already."""
        stored = self.store.read(lambda reader: reader.load(self.live.ordinal)).state
        for run in self.owner.begun:
            number = next(
                record.seq
                for record in self.records()
                if (moved := record.patch.tokens.get(run.token_id)) is not None
                and (moved.phase, moved.attempt) == (RUNNING, run.attempt)
            )
            then = self.store.read(
                lambda reader, seq=number: reader.load_state(self.live.ordinal, seq)
            )
            assert run.memory == then.memory
        self.owner.begun.clear()
        assert stored.seq >= 1

    def records(self) -> list[Any]:
        return self.store.read(lambda reader: reader.journal(self.live.ordinal, 0, 10_000))

    def teardown(self) -> None:
        self.slice_ends()
        self.settle_writer()
        live, state = self.live, self.live.state
        assert (live.in_flight, live.behind, list(live.ticks)) == (None, [], [])
        assert self.machine.commits_in_flight == 0
        folded = self.store.read(lambda reader: journal.fold(reader.transaction, live.ordinal))
        assert folded == state
        assert state is not None
        flying = {one for one, token in state.tokens.items() if token.phase is RUNNING}
        assert set(self.owner.runs) == flying, "a node run was lost"
        assert all(len(one.answers) == 1 for one in self.askers), "an answer was lost, or doubled"
        ends = [
            (one.cause.visit, one.cause.attempt)
            for one in self.records()
            if one.cause.tick in ("node_succeeded", "node_errored")
        ]
        assert len(ends) == len(set(ends)), "a node run was closed twice"
        assert check(self.store) == []
        self.store.close()


def test_what_is_decided_ahead_is_what_is_decided_one_after_the_other() -> None:
    run_state_machine_as_test(
        Following, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )
