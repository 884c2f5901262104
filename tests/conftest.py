"""What every area of the tests shares."""

from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine must not fail a property by its clock; the whole test has its own limit of time.
settings.register_profile("greenroom", deadline=None, print_blob=True)
settings.load_profile("greenroom")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds `pyproject.toml`."""
    return Path(__file__).resolve().parent.parent
