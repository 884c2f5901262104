"""Stores of both kinds, the commits that tests send them, and the check that ends every test."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.protocol.checkpoints import CheckpointKey, CheckpointType, Naming, NewCheckpoint
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, CommitOutcome, NewEvent, Summary
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import Accepted, Status
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.storage.check import check, verify_pages
from greenroom.storage.keys import journal_key, unpack_journal_key
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.memory_store import MemoryStore
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store, StoreOptions
from greenroom.storage.tables import Table

NOW = 1_700_000_000.0


class Make:
    """Builds commits; every part may be overridden by name."""

    now = NOW

    @staticmethod
    def raw(value: object) -> msgspec.Raw:
        return msgspec.Raw(encode(value))

    @staticmethod
    def event(kind: str = "node_started", payload: object = None) -> NewEvent:
        body = msgspec.Raw(encode(EventBody(type=kind, at=NOW)))
        return NewEvent(body, None if payload is None else msgspec.Raw(encode(payload)))

    @staticmethod
    def summary(execution_id: str, status: Status, entry: str = "ep", **rest: Any) -> Summary:
        return Summary(
            execution_id=execution_id,
            entry_point=entry,
            goal_id="goal",
            correlation_id="c",
            status=status,
            accepted_at=NOW,
            updated_at=NOW,
            **rest,
        )

    @staticmethod
    def record(seq: int, incarnation: int = 0, notes: int = 0, **patch: Any) -> msgspec.Raw:
        made = JournalRecord(
            seq=seq,
            at=NOW,
            incarnation=incarnation,
            plan=b"plan",
            cause=Cause(tick="test"),
            patch=Patch(**patch),
            notes=notes,
        )
        return msgspec.Raw(encode(made))

    def accept(
        self,
        execution_id: str,
        *,
        status: Status = Status.QUEUED,
        entry: str = "ep",
        incarnation: int = 0,
        patch: dict[str, Any] | None = None,
        **rest: Any,
    ) -> Commit:
        accepted = Accepted(
            execution_id=execution_id,
            entry_point=entry,
            entry_node="a",
            graph_id="graph",
            goal_id="goal",
            correlation_id="c",
            accepted_at=NOW,
        )
        parts: dict[str, Any] = {
            "commit_id": 1,
            "stream": entry if incarnation else "",
            "incarnation": incarnation,
            "execution_id": execution_id,
            "record": self.record(
                1, incarnation, accepted=accepted, status=status, **(patch or {})
            ),
            "summary": self.summary(execution_id, status, entry),
        }
        return Commit(**(parts | rest))

    def step(
        self,
        execution_id: str,
        ordinal: int,
        seq: int,
        *,
        status: Status | None = None,
        entry: str = "ep",
        incarnation: int = 0,
        patch: dict[str, Any] | None = None,
        **rest: Any,
    ) -> Commit:
        """The commit of record `seq`."""
        fields = dict(patch or {})
        if status is not None:
            fields["status"] = status
        parts: dict[str, Any] = {
            "commit_id": seq,
            "stream": entry if incarnation else "",
            "incarnation": incarnation,
            "execution_id": execution_id,
            "ordinal": ordinal,
            "expected_seq": seq - 1,
            "record": self.record(seq, incarnation, len(rest.get("notes", ())), **fields),
        }
        if status is not None:
            parts["summary"] = self.summary(execution_id, status, entry)
        return Commit(**(parts | rest))

    @staticmethod
    def host(**rest: Any) -> Commit:
        """A commit without a record."""
        return Commit(commit_id=1, stream="", incarnation=0, **rest)


class Bench:
    """One store under test, its restarts included."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "store"
        self._options = StoreOptions(map_bytes=1024**3)
        self._store: Store | None = None

    def open(self, **options: Any) -> Store:
        """Open the store, once per test."""
        assert self._store is None
        self._options = msgspec.structs.replace(self._options, **options)
        if self.kind == "memory":
            self._store = MemoryStore(self._options)
        else:
            self._store = open_store(self.path, options=self._options)
        return self._store

    def reopen(self) -> Store:
        """Restart: close the store and open it again."""
        store = self.store
        if isinstance(store, MemoryStore):
            self._store = store.reopen()
        else:
            store.close()
            self._store = open_store(self.path, options=self._options)
        return self._store

    @property
    def store(self) -> Store:
        return self._store if self._store is not None else self.open()

    def commit(self, *commits: Commit, now: float = NOW) -> list[CommitOutcome]:
        outcomes = self.store.commit(commits, now)
        assert len(outcomes) == len(commits)
        return outcomes

    def apply(self, *commits: Commit, now: float = NOW) -> list[CommitOutcome]:
        """Commit, and expect every one to be applied."""
        outcomes = self.commit(*commits, now=now)
        assert [one.kind.value for one in outcomes] == ["applied"] * len(commits), outcomes
        return outcomes

    def finish(self) -> None:
        """What ends every test: the store is whole, and still is after a restart."""
        if self._store is None:
            return
        assert check(self._store) == []
        assert check(self.reopen()) == []
        self._store.close()
        if self.kind == "lmdb":
            assert verify_pages(self.path) == []


class LongSession:
    """An execution, e1 unless another is named, that goes on and on; record n sets count to n."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def step(
        self, seq: int, *, size: int = 3_000, at: float = 0.0, path: bool = True, **rest: Any
    ) -> Commit:
        """The commit of record `seq`, made at that time. A few of 3,000 bytes take more than the
        state.
        """
        make, named = Make(), {"name": "e1", "ordinal": 1, "status": None, **rest}
        name, ordinal = named.pop("name"), named.pop("ordinal")
        patch = Patch(
            memory={"count": make.raw(f"{seq} {'x' * size}")},
            path=[f"n{seq}"] if path else [],
            status=named["status"],
            **named.pop("patch", {}),
        )
        record = JournalRecord(
            seq=seq,
            at=NOW + at,
            incarnation=0,
            plan=b"plan",
            cause=Cause(tick="test"),
            patch=patch,
            notes=len(named.get("notes", ())),
        )
        return make.step(name, ordinal, seq, record=make.raw(record), **named)

    def grow(self, first: int, last: int, **rest: Any) -> None:
        """Add records `first` to `last`."""
        for start in range(first, last + 1, 200):
            stop = min(start + 200, last + 1)
            self._bench.apply(*(self.step(seq, **rest) for seq in range(start, stop)))

    @staticmethod
    def named(*seqs: int, number: int = 0, forget: Iterable[int] = ()) -> Commit:
        """A commit that names positions of e1, and removes names."""
        kind = CheckpointType.MANUAL
        names = tuple(
            NewCheckpoint(seq=seq, kind=kind, number=number, node="a", at=NOW) for seq in seqs
        )
        gone = tuple(str(CheckpointKey(seq, kind, number)) for seq in forget)
        return Make.host(execution_id="e1", ordinal=1, naming=Naming(names=names, forget=gone))

    def tidy(self, at: float = 0.0) -> int:
        """Tidy until nothing is left to do; return how many transactions that took."""
        rounds = 1
        while self._bench.store.tidy(NOW + at):
            rounds += 1
            assert rounds < 100, "it never ends"
        return rounds

    def seqs(self, table: Table = Table.JOURNAL, ordinal: int = 1) -> list[int]:
        """The records, or snapshots, that an execution has."""

        def read(reader: Reader) -> list[int]:
            start, stop = journal_key(ordinal, 0), journal_key(ordinal + 1, 0)
            keys = reader.transaction.keys(table, start, stop, 10**6)
            return [unpack_journal_key(key)[1] for key in keys]

        return self._bench.store.read(read)

    def states(self, wanted: Iterable[int]) -> dict[int, bytes]:
        """The encoded states of e1 at those positions."""
        store = self._bench.store
        return {seq: store.read(lambda r, s=seq: encode(r.load_state(1, s))) for seq in wanted}


@pytest.fixture
def session(bench: Bench) -> LongSession:
    return LongSession(bench)


@pytest.fixture
def session_in() -> Callable[[Bench], LongSession]:
    return LongSession


class Counting:
    """A transaction that counts the entries that are looked up, returned or changed."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.entries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _once(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.entries += 1
        return call(*arguments)

    def get(self, *arguments: Any) -> Any:
        return self._once(self._inner.get, *arguments)

    def put(self, *arguments: Any) -> Any:
        return self._once(self._inner.put, *arguments)

    def delete(self, *arguments: Any) -> Any:
        return self._once(self._inner.delete, *arguments)

    def last_at_or_before(self, *arguments: Any) -> Any:
        return self._once(self._inner.last_at_or_before, *arguments)

    def delete_range(self, *arguments: Any) -> Any:
        deleted = self._inner.delete_range(*arguments)
        self.entries += 1 + deleted
        return deleted

    def range(self, *arguments: Any, reverse: bool = False) -> Any:
        found = self._inner.range(*arguments, reverse=reverse)
        self.entries += 1 + len(found)
        return found


@pytest.fixture
def cost(bench: Bench) -> Callable[[Callable[[Reader], object]], int]:
    """How many entries `function(reader)` touches."""

    def measure(function: Callable[[Reader], object]) -> int:
        def counted(reader: Reader) -> int:
            counting = Counting(reader.transaction)
            function(Reader(counting))
            return counting.entries

        return bench.store.read(counted)

    return measure


@pytest.fixture
def commit_cost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[[Commit], int]:
    """How many entries applying one commit touches."""

    def measure(commit: Commit) -> int:
        store: Any = bench.store
        begun: list[Counting] = []

        def begin() -> Any:
            begun.append(Counting(real()))
            return begun[-1]

        with monkeypatch.context() as patch:
            real = store._begin_write
            patch.setattr(store, "_begin_write", begin)
            bench.apply(commit)
        (counting,) = begun
        return counting.entries

    return measure


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture(params=["lmdb", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(request.param, tmp_path)
    yield made
    made.finish()


@pytest.fixture
def lmdb_bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench("lmdb", tmp_path)
    yield made
    made.finish()


@pytest.fixture
def bench_of() -> Callable[[str, Path], Bench]:
    """Benches for tests that make several."""
    return Bench


@pytest.fixture
def kinds() -> Callable[[Sequence[CommitOutcome]], list[str]]:
    return lambda outcomes: [one.kind.value for one in outcomes]
