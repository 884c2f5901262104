"""The store on disk: opening, other processes, growth, and what a broken file says."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import pytest

from greenroom.protocol.commit import StateKey, StateWrite
from greenroom.protocol.errors import (
    StoreCorrupt,
    StoreInUse,
    StoreNotFound,
    StoreTooNew,
    StoreUnavailable,
)
from greenroom.storage.check import check
from greenroom.storage.lmdb_store import DEAD_READERS_EVERY, open_reader, open_store
from greenroom.storage.store import StoreOptions

CHILD = str(Path(__file__).with_name("child.py"))
KEY = StateKey("global", "", "k")


class Holder:
    """A process that has the store open."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, CHILD, "hold", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.hear()["pid"]

    def hear(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def commit(self, size: int) -> None:
        self.process.stdin.write(f"{size}\n")
        self.process.stdin.flush()
        assert "acked" in self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def holder(tmp_path: Path):
    made = Holder(tmp_path / "store")
    yield made
    made.kill()


def test_a_second_process_is_refused_with_the_pid_of_the_first(holder, tmp_path) -> None:
    with pytest.raises(StoreInUse) as caught:
        open_store(tmp_path / "store")
    assert caught.value.pid == holder.pid
    holder.kill()
    store = open_store(tmp_path / "store")
    assert store.epoch == 2
    store.close()


def test_the_same_process_is_refused_too(lmdb_bench) -> None:
    path = lmdb_bench.store.path
    with pytest.raises(StoreInUse) as caught:
        open_store(path)
    assert caught.value.pid == os.getpid()
    with pytest.raises(StoreInUse):
        open_reader(path)


def test_a_store_in_use_can_be_read_and_checked(holder, tmp_path) -> None:
    holder.commit(10)
    reader = open_reader(tmp_path / "store")
    assert reader.epoch == 1
    assert reader.read(lambda r: r.last_event()) == 3
    holder.commit(10)
    assert reader.read(lambda r: r.last_event()) == 6
    assert check(reader) == []
    assert reader.used_bytes() > 0
    reader.close()
    assert check(tmp_path / "store") == []


def test_reading_where_there_is_no_store_says_so_and_makes_nothing(tmp_path) -> None:
    with pytest.raises(StoreNotFound):
        open_reader(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_forked_child_may_not_use_the_store_nor_keep_its_lock(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", CHILD, "fork", str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert json.loads(done.stdout) == {"refused": 3, "epoch": 2, "last": 6}
    assert check(tmp_path / "store") == []


def test_a_newer_format_is_refused_and_left_alone(tmp_path) -> None:
    path = tmp_path / "store"
    open_store(path).close()
    for written, expected in ((99, StoreTooNew), (1, None)):
        environment = lmdb.open(str(path), max_dbs=20, lib_version=0)
        table = environment.open_db(b"meta")
        with environment.begin(write=True) as txn:
            txn.put(b"format", written.to_bytes(8, "big"), db=table)
        environment.close()
        if expected is not None:
            before = (path / "data.mdb").read_bytes()
            for call in (open_store, open_reader):
                with pytest.raises(expected, match="format 99"):
                    call(path)
            assert (path / "data.mdb").read_bytes() == before
    assert check(path) == []


def test_what_is_not_a_store_is_called_corrupt_in_one_line(tmp_path) -> None:
    garbage = tmp_path / "garbage"
    garbage.mkdir()
    (garbage / "data.mdb").write_bytes(b"no database " * 1000)
    file = tmp_path / "file"
    file.write_text("a file")
    foreign = tmp_path / "foreign"
    environment = lmdb.open(str(foreign), lib_version=0)
    with environment.begin(write=True) as txn:
        txn.put(b"somebody", b"else's")
    environment.close()
    for path in (garbage, file, foreign):
        for call in (open_store, open_reader):
            with pytest.raises(StoreCorrupt) as caught:
                call(path)
            assert "\n" not in str(caught.value)
            assert path.name in str(caught.value)


def test_opening_makes_the_folders_on_the_way(tmp_path) -> None:
    store = open_store(tmp_path / "a" / "b")
    store.close()
    assert check(tmp_path / "a" / "b") == []


def test_the_map_grows_by_itself(lmdb_bench, make) -> None:
    lmdb_bench.open(map_bytes=1024 * 1024)
    for number in range(40):
        value = make.raw("x" * 100_000)
        lmdb_bench.apply(
            make.host(writes=(StateWrite(StateKey("global", "", f"k{number}"), value),))
        )
    assert lmdb_bench.store.used_bytes() > 4_000_000
    assert lmdb_bench.store.degraded is None


def test_a_commit_larger_than_the_map_is_applied(lmdb_bench, make) -> None:
    lmdb_bench.open(map_bytes=1024 * 1024)
    writes = tuple(
        StateWrite(StateKey("global", "", f"k{number}"), make.raw("x" * 1_000_000))
        for number in range(8)
    )
    lmdb_bench.apply(make.host(writes=writes), make.accept("e1"))


def test_a_read_that_lasts_while_the_map_grows_is_called_again(lmdb_bench, make) -> None:
    lmdb_bench.open(map_bytes=1024 * 1024)
    lmdb_bench.apply(make.accept("e1"))
    store = lmdb_bench.store
    inside, go_on = threading.Event(), threading.Event()
    calls: list[int] = []
    found = []

    def slow(reader):
        calls.append(1)
        if len(calls) == 1:
            inside.set()
            assert go_on.wait(30)
        return reader.execution("e1")

    thread = threading.Thread(target=lambda: found.append(store.read(slow)))
    thread.start()
    assert inside.wait(30)
    writes = (StateWrite(KEY, make.raw("x" * 1_000_000)),)
    lmdb_bench.apply(make.host(writes=writes), make.host(writes=writes))
    go_on.set()
    thread.join(30)
    assert len(calls) == 2
    assert found[0].ordinal == 1


def test_readers_on_many_threads_see_whole_commits_while_the_map_grows(lmdb_bench, make) -> None:
    """Two keys are always written together; no reader may ever see them differ."""
    lmdb_bench.open(map_bytes=1024 * 1024)
    store = lmdb_bench.store
    keys = [StateKey("global", "", name) for name in ("a", "b")]
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            pair = store.read(lambda r: [r.state_get(key)[1] for key in keys])
            if pair[0] != pair[1]:
                wrong.append(pair)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        big = StateWrite(StateKey("global", "", f"k{number}"), make.raw("x" * 50_000))
        writes = tuple(StateWrite(key, make.raw(number)) for key in keys)
        lmdb_bench.apply(make.host(writes=(*writes, big)))
    stop.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_refusals_do_not_wait_for_a_pause_between_reads(lmdb_bench, make) -> None:
    """A refused group is aborted, for which lmdb waits until no thread reads."""
    store = lmdb_bench.store
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            store.read(lambda r: r.last_event())

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert lmdb_bench.commit(make.step("e1", 1, 2))[0].kind.value == "refused"
    stop.set()
    for thread in threads:
        thread.join(30)


def test_bytes_per_step_stay_flat(lmdb_bench, make) -> None:
    """400 steps that set one key of 800 bytes: the last hundred cost what the first hundred did."""
    lmdb_bench.apply(make.accept("e1"))
    pages = []
    for seq in range(2, 502):
        patch = {"memory": {"k": make.raw("x" * 800)}, "steps": 1}
        lmdb_bench.apply(make.step("e1", 1, seq, patch=patch, events=(make.event(),)))
        pages.append(lmdb_bench.store.stats().pages)
    first, last = pages[199] - pages[99], pages[499] - pages[399]
    assert last <= 1.2 * first


@pytest.mark.parametrize(
    ("place", "kept"), [("commit.before_sync", False), ("commit.after_sync", True)]
)
def test_an_unknown_outcome_is_learnt_by_sending_the_commit_again(
    tmp_path, make, place, kept
) -> None:
    """The disk fails once before the sync, or once after it: the sender is told the same."""
    failing: list[str] = []

    def fail(name: str) -> None:
        if name in failing:
            raise OSError(errno.EIO, "no answer from the disk")

    store = open_store(tmp_path / "store", failpoint=fail)
    failing.append(place)
    commit = make.accept("e1", events=(make.event(),))
    (outcome,) = store.commit([commit], make.now)
    assert outcome.kind.value == "unavailable"
    assert store.degraded is not None
    assert "no answer from the disk" in store.degraded
    failing.clear()
    assert store.commit([commit], make.now)[0].kind.value == "unavailable"
    with pytest.raises(StoreUnavailable):
        store.raise_fence("ep")
    assert (store.read(lambda r: r.execution("e1")) is not None) is kept
    assert store.probe()
    assert store.degraded is None
    (outcome,) = store.commit([commit], make.now)
    assert (outcome.kind.value, outcome.ordinal) == ("applied", 1)
    assert store.read(lambda r: r.last_event()) == 1
    assert check(store) == []
    store.close()


def test_the_place_of_a_killed_reader_is_freed(tmp_path, make) -> None:
    """Else the pages of its time would never be used again, and the file would grow for ever."""
    store = open_store(tmp_path / "store", options=StoreOptions(sync=False))
    reading = subprocess.Popen(
        [sys.executable, CHILD, "read", str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reading.stdout is not None
    assert json.loads(reading.stdout.readline()) == {"reading": True}
    reading.kill()
    reading.communicate()
    write = make.host(writes=(StateWrite(KEY, make.raw(1)),))
    for _ in range(DEAD_READERS_EVERY):
        store.commit([write], make.now)
    assert store._environment.use().reader_check() == 0, "it was found before"
    store.close()


def test_a_file_that_may_not_grow_degrades_the_store_until_it_may(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, CHILD, "fill", str(tmp_path / "store"), "400000"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    full, read, probed, after = map(json.loads, done.stdout.splitlines())
    assert full["kinds"] == ["unavailable"]
    assert full["code"] == "store_unavailable"
    assert "bytes free" in full["degraded"]
    assert read["last"] == 3 * (full["groups"] - 1)
    assert read["again"] == ["unavailable"] * 3
    assert probed == {"probe": True, "degraded": None}
    assert after == {"kinds": ["applied"] * 3, "problems": []}


@pytest.mark.faults
def test_a_full_disk_degrades_the_store_until_there_is_room(tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs to mount a small file system")
    try:
        done = subprocess.run(
            [sys.executable, CHILD, "fill_disk", str(disk / "store")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        full, after, checked = map(json.loads, done.stdout.splitlines())
        assert full["kinds"] == ["unavailable"]
        assert full["degraded"] is not None
        assert after == {"probe": True, "kinds": ["applied"] * 3}
        assert checked == {"problems": []}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_store_without_sync_is_only_an_option(tmp_path) -> None:
    store = open_store(tmp_path / "store", options=StoreOptions(sync=False))
    store.close()
    assert check(tmp_path / "store") == []
