"""Random commits, refusals and restarts against a model that is a few dictionaries."""

import tempfile
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import (
    Commit,
    CursorMove,
    IdempotencyClaim,
    NewEvent,
    StateKey,
    StateRead,
    StateWrite,
    Summary,
)
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import SETTLED, Accepted, Status
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.storage.check import check
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.memory_store import MemoryStore
from greenroom.storage.store import StoreOptions

NAMES = st.sampled_from([f"e{number}" for number in range(6)] + ["e" * 100])
KEYS = st.sampled_from(["a", "b", "k" * 90])
SCOPES = st.sampled_from([("global", ""), ("stream", "ep")])
OPTIONS = StoreOptions(map_bytes=1024 * 1024, events_max=30)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


class StoreMachine(RuleBasedStateMachine):
    """Both stores do the same, and what the model says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store"
        self.durable = open_store(self.path, options=OPTIONS)
        self.memory = MemoryStore(OPTIONS)
        self.now = 1_000.0
        self.waiting: list[Commit] = []
        self.expected: list[str] = []
        self.fence = 0
        self.seqs: dict[str, int] = {}  # by execution
        self.statuses: dict[str, Status] = {}
        self.ordinals: dict[str, int] = {}
        self.accepted = 0
        self.goals: dict[str, str] = {}
        self.values: dict[tuple[str, str, str], tuple[object, int]] = {}
        self.version = 0
        self.events = 0
        self.claims: dict[str, tuple[str, bytes, float]] = {}
        self.cursor = 0

    @initialize()
    def begin(self) -> None:
        self.raise_fence()

    def _commit(self, expected: str, **parts: object) -> None:
        """Add a commit to the group, with what is expected to become of it."""
        parts |= {"commit_id": len(self.waiting), "stream": "ep"}
        self.waiting.append(Commit(**parts))  # type: ignore[arg-type]
        self.expected.append(expected)

    def _record(self, seq: int, **patch: object) -> msgspec.Raw:
        return raw(
            JournalRecord(
                seq=seq,
                at=self.now,
                incarnation=self.fence,
                plan=b"p",
                cause=Cause(tick="t"),
                patch=Patch(**patch),  # type: ignore[arg-type]
            )
        )

    def _summary(self, name: str, status: Status, goal: str = "g") -> Summary:
        return Summary(
            execution_id=name,
            entry_point="ep",
            goal_id=goal,
            correlation_id="c",
            status=status,
            accepted_at=1.0,
            updated_at=self.now,
        )

    def _events(self, count: int) -> tuple[NewEvent, ...]:
        return tuple(
            NewEvent(raw(EventBody(type="custom", at=self.now)), raw(one) if one else None)
            for one in range(count)
        )

    @rule(name=NAMES, count=st.integers(0, 3), stale=st.booleans(), goal=st.sampled_from("gh"))
    def accept(self, name: str, count: int, stale: bool, goal: str) -> None:
        accepted = Accepted(
            execution_id=name,
            entry_point="ep",
            entry_node="a",
            graph_id="g",
            goal_id="g",
            correlation_id="c",
            accepted_at=self.now,
        )
        self.now += 1  # every accept has its own bytes
        expected = "refused" if stale else "duplicate" if name in self.seqs else "applied"
        self._commit(
            expected,
            incarnation=self.fence - stale,
            execution_id=name,
            record=self._record(1, accepted=accepted, status=Status.QUEUED),
            summary=self._summary(name, Status.QUEUED, goal),
            events=self._events(count),
        )
        if expected == "applied":
            self.accepted += 1
            self.ordinals[name] = self.accepted
            self.goals[name] = goal
            self.seqs[name] = 1
            self.statuses[name] = Status.QUEUED
            self.events += count

    @rule(
        name=NAMES,
        behind=st.integers(-1, 1),
        status=st.none() | st.sampled_from(list(Status)),
        count=st.integers(0, 2),
    )
    def step(self, name: str, behind: int, status: Status | None, count: int) -> None:
        at = self.seqs.get(name, 0)
        self.now += 1
        right = name in self.seqs and not behind
        seq = at + 1 - behind
        self._commit(
            "applied" if right else "refused",
            incarnation=self.fence,
            execution_id=name,
            ordinal=self.ordinals.get(name, 77),
            expected_seq=seq - 1,
            record=self._record(seq, status=status, steps=1),
            summary=status and self._summary(name, status, self.goals.get(name, "g")),
            events=self._events(count),
        )
        if right:
            self.seqs[name] = seq
            self.statuses[name] = status or self.statuses[name]
            self.events += count

    @rule(name=NAMES, behind=st.booleans())
    def delete(self, name: str, behind: bool) -> None:
        self._flush()  # what is sent once more must not be about another one of the same name
        right = not behind and self.statuses.get(name) in SETTLED
        self._commit(
            "applied" if right else "refused",
            incarnation=self.fence,
            execution_id=name,
            ordinal=self.ordinals.get(name, 77),
            expected_seq=self.seqs.get(name, 1) - behind,
            delete=True,
        )
        self._flush()
        if right:
            for known in (self.seqs, self.statuses, self.ordinals, self.goals):
                del known[name]

    @rule(scope=SCOPES, key=KEYS, value=st.none() | st.integers(0, 9), stale=st.booleans())
    def write(self, scope: tuple[str, str], key: str, value: int | None, stale: bool) -> None:
        place = (*scope, key)
        version = self.values.get(place, (None, 0))[1]
        self._commit(
            "conflict" if stale else "applied",
            incarnation=self.fence,
            reads=(StateRead(StateKey(*place), version + stale),),
            writes=(StateWrite(StateKey(*place), None if value is None else raw(value)),),
        )
        if not stale:
            self.version += 1
            self.values[place] = (value, self.version)

    @rule(key=KEYS, digest=st.sampled_from([b"", b"x", b"y"]), window=st.integers(1, 40))
    def claim(self, key: str, digest: bytes, window: int) -> None:
        held = self.claims.get(key)
        self._flush()  # whether a claim stands depends on the time of its group
        standing = held is not None and held[2] > self.now
        expected = "applied"
        if standing and held is not None:
            expected = "duplicate" if not digest or digest == held[1] else "refused"
        else:
            self.claims[key] = (f"c{self.now}", digest, self.now + window)
        self._commit(
            expected,
            incarnation=self.fence,
            execution_id=f"c{self.now}",
            idempotency=(IdempotencyClaim("ep", key, digest, self.now + window),),
        )
        self._flush()

    @rule(by=st.integers(0, 3), wrong=st.booleans())
    def move_cursor(self, by: int, wrong: bool) -> None:
        seq = min(self.cursor + by, self.events)
        # A move to where the cursor is already counts as sent once more.
        self._commit(
            "refused" if wrong and seq != self.cursor else "applied",
            incarnation=self.fence,
            cursor=CursorMove("reader", self.cursor + 1000 * wrong, seq),
        )
        if not wrong:
            self.cursor = seq

    @rule()
    def raise_fence(self) -> None:
        self._flush()
        self.fence += 1
        assert self.durable.raise_fence("ep") == self.fence
        assert self.memory.raise_fence("ep") == self.fence

    @rule()
    def resubmit(self) -> None:
        """What was just applied is sent once more, as after a writer's crash."""
        group, expected = list(self.waiting), list(self.expected)
        self._flush()
        for commit, was in zip(group, expected, strict=True):
            if commit.record is not None and was == "applied":
                for store in (self.durable, self.memory):
                    (outcome,) = store.commit([commit], self.now)
                    assert outcome.kind.value == "applied"

    @rule()
    def restart(self) -> None:
        self._flush()
        self.durable.close()
        self.durable = open_store(self.path, options=OPTIONS)
        self.memory = self.memory.reopen()

    @rule()
    def send(self) -> None:
        self._flush()

    def _flush(self) -> None:
        group, expected = self.waiting, self.expected
        self.waiting, self.expected = [], []
        if not group:
            return
        first = self.durable.commit(group, self.now)
        assert [one.kind.value for one in first] == expected
        assert self.memory.commit(group, self.now) == first

    @invariant()
    def agrees_with_the_model(self) -> None:
        if self.waiting:
            return
        for store in (self.durable, self.memory):
            found = store.read(lambda reader: reader.executions())
            assert {one.summary.execution_id: one.seq for one in found} == self.seqs
            statuses = {one.summary.execution_id: one.summary.status for one in found}
            assert statuses == self.statuses
            for status in Status:
                found = store.read(lambda reader, s=status: reader.oldest(s, "ep"))
                assert [one.ordinal for one in found] == sorted(
                    self.ordinals[name] for name, at in self.statuses.items() if at is status
                )
            of_goal = store.read(lambda reader: reader.executions(goal_id="h"))
            assert {one.summary.execution_id for one in of_goal} == {
                name for name, goal in self.goals.items() if goal == "h"
            }
            assert store.read(lambda reader: reader.last_event()) == self.events
            assert store.read(lambda reader: reader.cursor("reader"))[0] == self.cursor
            for place, (value, version) in self.values.items():
                held = store.read(lambda reader, p=place: reader.state_get(StateKey(*p)))
                decoded = None if held[0] is None else msgspec.msgpack.decode(held[0])
                assert (decoded, held[1]) == (value, version)

    def teardown(self) -> None:
        try:
            self.restart()
            self.agrees_with_the_model()
            assert check(self.durable) == []
            assert check(self.memory) == []
        finally:
            self.durable.close()
            self.folder.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=40,
    report_multiple_bugs=False,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
