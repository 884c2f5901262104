"""A process of its own that uses a store; run by path. It tells its parent by JSON lines."""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import msgspec

from greenroom.protocol.checkpoints import CheckpointType, Naming, NewCheckpoint
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import Commit, NewEvent, StateKey, StateWrite, Summary
from greenroom.protocol.errors import StorageError
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import Accepted, Status
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.storage.check import check
from greenroom.storage.lmdb_store import open_reader, open_store
from greenroom.storage.reader import Reader
from greenroom.storage.store import StoreOptions

NOW = 1_700_000_000.0
OPTIONS = StoreOptions(map_bytes=1024**3)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


def group(number: int, size: int = 10) -> list[Commit]:
    """Accept execution `number`, take two steps, and write the number to shared state."""
    name = f"e{number}"
    accepted = Accepted(
        execution_id=name,
        entry_point="ep",
        entry_node="a",
        graph_id="graph",
        goal_id="goal",
        correlation_id="c",
        accepted_at=NOW,
    )
    commits = []
    for seq in (1, 2, 3):
        status = {1: Status.RUNNING, 3: Status.COMPLETED}.get(seq)
        patch = Patch(
            accepted=accepted if seq == 1 else None, status=status, memory={"k": raw("x" * size)}
        )
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
        )
        commits.append(
            Commit(
                commit_id=seq,
                stream="",
                incarnation=0,
                execution_id=name,
                ordinal=0 if seq == 1 else number,
                expected_seq=seq - 1,
                record=raw(record),
                summary=summary,
                events=(NewEvent(raw(EventBody(type="custom", at=NOW)), raw(number)),),
                writes=(StateWrite(StateKey("global", "", "number"), raw(number)),),
            )
        )
    return commits


def commit_until_killed(path: Path, failpoint: str, reach: int) -> None:
    """Commit groups, and die without warning when `failpoint` is reached for the given time."""
    reached = 0

    def at(name: str) -> None:
        nonlocal reached
        reached += name == failpoint
        if reached == reach:
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(path, options=OPTIONS, failpoint=at)
    tell(opened=store.epoch)
    number = 0
    while True:
        number += 1
        outcomes = store.commit(group(number), NOW)
        tell(acked=number, kinds=[one.kind.value for one in outcomes])


def long_session(seqs: range) -> list[Commit]:
    """Records of one execution, which counts in memory, with a name for every 97th."""
    commits = []
    for seq in seqs:
        patch = Patch(memory={"count": raw(f"{seq} {'x' * 500}")})
        if seq == 1:
            first = group(1)[0]
            commits.append(msgspec.structs.replace(first, events=(), writes=()))
            continue
        record = JournalRecord(
            seq=seq, at=NOW, incarnation=0, plan=b"p", cause=Cause(tick="t"), patch=patch
        )
        name = NewCheckpoint(seq=seq, kind=CheckpointType.MANUAL, number=0, node="a", at=NOW)
        commits.append(
            Commit(
                commit_id=seq,
                stream="",
                incarnation=0,
                execution_id="e1",
                ordinal=1,
                expected_seq=seq - 1,
                record=raw(record),
                naming=None if seq % 97 else Naming(names=(name,)),
            )
        )
    return commits


def cut_until_killed(path: Path, failpoint: str, reach: int) -> None:
    """Cut the journal of a long session, and die when `failpoint` is reached for the given time."""
    reached: int | None = None

    def at(name: str) -> None:
        nonlocal reached
        if reached is not None:
            reached += name == failpoint
            if reached == reach:
                os.kill(os.getpid(), signal.SIGKILL)

    options = msgspec.structs.replace(OPTIONS, journal_records_max=100)
    store = open_store(path, options=options, failpoint=at)
    for start in range(1, 901, 100):
        store.commit(long_session(range(start, start + 100)), NOW)
    reached = 0
    tell(records=900)
    while store.tidy(NOW):
        tell(cut=store.stats().records_pruned)
    tell(done=store.stats().records_pruned)
    store.close()


def hold(path: Path) -> None:
    """Keep the store open; commit one group for each line of input."""
    store = open_store(path, options=OPTIONS)
    tell(pid=os.getpid())
    for number, line in enumerate(sys.stdin, start=1):
        store.commit(group(number, size=int(line)), NOW)
        tell(acked=number)


def read(path: Path) -> None:
    """Stay inside a read until killed."""

    def stay(_reader: Reader) -> None:
        tell(reading=True)
        sys.stdin.read()

    open_reader(path).read(stay)


def fork(path: Path) -> None:
    """Use the store in a forked child, which outlives its parent's use of it."""
    store = open_store(path, options=OPTIONS)
    store.commit(group(1), NOW)
    go_reader, go_writer = os.pipe()
    said_reader, said_writer = os.pipe()
    if os.fork() == 0:
        refused = 0
        for call in (
            lambda: store.read(lambda reader: reader.last_event()),
            lambda: store.commit(group(2), NOW),
            lambda: store.raise_fence("ep"),
        ):
            try:
                call()
            except StorageError as error:
                refused += error.code == "store_closed"
        store.close()
        os.write(said_writer, bytes([refused]))
        os.read(go_reader, 1)
        os._exit(0)
    refused = os.read(said_reader, 1)[0]
    store.commit(group(2), NOW)
    store.close()
    again = open_store(path, options=OPTIONS)  # the child lives, and must not hold the lock
    tell(refused=refused, epoch=again.epoch, last=again.read(lambda reader: reader.last_event()))
    again.close()
    os.write(go_writer, b"x")
    os.wait()


def fill(path: Path, limit: int) -> None:
    """Commit until the file may not grow further, then let it grow again."""
    store = open_store(path, options=OPTIONS)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    number, kinds = 0, {"applied"}
    while kinds == {"applied"} and number < 1000:
        number += 1
        outcomes = store.commit(group(number, size=3000), NOW)
        kinds = {one.kind.value for one in outcomes}
    degraded = store.degraded
    tell(kinds=sorted(kinds), degraded=degraded, code=outcomes[0].code, groups=number)
    tell(
        last=store.read(lambda reader: reader.last_event()),
        again=[one.kind.value for one in store.commit(group(number), NOW)],
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    tell(probe=store.probe(), degraded=store.degraded)
    outcomes = store.commit(group(number), NOW)
    tell(kinds=[one.kind.value for one in outcomes], problems=check(store))
    store.close()


def fill_disk(path: Path) -> None:
    """Commit until the file system is full, make room, and go on."""
    store = open_store(path, options=OPTIONS)
    ballast = path.parent / "ballast"
    ballast.write_bytes(bytes(200_000))
    number, kinds = 0, {"applied"}
    while kinds == {"applied"} and number < 1000:
        number += 1
        kinds = {one.kind.value for one in store.commit(group(number, size=3000), NOW)}
    tell(kinds=sorted(kinds), degraded=store.degraded, probe=store.probe())
    ballast.unlink()
    tell(probe=store.probe(), kinds=[one.kind.value for one in store.commit(group(number), NOW)])
    tell(problems=check(store))
    store.close()


if __name__ == "__main__":
    mode, place, *rest = sys.argv[1:]
    match mode:
        case "commit":
            commit_until_killed(Path(place), rest[0], int(rest[1]))
        case "cut":
            cut_until_killed(Path(place), rest[0], int(rest[1]))
        case "hold":
            hold(Path(place))
        case "read":
            read(Path(place))
        case "fork":
            fork(Path(place))
        case "fill":
            fill(Path(place), int(rest[0]))
        case "fill_disk":
            fill_disk(Path(place))
