"""A store whose file was cut off is corrupt: it neither kills the process nor is changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from greenroom.protocol.errors import StoreCorrupt
from greenroom.storage.check import check
from greenroom.storage.data_file import check_whole
from greenroom.storage.environment import DATA_NAME
from greenroom.storage.lmdb_store import open_reader, open_store

# Opened in a process of its own: a page that is not there ends the process with SIGBUS.
OPEN = """
import sys
from greenroom.protocol.errors import StoreCorrupt
from greenroom.storage.check import check
from greenroom.storage.lmdb_store import open_store
for size in sys.argv[2:]:
    path = f"{sys.argv[1]}/{size}"
    for use in (check, open_store):
        try:
            use(path)
            print(size, use.__name__, "went well")
        except StoreCorrupt as error:
            print(size, use.__name__, "corrupt:", error)
"""
PAGE = 4096
SIZES = (0, 1, 100, PAGE, PAGE + 5, 2 * PAGE, 2 * PAGE + 1, 3 * PAGE, 20_000)


@pytest.fixture
def filled(tmp_path: Path, make) -> Path:
    path = tmp_path / "filled"
    store = open_store(path)
    for number in range(1, 20):
        store.commit([make.accept(f"e{number}-{one}") for one in range(20)], make.now)
    store.close()
    return path


def test_a_store_cut_off_at_any_place_is_corrupt_and_stays_as_it_is(filled: Path) -> None:
    whole = (filled / DATA_NAME).read_bytes()
    sizes = [*SIZES, len(whole) // 2 + 7, len(whole) - 3 * PAGE]
    for size in sizes:
        shutil.copytree(filled, filled.parent / str(size))
        os.truncate(filled.parent / str(size) / DATA_NAME, size)
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(filled.parent), *map(str, sizes)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.splitlines()
    assert len(told) == 2 * len(sizes)
    for number, size in enumerate(sizes):
        for line, use in zip(told[2 * number :], ("check", "open_store"), strict=False):
            assert line.startswith(f"{size} {use} corrupt: {filled.parent / str(size) / DATA_NAME}")
            if size >= 2 * PAGE:
                assert f"has {size} of {len(whole)} bytes" in line
        assert (filled.parent / str(size) / DATA_NAME).read_bytes() == whole[:size]


def test_a_sound_file_may_be_shorter_than_its_head_says(tmp_path: Path) -> None:
    """Pages that one transaction took and freed are counted and never written."""
    environment = lmdb.open(str(tmp_path), map_size=1024**3, sync=False)
    shorter = 0
    for number in range(60):
        with environment.begin(write=True) as txn:
            for key in range(100):
                txn.put(b"%d %d" % (number, key), bytes(key * 90))
                txn.put(b"passing %d" % key, bytes(9_000))
            for key in range(100):
                txn.delete(b"passing %d" % key)
                txn.delete(b"%d %d" % (number - 5, key))
        size = (tmp_path / DATA_NAME).stat().st_size
        shorter += size < (environment.info()["last_pgno"] + 1) * PAGE
        check_whole(tmp_path / DATA_NAME)
    environment.close()
    assert shorter
    os.truncate(tmp_path / DATA_NAME, size // 2)
    with pytest.raises(StoreCorrupt, match=f"has {size // 2} of "):
        check_whole(tmp_path / DATA_NAME)


def test_a_file_longer_than_needed_is_sound(filled: Path) -> None:
    with (filled / DATA_NAME).open("ab") as file:
        file.write(b"x" * 5_000)
    assert check(filled) == []
    open_store(filled).close()


def test_a_store_that_is_written_is_whole_for_its_readers(filled: Path, make) -> None:
    store = open_store(filled)
    for number in range(50):
        store.commit([make.accept(f"more{number}-{one}") for one in range(20)], make.now)
        check_whole(filled / DATA_NAME)
    store.close()
    open_reader(filled).close()
