"""Golden files: the stored meaning of what the project writes, and the one place that compares it.

A difference means that stores written by a released version would be read, or folded, differently.
Mend the change, or give the store a new format; only before a release may the files be written
again, with GREENROOM_WRITE_GOLDEN=1.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Golden = Callable[[str, Any], Any]


@pytest.fixture
def golden() -> Golden:
    """`golden(name, found)` compares plain JSON data with `name`.json and returns the file's."""

    def compare(name: str, found: Any) -> Any:
        path = Path(__file__).parent / f"{name}.json"
        if os.environ.get("GREENROOM_WRITE_GOLDEN"):
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        expected = json.loads(path.read_text(encoding="utf-8"))
        assert found == expected, f"the meaning of stored bytes has changed: see {path.name}"
        return expected

    return compare
