"""Executions of another version of the graph: whether they fit today's, asked once for each
version, and how they are made to.
"""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from greenroom.actors.nodes.migrator import Asked, Migrator
from greenroom.actors.stream.live import Live
from greenroom.protocol.engine.migrating import outdated, unusable
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.engine.ticks import Migrate
from greenroom.protocol.engine.versions import Differences, Known, describe, differences
from greenroom.protocol.migration import OutdatedSession
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store

Verdict = Migrate | tuple[str, ...]
"""How an execution is made to fit, or why it does not; () when it fits as it is."""


class Versions:
    """Compares other versions of the graph with today's. Only on the runtime's loop thread.

    `version` is the text of today's. What it has compared it keeps: one entry for each version
    that still has sessions. Without a `migrator` nothing is made to fit.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        version: str,
        known: Known,
        migrator: Migrator | None = None,
    ) -> None:
        self._store = store
        self._plan = plan
        self._known = known
        self._migrator = migrator
        self.today = describe(plan, version)
        self._compared: dict[bytes, Differences] = {}

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

    @property
    def can_migrate(self) -> bool:
        """Whether there is somebody to ask."""
        return self._migrator is not None

    def ask(self, live: Live, reasons: tuple[str, ...], told: Callable[[Asked], object]) -> None:
        """Have `told` called, where nodes run, with what is to become of the execution."""
        assert self._migrator is not None, "asked only when there is one"
        self._migrator.ask(self._outdated(live, reasons), told)

    def verdict(self, live: Live, asked: Asked) -> Verdict:
        """What the answer means for the execution, which nobody has moved meanwhile."""
        assert live.state is not None, "it was asked about"
        assert live.version is not None, "it was asked about"
        if asked.reasons:
            return tuple(map(bounded_text, asked.reasons))
        tick = Migrate(
            before=live.version,
            after=self._plan.digest,
            nodes=asked.nodes,
            memory=asked.memory,
            forget=asked.forget,
        )
        return unusable(self._plan, live.state, tick) or tick

    async def settle(self, live: Live) -> Verdict:
        """The verdict of an execution at the start of its stream."""
        reasons = self.judge(live)
        if not reasons or self._migrator is None:
            return reasons
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Asked] = loop.create_future()

        def told(asked: Asked) -> None:
            loop.call_soon_threadsafe(_settle, answer, asked)

        self.ask(live, reasons, told)
        return self.verdict(live, await answer)

    def _outdated(self, live: Live, reasons: tuple[str, ...]) -> OutdatedSession:
        assert live.state is not None, "what has a version was accepted"
        version = live.version or b""
        was = self._store.read(lambda reader: reader.plan(version))
        return replace(outdated(live.state, was, version, self.today), reasons=reasons)


def _settle(answer: "asyncio.Future[Asked]", asked: Asked) -> None:
    if not answer.done():
        answer.set_result(asked)


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
