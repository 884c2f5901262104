"""A process of its own in which executions are forked and then pruned, for their number and their
age, and which is killed at every commit of that; run by path, it says what was left by JSON lines.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
from child import NOW, raw, tell

from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, NewEvent, Summary
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import Accepted, Status
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.storage.check import check
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store, StoreOptions

OPTIONS = StoreOptions(map_bytes=1024**3, results_max=1, results_ttl_s=50.0)
PARENTS = 101  # a hundred of them leave for their number, and the last for its age
FORKS = 20  # more than one transaction gives their own beginnings to


def commit_of(
    name: str,
    seq: int,
    ordinal: int = 0,
    status: Status | None = None,
    forked: Forked | None = None,
    base: bytes | None = None,
    **memory: int,
) -> Commit:
    """Record `seq` of an execution."""
    accepted = Accepted(
        execution_id=name,
        entry_point="ep",
        entry_node="a",
        graph_id="graph",
        goal_id="goal",
        correlation_id="c",
        accepted_at=NOW,
        forked=forked,
    )
    values = {key: raw(value) for key, value in memory.items()}
    patch = Patch(accepted=accepted if seq == 1 else None, status=status, memory=values)
    record = JournalRecord(
        seq=seq, at=NOW, incarnation=0, plan=b"p", cause=Cause(tick="t"), patch=patch
    )
    summary = status and Summary(
        execution_id=name,
        entry_point="ep",
        goal_id="goal",
        correlation_id="c",
        status=status,
        accepted_at=NOW,
        updated_at=NOW,
        forked=forked,
    )
    change = None
    if forked is not None:
        change = ForkChange(origin=forked, base=None if base is None else msgspec.Raw(base))
    return Commit(
        commit_id=1,
        stream="",
        incarnation=0,
        execution_id=name,
        ordinal=ordinal,
        expected_seq=seq - 1,
        record=raw(record),
        summary=summary,
        fork=change,
    )


def origin_of(number: int) -> Forked:
    """Every fourth is one of the execution that is the last to leave."""
    ordinal = 1 if number % 4 else PARENTS
    return Forked(ordinal=ordinal, execution_id=f"e{ordinal}", seq=2)


def live(store: Store, acknowledge: Any) -> None:
    """The whole history."""

    def apply(*commits: Commit) -> None:
        outcomes = store.commit(commits, NOW)
        assert {one.kind.value for one in outcomes} == {"applied"}, outcomes

    def first_step(number: int) -> None:
        ordinal = PARENTS + number + 1
        base = encode(store.read(lambda reader: reader.load_state(ordinal)))
        name, forked = f"f{number}", origin_of(number)
        apply(commit_of(name, 2, ordinal, forked=forked, base=base, later=1))

    parents = range(1, PARENTS + 1)
    apply(*(commit_of(f"e{one}", 1, status=Status.QUEUED) for one in parents))
    apply(*(commit_of(f"e{one}", 2, one, n=one) for one in parents))
    for first in range(0, FORKS, 5):
        numbers = range(first, first + 5)
        made = [
            commit_of(f"f{one}", 1, status=Status.QUEUED, forked=origin_of(one), own=one)
            for one in numbers
        ]
        apply(*made)
        acknowledge(*numbers)
    first_step(0)
    first_step(1)
    for first in range(1, PARENTS + 1, 25):
        ends = range(first, min(first + 25, PARENTS + 1))
        apply(*(commit_of(f"e{one}", 3, one, status=Status.COMPLETED) for one in ends))
    first_step(2)
    for _ in range(3):
        event = NewEvent(raw(EventBody(type="custom", at=NOW)))
        apply(Commit(commit_id=1, stream="", incarnation=0, events=(event,)))
    while store.tidy(NOW + 100):
        pass
    first_step(3)
    first_step(4)


def die_at(path: Path, point: str, k: int, acknowledged: int) -> None:
    """Live through the history, and die without warning at the k-th commit, if there are so many;
    which forks were acknowledged is written to the file descriptor.
    """
    left = k

    def at(name: str) -> None:
        nonlocal left
        left -= name == point
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def acknowledge(*numbers: int) -> None:
        os.write(acknowledged, bytes(numbers))

    store = open_store(path, options=OPTIONS, failpoint=at)
    live(store, acknowledge)
    store.close()


def found_in(reader: Reader, numbers: bytes) -> list[str]:
    """What is wrong with the forks that were acknowledged."""
    wrong = []
    for number in numbers:
        found = reader.execution(f"f{number}")
        if found is None:
            wrong.append(f"f{number} is lost")
            continue
        memory = reader.load_state(found.ordinal, 1).memory
        values = {key: msgspec.msgpack.decode(value) for key, value in memory.items()}
        if values != {"n": origin_of(number).ordinal, "own": number}:
            wrong.append(f"f{number} began with {values}")
    return wrong


def sweep(folder: Path, point: str) -> None:
    """Kill it at one commit after the other, until there are no more."""
    k = 0
    killed = True
    while killed:
        k += 1
        path = folder / f"{point}{k}"
        told, telling = os.pipe()
        process = os.fork()
        if not process:
            die_at(path, point, k, telling)
            os._exit(0)
        os.close(telling)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert status in (0, -signal.SIGKILL), status
        killed = status != 0
        numbers = os.read(told, 1_000)
        os.close(told)
        store = open_store(path, options=OPTIONS)
        while store.tidy(NOW):
            pass
        problems = [*check(store), *store.read(lambda reader, of=numbers: found_in(reader, of))]
        tables = store.stats().tables
        tell(k=k, killed=killed, problems=problems, forks=len(numbers), left=tables["forks"])
        store.close()


if __name__ == "__main__":
    sweep(Path(sys.argv[1]), sys.argv[2])
