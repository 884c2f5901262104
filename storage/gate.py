"""Keeps the map still while somebody reads through it."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Final

# Reads are short. One that is not loses its transaction, and is called again, rather than stop
# every commit.
WAIT_S: Final = 1.0


class Gate:
    """Many readers, or one change of the environment. `generation` counts the changes."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._readers = 0
        self._changing = False
        self.generation = 0

    @contextmanager
    def reading(self) -> Iterator[int]:
        """Hold the environment still, for as long as a change is willing to wait; gives the
        generation.
        """
        with self._condition:
            while self._changing:
                self._condition.wait()
            self._readers += 1
            generation = self.generation
        try:
            yield generation
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Let no reader in, wait up to WAIT_S for those inside to leave, and count a change."""
        with self._closed_to_readers():
            with self._condition:
                self._condition.wait_for(lambda: not self._readers, WAIT_S)
                self.generation += 1
            yield

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let no reader in, without waiting for those inside."""
        with self._closed_to_readers():
            yield

    @contextmanager
    def _closed_to_readers(self) -> Iterator[None]:
        with self._condition:
            while self._changing:
                self._condition.wait()
            self._changing = True
        try:
            yield
        finally:
            with self._condition:
                self._changing = False
                self._condition.notify_all()
