"""An actor system for each test, stopped and checked after it."""

from collections.abc import Iterator

import pytest

from greenroom.actors.kernel.system import ActorSystem


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    """A running system; after the test it must stop, in order and in time."""
    with ActorSystem("test") as running:
        yield running
        assert running.stop(10.0), "an actor did not stop in order"
