"""The ledger keeps every line of every process, whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.actors.host.demo.ledger import Ledger, LedgerLine, read_ledger
from greenroom.protocol.errors import InvalidInput

WRITER = """
import sys
from pathlib import Path
from greenroom.actors.host.demo.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(500):
    ledger.enter("run-" + sys.argv[2] * 40, "node", number + 1)
"""


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    assert read_ledger(path) == []
    ledger = Ledger(path)
    ledger.enter("run:1", "classify", 1)
    ledger.enter("run:1", "decide", 2)
    ledger.close()
    assert read_ledger(path) == [
        LedgerLine(execution="run:1", node="classify", visit=1, pid=os.getpid()),
        LedgerLine(execution="run:1", node="decide", visit=2, pid=os.getpid()),
    ]


def test_lines_of_two_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = read_ledger(path)
    assert len(lines) == 1000
    for writer in writers:
        assert [one.visit for one in lines if one.pid == writer.pid] == list(range(1, 501))


def test_a_file_that_is_no_ledger_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text("a\tb\t1\t2\nsomething else\n")
    with pytest.raises(InvalidInput, match="line 2 is not a ledger line"):
        read_ledger(path)
