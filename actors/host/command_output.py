"""How commands read a store, and how they show what they found."""

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from greenroom.actors.host.store_arguments import existing_store
from greenroom.storage.lmdb_store import open_reader
from greenroom.storage.reader import Reader

T = TypeVar("T")


def read_store(store: Path, function: Callable[[Reader], T]) -> T:
    """Return `function(reader)` over the store at that path."""
    with closing(open_reader(existing_store(store))) as opened:
        return opened.read(function)


def write_json(found: object) -> None:
    """Write one JSON object: bytes as base64, times as ISO 8601."""
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


def write_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Write rows of equal length below each other, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def shown_time(moment: datetime) -> str:
    """The time in UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def one_line(text: str) -> str:
    """The text without line breaks, and without what a terminal would act on."""
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))
