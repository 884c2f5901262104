"""The part of the facade that tells what executions did: runs, decisions, problems."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.run_queries import (
    RunFilter,
    find,
    find_runs,
    read_run,
    routers_of,
    stored_execution,
)
from greenroom.actors.host.waiting import may_be_execution
from greenroom.protocol.asked import asked_status, asked_text, asked_time
from greenroom.protocol.decisions import Severity
from greenroom.protocol.errors import InvalidInput, RuntimeNotRunning, StoreClosed
from greenroom.protocol.execution import Status
from greenroom.protocol.limits import LIST_PAGE_DEFAULT, LIST_PAGE_MAX, RUNS_LIST_DEFAULT
from greenroom.protocol.runs import Decision, Position, Problem, Run
from greenroom.protocol.settings import check_integer, member

Moment = datetime | float
T = TypeVar("T", Decision, Problem)
R = TypeVar("R")


class RecordCalls(ABC):
    """What AgentRuntime offers to whoever asks what was done, and why.

    Each call reads the store on a thread of the pool. Any event loop. One that is under way when
    the runtime stops raises RuntimeNotRunning. Times are aware datetimes or UTC seconds, both ends
    included. A search lists the executions that entry point, status, goal and time leave, as
    `list_sessions` does, and reads those one by one until it has found enough.
    """

    @abstractmethod
    def _running(self) -> Assembly:
        """The parts of a started runtime. Raises RuntimeNotRunning."""

    async def decisions(
        self,
        session_id: str | None = None,
        *,
        node: str | None = None,
        goal_id: str | None = None,
        entry_point: str | None = None,
        status: Status | str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = LIST_PAGE_DEFAULT,
        after: str | None = None,
    ) -> list[Decision]:
        """Return up to `limit` decisions of nodes and routers: newest execution first, and those of
        one in the order in which they were made.

        `status` is that of the execution. `after` is the `position` of the last one of the page
        before. Of sessions whose journals were cut there are only those of the steps that are kept:
        `get_run(session_id).records_pruned` says how many are not. Raises InvalidInput,
        HistoryPruned when what came next after `after` is gone, RuntimeNotRunning,
        StoreUnavailable.
        """
        asked = _filter(session_id, goal_id, entry_point, status, since, until)
        asked_text("node", node)
        return await self._find(
            Decision, asked, lambda one: node in (None, one.node_id), after, limit
        )

    async def problems(
        self,
        session_id: str | None = None,
        *,
        severity: Severity | str | None = None,
        node: str | None = None,
        goal_id: str | None = None,
        entry_point: str | None = None,
        status: Status | str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = LIST_PAGE_DEFAULT,
        after: str | None = None,
    ) -> list[Problem]:
        """Return up to `limit` reported problems. As `decisions`."""
        wanted = None if severity is None else member("severity", severity, Severity)
        asked = _filter(session_id, goal_id, entry_point, status, since, until)
        asked_text("node", node)
        return await self._find(
            Problem,
            asked,
            lambda one: node in (None, one.node_id) and wanted in (None, one.severity),
            after,
            limit,
        )

    async def get_run(self, session_id: str) -> Run | None:
        """Return the record of one execution as it stands; None when it is unknown or was pruned.

        Raises InvalidId, RuntimeNotRunning, StoreUnavailable.
        """
        assembly = self._running()
        if not may_be_execution(session_id):
            return None

        def read() -> Run | None:
            stored = stored_execution(assembly.store, session_id)
            if stored is None:
                return None
            return read_run(assembly.store, stored, routers_of(assembly.plan))

        return await _in_pool(assembly, read)

    async def runs(
        self,
        *,
        goal_id: str | None = None,
        entry_point: str | None = None,
        status: Status | str | None = None,
        node: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = RUNS_LIST_DEFAULT,
        before: str | None = None,
    ) -> list[Run]:
        """Return up to `limit` runs, newest first, accepted in that time; `node` is one that they
        visited.

        `before` is the id of the last one of the page before. Raises as `decisions`.
        """
        assembly = self._running()
        check_integer("limit", limit, 1, LIST_PAGE_MAX)
        asked = _filter(None, goal_id, entry_point, status, since, until)
        asked_text("node", node)
        routers = routers_of(assembly.plan)
        search = partial(find_runs, assembly.store, asked, routers, node, before, limit)
        return await _in_pool(assembly, search)

    async def _find(
        self,
        kind: type[T],
        asked: RunFilter,
        matches: Callable[[T], bool],
        after: str | None,
        limit: int,
    ) -> list[T]:
        assembly = self._running()
        check_integer("limit", limit, 1, LIST_PAGE_MAX)
        behind = None if after is None else Position.parse(after)
        routers = routers_of(assembly.plan)
        search = partial(find, assembly.store, kind, asked, routers, matches, behind, limit)
        return await _in_pool(assembly, search)


async def _in_pool(assembly: Assembly, read: Callable[[], R]) -> R:
    try:
        return await assembly.nodes.in_pool(read)
    except StoreClosed as error:
        raise RuntimeNotRunning("the runtime stopped before the end of the search") from error


def _filter(
    session_id: str | None,
    goal_id: str | None,
    entry_point: str | None,
    status: Status | str | None,
    since: Moment | None,
    until: Moment | None,
) -> RunFilter:
    if session_id is not None and not may_be_execution(session_id):
        raise InvalidInput(f"session_id is {session_id!a:.140}, which no session can have")
    return RunFilter(
        session_id=session_id,
        goal_id=asked_text("goal_id", goal_id),
        entry_point=asked_text("entry_point", entry_point),
        status=asked_status(status),
        since=asked_time("since", since),
        until=asked_time("until", until),
    )
