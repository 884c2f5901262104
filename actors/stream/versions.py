"""Executions of another version of the graph: whether they fit today's, asked once for each
version.
"""

from greenroom.actors.stream.live import Live
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.versions import Differences, Known, differences
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store


class Versions:
    """Compares other versions of the graph with today's. Only on the runtime's loop thread.

    What it has compared it keeps: one entry for each version that still has sessions.
    """

    def __init__(self, store: Store, plan: Plan, known: Known) -> None:
        self._store = store
        self._plan = plan
        self._known = known
        self._compared: dict[bytes, Differences] = {}

    @property
    def digest(self) -> bytes:
        """Of today's graph."""
        return self._plan.digest

    def compare(self, version: bytes) -> Differences:
        """What keeps sessions of that version from going on."""
        found = self._compared.get(version)
        if found is None:
            was = self._store.read(lambda reader: reader.plan(version))
            found = self._compared[version] = differences(was, self._plan, self._known)
        return found

    def must_look(self, version: bytes) -> bool:
        """Whether some sessions of that version do not fit, so that each has to be looked at."""
        return version not in (self._plan.digest, b"") and self.compare(version).any

    def judge(self, live: Live) -> tuple[str, ...]:
        """Why the execution does not fit today's graph; () when it does, and has moved to it."""
        if live.version is None:
            return ()
        reasons: tuple[str, ...] = ()
        if live.version != self._plan.digest:
            assert live.state is not None, "what has a version was accepted"
            reasons = self.compare(live.version).of(live.state)
        if not reasons:
            live.version = None
        return reasons


def unfit_at(
    reader: Reader, ordinal: int, seq: int | None, plan: Plan, known: Known
) -> tuple[str, ...]:
    """Why nobody can go on under `plan` from where an execution stood at a record, at the newest
    without `seq`; () when that is possible.
    """
    found = reader.load(ordinal, seq)
    if found.plan == plan.digest:
        return ()
    return differences(reader.plan(found.plan), plan, known).of(found.state)


def in_words(reasons: tuple[str, ...]) -> str:
    """The reasons as the error of an execution that is held for them."""
    return "it does not fit the graph: " + "; ".join(reasons)
