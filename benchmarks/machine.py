"""Where the numbers come from: a rate without its machine means nothing."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

_DISTRIBUTIONS: Final = ("greenroom", "lmdb", "msgspec", "pykka")
_MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})


def machine(folder: Path) -> dict[str, str | int]:
    """Describe the machine, and the file system that holds `folder`."""
    return {
        "cpus": os.cpu_count() or 1,
        "model": _model(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": file_system(folder),
    }


def versions() -> dict[str, str]:
    """Versions of what is measured."""
    return {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}


def is_durable(folder: Path) -> bool:
    """False for a folder in memory, where waiting for the disk measures nothing."""
    return file_system(folder) not in _MEMORY_FILE_SYSTEMS


def file_system(folder: Path) -> str:
    """The type of the file system that holds `folder`; "unknown" where that cannot be told."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    found = "unknown", -1
    real = folder.resolve()
    for line in mounts:
        _, where, kind, *_ = line.split(" ")
        depth = len(Path(where).parts)
        if depth >= found[1] and real.is_relative_to(where):
            found = kind, depth
    return found[0]


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
