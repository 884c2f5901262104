"""How long the disk takes to make 4 KiB durable: without it no durable rate says anything."""

import os
import tempfile
import time
from pathlib import Path
from typing import Final

BLOCK: Final = b"\xa5" * 4096


def probe(folder: Path, count: int) -> list[float]:
    """Append a block and wait for the disk, `count` times; return each time in milliseconds.

    `folder` is on the disk in question. Raises OSError. Leaves nothing behind.
    """
    found: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(count):
            begun = time.perf_counter()
            file.write(BLOCK)
            os.fdatasync(file.fileno())
            found.append((time.perf_counter() - begun) * 1e3)
    return found
