"""The ledger: what node functions wrote down when they were entered, independent of the store."""

import os
from pathlib import Path
from typing import Final

import msgspec

from greenroom.protocol.errors import InvalidInput

_SEPARATOR: Final = "\t"


class LedgerLine(msgspec.Struct, frozen=True, array_like=True):
    """One entry into a node function."""

    execution: str
    node: str
    visit: int
    pid: int


class Ledger:
    """Appends lines to a file that several processes may append to. Any thread.

    Each line is one write to a descriptor opened with O_APPEND, so that lines never mix and none
    is lost in a buffer when the process is killed.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )

    def enter(self, execution: str, node: str, visit: int) -> None:
        """Write down that a node function was entered by this process."""
        line = _SEPARATOR.join((execution, node, str(visit), str(os.getpid()))) + "\n"
        os.write(self._descriptor, line.encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_ledger(path: Path) -> list[LedgerLine]:
    """Return all lines, oldest first; an empty list when nothing was written yet.

    Raises InvalidInput when the file holds anything else.
    """
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        parts = text.split(_SEPARATOR)
        if len(parts) != 4 or not (parts[2].isdecimal() and parts[3].isdecimal()):
            raise InvalidInput(f"{path}: line {number} is not a ledger line: {text!a:.80}")
        lines.append(
            LedgerLine(execution=parts[0], node=parts[1], visit=int(parts[2]), pid=int(parts[3]))
        )
    return lines
