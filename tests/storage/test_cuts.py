"""Random steps, names, forks, cuts in parts and crashes between them: whatever is kept is as it
was.
"""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from greenroom.protocol.checkpoints import CheckpointKey, CheckpointType, Naming, NewCheckpoint
from greenroom.protocol.codec import decode_state, encode
from greenroom.protocol.commit import Commit, Summary
from greenroom.protocol.execution import Accepted, ExecutionState, Status
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.patch import Cause, JournalRecord, Patch, apply
from greenroom.storage import journal, journal_cut
from greenroom.storage.check import check
from greenroom.storage.keys import journal_key, unpack_journal_key
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.reader import Reader
from greenroom.storage.store import StoreOptions
from greenroom.storage.tables import Table

OPTIONS = StoreOptions(map_bytes=64 * 1024**2, journal_records_max=None)
NAME = "e1"


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


class CutMachine(RuleBasedStateMachine):
    """One session with its forks in a real store, and every state that it ever had."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store"
        self.store = open_store(self.path, options=OPTIONS)
        self.states: dict[int, bytes] = {}
        self.names: set[CheckpointKey] = set()
        self.forks: dict[int, bytes] = {}  # by ordinal
        self.place: tuple[int, int] | None = None  # where a cut in parts has come, and its target
        self.needed: list[int] = []  # what was needed before that target when it began
        self._accept(NAME, None)
        self.states[1] = self._loaded(1)

    def _commit(self, **parts: Any) -> None:
        parts = {"commit_id": 1, "stream": "", "incarnation": 0, "execution_id": NAME} | parts
        (outcome,) = self.store.commit([Commit(**parts)], 1.0)
        assert outcome.kind.value == "applied", outcome

    def _record(self, seq: int, **patch: Any) -> tuple[Patch, msgspec.Raw]:
        made = Patch(**patch)
        cause = Cause(tick="t")
        record = JournalRecord(seq=seq, at=1.0, incarnation=0, plan=b"p", cause=cause, patch=made)
        return made, raw(record)

    def _accept(self, name: str, origin: Forked | None) -> None:
        accepted = Accepted(
            execution_id=name, entry_point="ep", entry_node="a", graph_id="graph",
            goal_id="g", correlation_id="c", accepted_at=1.0, forked=origin,
        )  # fmt: skip
        summary = Summary(
            execution_id=name, entry_point="ep", goal_id="g", correlation_id="c",
            status=Status.QUEUED, accepted_at=1.0, updated_at=1.0, forked=origin,
        )  # fmt: skip
        _, record = self._record(1, accepted=accepted, status=Status.QUEUED)
        fork = None if origin is None else ForkChange(origin=origin)
        self._commit(execution_id=name, record=record, summary=summary, fork=fork)

    def _loaded(self, ordinal: int, seq: int | None = None) -> bytes:
        return self.store.read(lambda reader: encode(reader.load_state(ordinal, seq)))

    def _seqs(self) -> list[int]:
        def read(reader: Reader) -> list[int]:
            start, stop = journal_key(1, 0), journal_key(2, 0)
            keys = reader.transaction.keys(Table.JOURNAL, start, stop, 10_000)
            return [unpack_journal_key(key)[1] for key in keys]

        return self.store.read(read)

    @rule(
        count=st.integers(1, 12),
        size=st.sampled_from([1, 2_000]),
        key=st.sampled_from("abc"),
        snapshot=st.booleans(),
    )
    def steps(self, count: int, size: int, key: str, snapshot: bool) -> None:
        """Steps of a session with a state of up to 6,000 bytes; the last may bring a snapshot."""
        for number in range(count):
            last = len(self.states)
            state: ExecutionState = decode_state(self.states[last])
            memory = {key: raw(f"{last} {'x' * size}")}
            patch, record = self._record(last + 1, memory=memory, path=[f"n{last}"])
            after = encode(apply(state, patch, last + 1))
            held = msgspec.Raw(after) if snapshot and number == count - 1 else None
            self._commit(ordinal=1, expected_seq=last, record=record, snapshot=held)
            self.states[last + 1] = after

    @rule(data=st.data(), kind=st.sampled_from(CheckpointType))
    def name(self, data: st.DataObject, kind: CheckpointType) -> None:
        seq = data.draw(st.sampled_from(self._seqs()))
        key = CheckpointKey(seq, kind, 0)
        if key not in self.names:
            named = NewCheckpoint(seq=seq, kind=kind, number=0, node="a", at=1.0)
            self._commit(ordinal=1, naming=Naming(names=(named,)))
            self.names.add(key)

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.names)))
        self._commit(ordinal=1, naming=Naming(forget=(str(key),)))
        self.names.remove(key)

    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(self._seqs()))
        ordinal = len(self.forks) + 2
        self._accept(f"f{ordinal}", Forked(ordinal=1, execution_id=NAME, seq=seq))
        self.forks[ordinal] = self._loaded(ordinal)

    @rule(data=st.data(), limit=st.integers(1, 9), parts=st.integers(1, 8))
    def cut(self, data: st.DataObject, limit: int, parts: int) -> None:
        """Go on with a cut, or begin one."""
        if self.place is None:
            oldest = self.store.read(lambda reader: reader.oldest_record(1))
            target = data.draw(st.integers(oldest, len(self.states)))
            self.place = journal_cut.FIRST, target
            self.needed = self._needed(target)
        for _ in range(parts):
            after, target = self.place
            part = self.store._change(
                lambda txn, a=after, t=target: journal_cut.cut(txn, 1, a, t, limit)
            )
            self.place = part.after, target
            if part.finished:
                self.place = None
                self._nothing_is_left_over(target)
                return

    def _nothing_is_left_over(self, target: int) -> None:
        """Before the cut, what lies between two positions that are needed is whole, or gone."""
        needed = self._needed(target)
        if needed != self.needed:
            return  # what it has passed already is left to the next cut
        there = set(self._seqs())
        edges = [1, *needed, target]
        for low, high in pairwise(edges):
            between = set(range(low + 1, high))
            assert between <= there or not between & there
            assert high < target or not between & there

    def _needed(self, target: int) -> list[int]:
        return self.store.read(
            lambda reader: list(journal_cut.needed_seqs(reader.transaction, 1, 1, target))
        )

    @rule()
    def crash(self) -> None:
        """What a writer had in memory of a cut is gone."""
        self.store.close()
        self.store = open_store(self.path, options=OPTIONS)
        self.place = None

    @invariant()
    def what_is_kept_is_as_it_was(self) -> None:
        there = self._seqs()
        assert {key.seq for key in self.names} <= set(there)
        for seq in there:
            assert self._loaded(1, seq) == self.states[seq]
        for ordinal, state in self.forks.items():
            assert self._loaded(ordinal) == state
        assert self._loaded(1) == self.states[len(self.states)]
        oldest = self.store.read(lambda reader: journal.unbroken_from(reader.transaction, 1))
        assert there[-1] == len(self.states)
        assert set(range(oldest, len(self.states) + 1)) <= set(there)
        gone = [seq for seq in range(1, oldest) if seq not in set(there)]
        for seq in gone[:1] + gone[-1:]:
            with pytest.raises(HistoryPruned) as told:
                self._loaded(1, seq)
            assert told.value.oldest == oldest

    def teardown(self) -> None:
        try:
            self.crash()
            self.what_is_kept_is_as_it_was()
            assert check(self.store) == []
        finally:
            self.store.close()
            self.folder.cleanup()


TestCuts = CutMachine.TestCase
TestCuts.settings = settings(
    max_examples=30,
    report_multiple_bugs=False,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
