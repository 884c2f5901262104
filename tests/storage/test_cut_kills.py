"""A process that dies while it cuts a journal loses nothing that is kept, and the next goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.storage.check import check, verify_pages
from greenroom.storage.journal_retention import slack
from greenroom.storage.keys import journal_key, unpack_journal_key
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store, StoreOptions
from greenroom.storage.tables import Table

CHILD = str(Path(__file__).with_name("child.py"))
NOW = 1_700_000_000.0
RECORDS, KEEP = 900, 100
NAMED = range(97, RECORDS, 97)

pytestmark = pytest.mark.faults


def seqs(reader: Reader) -> list[int]:
    keys = reader.transaction.keys(Table.JOURNAL, journal_key(1, 0), journal_key(2, 0), 10_000)
    return [unpack_journal_key(key)[1] for key in keys]


def check_positions(store: Store) -> None:
    """What is named, and what is among the newest, is as it was."""
    assert check(store) == []
    for seq in (*NAMED, *range(RECORDS - KEEP + 1, RECORDS + 1)):
        memory = store.read(lambda reader, s=seq: reader.load_state(1, s)).memory
        assert bytes(memory["count"]).split()[0].endswith(str(seq).encode())


@pytest.mark.parametrize("failpoint", ["change.before_sync", "commit.after_sync"])
def test_a_kill_at_any_boundary_of_a_cut_keeps_what_is_needed(tmp_path, failpoint) -> None:
    """One kill after another, until a process gets through without reaching the boundary."""
    left = []
    for reach in range(1, 50):
        path = tmp_path / f"store{reach}"
        child = subprocess.run(
            [sys.executable, CHILD, "cut", str(path), failpoint, str(reach)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert child.returncode in (0, -9), child.stderr
        assert json.loads(child.stdout.splitlines()[0]) == {"records": RECORDS}
        assert verify_pages(path) == []
        store = open_store(path, options=StoreOptions(map_bytes=1024**3, journal_records_max=KEEP))
        check_positions(store)
        left.append(len(store.read(seqs)))
        while store.tidy(NOW):
            check_positions(store)
        check_positions(store)
        oldest = store.read(lambda reader: reader.oldest_record(1))
        assert RECORDS - KEEP - slack(KEEP) < oldest <= RECORDS - KEEP + 1
        kept = [1, *(seq for seq in NAMED if seq < oldest)]
        assert store.read(seqs) == [*kept, *range(oldest, RECORDS + 1)]
        store.close()
        if child.returncode == 0:
            break
    assert len(left) > 4, "the cut took several transactions"
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1], "some were killed before, some after"
