"""What would become of the sessions of a store if it was opened under a graph: judged as a start
would, without changing anything.
"""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import msgspec

from greenroom.actors.host.graph_loading import LoadedGraph
from greenroom.actors.nodes.migrator import Asked, Migrate, checked
from greenroom.protocol.engine.migrating import outdated, unusable
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.engine.ticks import Migrate as MigrateTick
from greenroom.protocol.engine.validation import check_graph
from greenroom.protocol.engine.versions import Differences, describe, differences
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import UNFINISHED, ExecutionState
from greenroom.protocol.migration import OutdatedSession
from greenroom.storage.journal import Loaded
from greenroom.storage.reader import Reader, StoredExecution

_PAGE: Final = 1_000
_UNREADABLE: Final = "its journal cannot be read: `greenroom check` says why"


class WhyNot(msgspec.Struct, kw_only=True):
    """Sessions with one reason: how many, and the ids of the first of them."""

    reasons: tuple[str, ...]
    sessions: int = 0
    ids: list[str] = []


class Outlook(msgspec.Struct, kw_only=True):
    """The unfinished sessions of one entry point that stand at one version of the graph. `version`
    is the text that it had, empty when nobody knows it.
    """

    entry_point: str
    version: str
    digest: str
    sessions: int = 0
    fit: int = 0
    migrated: int = 0
    unfit: int = 0
    why: list[WhyNot] = []


class Outlooks(msgspec.Struct, kw_only=True):
    """All of them. `unfit` counts the sessions that would be held, or refused when resumed."""

    graph: str
    version: str
    unfit: int
    versions: list[Outlook]


class SessionCheck:
    """One look at one store. `ids_max` bounds the ids that are told of each reason."""

    def __init__(self, loaded: LoadedGraph, ids_max: int) -> None:
        check_graph(loaded.graph, entry_nodes=loaded.entry_nodes)
        self._plan = compile_plan(loaded.graph)
        self._today = describe(self._plan, loaded.graph.version)
        self._entry_points = {one.id for one in loaded.entry_points}
        self._functions, self._migration = loaded.functions, loaded.migration
        self._ids_max = ids_max
        self._compared: dict[bytes, Differences] = {}
        self._found: dict[tuple[str, bytes], Outlook] = {}

    def run(self, reader: Reader) -> Outlooks:
        """Judge every unfinished session. Reads those whose version may not fit."""
        for found in _unfinished(reader):
            self._judge(reader, found)
        versions = sorted(self._found.values(), key=lambda one: (one.entry_point, one.digest))
        return Outlooks(
            graph=self._plan.graph_id,
            version=self._today.version,
            unfit=sum(one.unfit for one in versions),
            versions=versions,
        )

    def _judge(self, reader: Reader, found: StoredExecution) -> None:
        summary = found.summary
        version, loaded = summary.version, None
        if not version or self._compare(reader, version).any:
            with suppress(StoreCorrupt):
                loaded = reader.load(found.ordinal)
            version = b"" if loaded is None else loaded.plan
        outlook = self._outlook(reader, summary.entry_point, version)
        outlook.sessions += 1
        if self._entry_points and summary.entry_point not in self._entry_points:
            gone = f"entry point {summary.entry_point!r} is not declared: declare it again"
            self._is_unfit(outlook, found, (gone,))
        elif loaded is None:
            if version:
                outlook.fit += 1
            else:
                self._is_unfit(outlook, found, (_UNREADABLE,))
        elif version == self._plan.digest or not (
            reasons := self._compare(reader, version).of(loaded.state)
        ):
            outlook.fit += 1
        elif self._migration is None:
            self._is_unfit(outlook, found, reasons)
        elif left := self._migrated(reader, self._migration, loaded, reasons):
            self._is_unfit(outlook, found, left)
        else:
            outlook.migrated += 1

    def _compare(self, reader: Reader, version: bytes) -> Differences:
        if version not in self._compared:
            was = reader.plan(version)
            self._compared[version] = differences(was, self._plan, self._knows)
        return self._compared[version]

    def _knows(self, function: str) -> bool:
        return self._functions is None or function in self._functions

    def _outlook(self, reader: Reader, entry_point: str, version: bytes) -> Outlook:
        found = self._found.get((entry_point, version))
        if found is None:
            was = reader.plan(version)
            text = "" if was is None else was.version
            found = Outlook(entry_point=entry_point, version=text, digest=version.hex())
            self._found[entry_point, version] = found
        return found

    def _is_unfit(self, outlook: Outlook, found: StoredExecution, reasons: tuple[str, ...]) -> None:
        outlook.unfit += 1
        why = next((one for one in outlook.why if one.reasons == reasons), None)
        if why is None:
            why = WhyNot(reasons=reasons)
            outlook.why.append(why)
        why.sessions += 1
        if len(why.ids) < self._ids_max:
            why.ids.append(found.summary.execution_id)

    def _migrated(
        self, reader: Reader, migration: Migrate, loaded: Loaded, reasons: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Why the migration does not make it fit; nothing of what it says is kept."""
        was = reader.plan(loaded.plan)
        session = outdated(loaded.state, was, loaded.plan, self._today)
        session = msgspec.structs.replace(session, reasons=reasons)
        asked = _ask(migration, session)
        if asked.reasons:
            return tuple(map(bounded_text, asked.reasons))
        return self._unusable(loaded.state, loaded.plan, asked)

    def _unusable(self, state: ExecutionState, before: bytes, asked: Asked) -> tuple[str, ...]:
        after = self._plan.digest
        tick = MigrateTick(
            before=before, after=after, nodes=asked.nodes, memory=asked.memory, forget=asked.forget
        )
        return unusable(self._plan, state, tick)


def _ask(migration: Migrate, session: OutdatedSession) -> Asked:
    try:
        answer = migration(session)
        if inspect.isawaitable(answer):
            answer = asyncio.run(_awaited(answer))
    except Exception as error:  # noqa: BLE001  user code; told as the reason
        text = f"the migration failed: {type(error).__name__}: {error}"
        return Asked(reasons=(*session.reasons, text))
    return checked(session, answer)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _unfinished(reader: Reader) -> Iterator[StoredExecution]:
    for status in UNFINISHED:
        for entry_point in reader.entry_points(status):
            after = 0
            while page := reader.oldest(status, entry_point, after, _PAGE):
                after = page[-1].ordinal
                yield from page
