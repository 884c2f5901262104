"""Random histories of executions, their forks and what becomes of both, against a dictionary."""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, Summary
from greenroom.protocol.execution import Accepted, Status
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.storage.check import check
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.memory_store import MemoryStore
from greenroom.storage.store import StoreOptions

OPTIONS = StoreOptions(map_bytes=1024 * 1024, results_ttl_s=50.0)


class Family(msgspec.Struct):
    """What the model knows of one execution: its memory after each of its records."""

    ordinal: int
    memories: list[dict[str, int]]
    forked: Forked | None = None
    status: Status = Status.QUEUED


class ForkMachine(RuleBasedStateMachine):
    """Both stores do the same, no fork loses anything, and the store never contradicts itself."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store"
        self.durable = open_store(self.path, options=OPTIONS)
        self.memory = MemoryStore(OPTIONS)
        self.now = 1_000.0
        self.there: dict[str, Family] = {}
        self.accepted = 0

    def _apply(self, **parts: Any) -> None:
        commit = Commit(commit_id=1, stream="", incarnation=0, **parts)
        for store in (self.durable, self.memory):
            (outcome,) = store.commit([commit], self.now)
            assert outcome.kind.value == "applied", outcome

    def _record(self, seq: int, patch: Patch) -> msgspec.Raw:
        cause = Cause(tick="t")
        made = JournalRecord(
            seq=seq, at=self.now, incarnation=0, plan=b"p", cause=cause, patch=patch
        )
        return msgspec.Raw(encode(made))

    def _summary(self, name: str, status: Status, forked: Forked | None) -> Summary:
        return Summary(
            execution_id=name,
            entry_point="ep",
            goal_id="g",
            correlation_id="c",
            status=status,
            accepted_at=1_000.0,
            updated_at=self.now,
            forked=forked,
        )

    def _accept(self, changes: dict[str, int], forked: Forked | None) -> str:
        self.accepted += 1
        name = f"e{self.accepted}"
        accepted = Accepted(
            execution_id=name,
            entry_point="ep",
            entry_node="a",
            graph_id="g",
            goal_id="g",
            correlation_id="c",
            accepted_at=self.now,
            forked=forked,
        )
        memory = {key: msgspec.Raw(encode(value)) for key, value in changes.items()}
        patch = Patch(accepted=accepted, status=Status.QUEUED, memory=memory)
        self._apply(
            execution_id=name,
            record=self._record(1, patch),
            summary=self._summary(name, Status.QUEUED, forked),
            fork=None if forked is None else ForkChange(origin=forked),
        )
        return name

    def _one(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self.there))) if self.there else None

    @initialize()
    def begin(self) -> None:
        self.accept()

    @rule()
    def accept(self) -> None:
        if len(self.there) < 8:
            name = self._accept({"n": 0}, None)
            self.there[name] = Family(self.accepted, [{"n": 0}])

    @rule(data=st.data(), value=st.integers(0, 9), status=st.none() | st.sampled_from(list(Status)))
    def step(self, data: st.DataObject, value: int, status: Status | None) -> None:
        name = self._one(data)
        if name is None:
            return
        family = self.there[name]
        seq = len(family.memories) + 1
        base = None
        if seq == 2 and family.forked is not None:
            state = self.memory.read(lambda reader: reader.load_state(family.ordinal))
            base = ForkChange(origin=family.forked, base=msgspec.Raw(encode(state)))
        patch = Patch(status=status, memory={f"k{value}": msgspec.Raw(encode(seq))})
        self._apply(
            execution_id=name,
            ordinal=family.ordinal,
            expected_seq=seq - 1,
            record=self._record(seq, patch),
            summary=status and self._summary(name, status, family.forked),
            fork=base,
        )
        family.memories.append(family.memories[-1] | {f"k{value}": seq})
        family.status = status or family.status

    @rule(data=st.data(), value=st.integers(0, 9))
    def fork(self, data: st.DataObject, value: int) -> None:
        parent = self._one(data)
        if parent is None or len(self.there) >= 12:
            return
        family = self.there[parent]
        seq = data.draw(st.integers(1, len(family.memories)))
        forked = Forked(ordinal=family.ordinal, execution_id=parent, seq=seq)
        changes = {"own": value}
        name = self._accept(changes, forked)
        began = family.memories[seq - 1] | changes
        self.there[name] = Family(self.accepted, [began], forked)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self._one(data)
        if name is None:
            return
        family = self.there[name]
        settled = {Status.PAUSED, Status.HELD} | {one for one in Status if one.name in ENDS}
        if family.status not in settled:
            return
        self._apply(
            execution_id=name,
            ordinal=family.ordinal,
            expected_seq=len(family.memories),
            delete=True,
        )
        del self.there[name]

    @rule(seconds=st.sampled_from([1.0, 60.0]), times=st.integers(1, 3))
    def prune_by_age(self, seconds: float, times: int) -> None:
        self.now += seconds
        for _ in range(times):
            assert self.durable.tidy(self.now) == self.memory.tidy(self.now)
        self._forget_what_left()

    def _forget_what_left(self) -> None:
        for name in list(self.there):
            if self.durable.read(lambda reader, name=name: reader.execution(name)) is None:
                assert self.there[name].status.name in ENDS
                del self.there[name]

    @rule()
    def restart(self) -> None:
        self.durable.close()
        self.durable = open_store(self.path, options=OPTIONS)
        self.memory = self.memory.reopen()

    @invariant()
    def every_record_of_what_is_there_can_be_read(self) -> None:
        for name, family in self.there.items():
            for seq, expected in enumerate(family.memories, start=1):
                for store in (self.durable, self.memory):
                    state = store.read(
                        lambda reader, one=family, at=seq: reader.load_state(one.ordinal, at)
                    )
                    found = {key: msgspec.msgpack.decode(raw) for key, raw in state.memory.items()}
                    assert (found, state.accepted.execution_id) == (expected, name)
        assert check(self.durable) == check(self.memory) == []

    def teardown(self) -> None:
        self.durable.close()
        assert check(self.path) == []
        self.folder.cleanup()


ENDS = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "EXHAUSTED"}


def test_no_fork_of_a_random_history_loses_what_it_began_with() -> None:
    slow = [HealthCheck.too_slow]
    run_state_machine_as_test(
        ForkMachine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=slow
        ),
    )
