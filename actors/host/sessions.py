"""The part of the facade about stored sessions: list them, look at one, fork it, delete it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Unpack

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.deleting import delete
from greenroom.actors.host.forking import Wanted, check_seq, fork
from greenroom.actors.host.history_reading import history_in, history_query
from greenroom.actors.host.session_reading import page_in, query_of, session_in
from greenroom.actors.host.trigger_options import TriggerOptions
from greenroom.actors.kernel.clock import Clock
from greenroom.protocol.execution import Status
from greenroom.protocol.history import History
from greenroom.protocol.limits import LIST_PAGE_DEFAULT
from greenroom.protocol.sessions import Session, SessionPage


class SessionCalls(ABC):
    """What AgentRuntime offers about sessions. Session ids are execution ids."""

    _assembly: Assembly | None
    _clock: Clock

    @abstractmethod
    def _running(self) -> Assembly:
        """The parts of a started runtime. Raises RuntimeNotRunning."""

    def list_sessions(
        self,
        status: Status | str | None = None,
        goal_id: str | None = None,
        entry_point: str | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        limit: int = LIST_PAGE_DEFAULT,
        after: str | None = None,
    ) -> SessionPage:
        """A page of sessions, newest first, of those that pass every filter that is given.

        since <= accepted_at <= until, aware datetimes or UTC seconds. `after` of a page gives the
        next one. Costs about what it returns, however long sessions are and however many there are,
        and with a bound of time a look at what was accepted in the 10 s beyond it. Around a moment
        at which the wall clock was set back by more than that, a listing by time may miss some.
        Empty while the runtime is stopped. Any thread. Raises InvalidInput, InvalidConfig.
        """
        query = query_of(
            status=status,
            goal_id=goal_id,
            entry_point=entry_point,
            since=since,
            until=until,
            limit=limit,
            after=after,
        )
        assembly = self._assembly
        if assembly is None:
            return SessionPage(sessions=[])
        return assembly.store.read(partial(page_in, query))

    def get_session(self, session_id: str, *, seq: int | None = None) -> Session | None:
        """A session as its last committed step left it, in any status, of any process; with `seq`
        as that record left it.

        None when it is unknown, was pruned or deleted, and while the runtime is stopped. Costs
        about what its state holds. Any thread. Raises PositionNotFound, InvalidInput, StoreCorrupt.
        """
        check_seq(seq)
        assembly = self._assembly
        if assembly is None:
            return None
        return assembly.store.read(partial(session_in, session_id, seq=seq))

    def get_session_history(
        self, session_id: str, after: int = 0, limit: int = LIST_PAGE_DEFAULT
    ) -> History:
        """What happened in a session, record by record, oldest first, behind record `after`.

        `after` of a page gives the next one. Costs about what it returns, and behind the first page
        what `get_session` costs. Empty while the runtime is stopped. Any thread. Raises
        ExecutionNotFound, InvalidConfig, StoreCorrupt.
        """
        query = history_query(session_id, after, limit)
        assembly = self._assembly
        if assembly is None:
            return History(session_id=session_id, forked_from=None, entries=[])
        return assembly.store.read(partial(history_in, query))

    async def fork(
        self,
        session_id: str,
        checkpoint: str | None = None,
        *,
        memory: Mapping[str, Any] | None = None,
        seq: int | None = None,
        correlation_id: str | None = None,
        **options: Unpack[TriggerOptions],
    ) -> str:
        """Start a new session where another one stood, and return its id after the commit.

        It begins as that one was at a checkpoint, at record `seq`, or is now, with `memory` over
        the memory of that time, and both go on. Nothing of the other one changes, whatever its
        status; what it asked people there is asked anew, its effects are made anew, and shared
        state is as it is now. The call is admitted as a trigger of its entry point and takes the
        options of TriggerOptions; an idempotency key counts among the forks of the session, and
        without a `budget` that of the position counts on. Costs the same however long the session
        is. Raises ExecutionNotFound, CheckpointNotFound, PositionNotFound, NotForkable when nothing
        follows the position, NodeNotFound, and as `trigger` does.
        """
        wanted = Wanted(session_id, checkpoint, seq)
        assembly, now = self._running(), self._clock.now()
        return await fork(assembly, wanted, memory, correlation_id, options, now)

    async def delete_session(self, session_id: str) -> bool:
        """Delete a session that has ended, is held or paused; True after the commit, False when
        there is none of that id.

        Its state, journal and place in every listing go. Its idempotency key stays until it
        expires, so that a late repeat starts nothing; events stay in the log, and so does what it
        wrote to shared state. Raises NotDeletable, and as `cancel_execution`.
        """
        return await delete(self._running(), session_id)
