"""What a start reads of those who wait at other versions of the graph."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.actors.host.create import create_agent_runtime
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, Summary
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.versions import describe
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.execution import Accepted, Ended, Phase, Status, Token
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.protocol.timers import TimerMove
from greenroom.protocol.versions import PlanVersion
from greenroom.storage.lmdb_store import LmdbStore, open_store
from greenroom.storage.reader import Reader
from greenroom.storage.store import StoreOptions
from greenroom.storage.tables import Table

pytestmark = pytest.mark.asyncio

NOW, LATER = 1_700_000_000.0, 4_000_000_000.0
MANY, FEW = 10_000, 200  # more than timers look at once


def graph(attempts: int, **nap: Any) -> GraphSpec:
    return GraphSpec(
        id="graph",
        entry_node="nap",
        nodes=[NodeSpec(id="nap", max_retries=attempts, **nap), NodeSpec(id="after")],
        edges=[EdgeSpec(id="way", source="nap", target="after")],
    )


OLD = [describe(compile_plan(graph(attempts)), str(attempts)) for attempts in (1, 2)]


class Counted(LmdbStore):
    """Counts what is read of each table."""

    def __init__(self, path: Path, options: StoreOptions) -> None:
        self.reads: Counter[Table] = Counter()
        super().__init__(path, options, None)

    def read(self, function: Any) -> Any:
        return super().read(
            lambda reader: function(Reader(Counting(reader.transaction, self.reads)))
        )


class Counting:
    """A transaction that notes each call about a table."""

    def __init__(self, transaction: Any, reads: Counter[Table]) -> None:
        self._transaction, self._reads = transaction, reads

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, getattr(self._transaction, name))

    def _call(self, method: Any, table: Table, *arguments: Any, **options: Any) -> Any:
        self._reads[table] += 1
        return method(table, *arguments, **options)


def asleep(number: int, plan: PlanVersion) -> Commit:
    name = f"e{number}"
    accepted = Accepted(
        execution_id=name,
        entry_point="main",
        entry_node="nap",
        graph_id="graph",
        goal_id="goal",
        correlation_id=name,
        accepted_at=NOW,
    )
    token = Token(node="nap", attempt=1, phase=Phase.SLEEPING, due=LATER, ended=Ended())
    patch = Patch(
        accepted=accepted,
        status=Status.WAITING,
        tokens={1: token},
        visits={"nap": 1},
        path=("nap",),
        steps=1,
    )
    record = JournalRecord(
        seq=1, at=NOW, incarnation=0, plan=plan.digest, cause=Cause(tick="accept"), patch=patch
    )
    return Commit(
        commit_id=number,
        stream="",
        incarnation=0,
        execution_id=name,
        record=msgspec.Raw(encode(record)),
        summary=Summary(
            execution_id=name,
            entry_point="main",
            goal_id="goal",
            correlation_id=name,
            status=Status.WAITING,
            accepted_at=NOW,
            updated_at=NOW,
            version=plan.digest,
        ),
        timer=TimerMove(None, LATER),
    )


async def opened(path: Path, waiting: int, today: GraphSpec) -> tuple[Counter[Table], Any]:
    """What a start reads when so many wait, half of them at each of two versions."""
    store = open_store(path)
    for plan in OLD:
        store.note_plan(plan.digest, msgspec.Raw(encode(plan)))
    commits = [asleep(number, OLD[number % 2]) for number in range(waiting)]
    for first in range(0, waiting, 2_000):
        store.commit(commits[first : first + 2_000], NOW)
    store.mark_clean()
    store.close()
    made: list[Counted] = []

    def factory(path: Path, options: StoreOptions) -> Counted:
        made.append(Counted(path, options))
        return made[0]

    functions = {"nap": dict, "after": dict}
    runtime = create_agent_runtime(
        today,
        Goal(id="goal"),
        path,
        [EntryPointSpec(id="main", entry_node="nap")],
        functions=functions,
        store_factory=factory,
    )
    async with runtime:
        reads = made[0].reads.copy()
        return reads, runtime.recovery


async def test_a_start_compares_versions_and_reads_nobody_who_waits(tmp_path: Path) -> None:
    """Beside what counts them, a page of keys for a thousand, it costs the same for any number."""
    few, found = await opened(tmp_path / "few", FEW, graph(3))
    assert (found.waiting, found.compatible) == (FEW, FEW)
    many, found = await opened(tmp_path / "many", MANY, graph(3))
    assert (found.waiting, found.compatible, found.held) == (MANY, MANY, {})
    pages = {Table.STATUSES, Table.VERSIONS}
    differ = {table for table in Table if few[table] != many[table]}
    assert differ <= pages, {table.name: (few[table], many[table]) for table in differ}
    assert many[Table.PLANS] == len(OLD)
    assert many[Table.SNAPSHOTS] == 0
    assert sum(many[table] - few[table] for table in pages) <= 3 * MANY // 1_000


async def test_only_those_are_read_whose_version_has_sessions_that_do_not_fit(
    tmp_path: Path,
) -> None:
    """Here all of both: there is no cheaper way to know where each stands."""
    reads, found = await opened(tmp_path / "store", FEW, graph(3, input_keys=["new"]))
    assert (found.waiting, len(found.held)) == (0, FEW)
    assert reads[Table.PLANS] == len(OLD)
