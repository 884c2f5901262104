"""The part of the facade by which people step into executions: pause them, take them up, and answer
what they ask.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.injecting import inject
from greenroom.actors.host.pausing import pause, resume
from greenroom.actors.host.questions import answer, get, pending
from greenroom.protocol.budget import Budget
from greenroom.protocol.limits import LIST_PAGE_DEFAULT
from greenroom.protocol.questions import AnswerOutcome, InjectionOutcome, Question


class PeopleCalls(ABC):
    """What AgentRuntime offers for people. Session ids are execution ids."""

    _assembly: Assembly | None

    @abstractmethod
    def _running(self) -> Assembly:
        """The parts of a started runtime. Raises RuntimeNotRunning."""

    async def pause(self, session_id: str, reason: str = "paused by the host") -> bool:
        """Pause an execution that is queued, runs or waits; True after the commit.

        A node that runs is stopped unfinished, and runs again on resume. Until then nothing of it
        is in memory. False when it is unknown, or there is nothing to pause. Raises as
        `cancel_execution`.
        """
        return await pause(self._running(), session_id, reason)

    async def resume(
        self,
        session_id: str,
        input_data: Mapping[str, Any] | None = None,
        from_checkpoint: str | None = None,
        *,
        budget: Budget | None = None,
    ) -> None:
        """Take up an execution that is paused, failed, exhausted or held; returns after the commit.

        `budget` takes the place of the one that it had; what it has used of that counts on, and a
        question about that is closed.
        The values of `input_data` are set in its memory first. After a pause node it goes on at
        "<node>_resume" of the graph's entry points, else by the node's edges; else the node at
        which it stopped runs again, in the same visit, with `max_retries` attempts to come.

        With the id of a checkpoint it goes on from there, also when it had completed, was cancelled
        or timed out: memory, visits, path and position become what they were. Steps and retries
        stay used up, a timeout counts from 0, a deadline stays; shared state, events and decisions
        stay as they are; effects are made anew, under new keys. What goes on by itself must be
        paused or cancelled first.

        Raises ExecutionNotFound, CheckpointNotFound, NodeNotFound when the graph has not the node
        of the checkpoint any more, NotResumable, InvalidValue, and as `cancel_execution`.
        """
        await resume(self._running(), session_id, input_data, budget, from_checkpoint)

    def pending_questions(
        self,
        entry_point: str | None = None,
        assignee: str | None = None,
        session_id: str | None = None,
        *,
        limit: int = LIST_PAGE_DEFAULT,
        after: str | None = None,
    ) -> list[Question]:
        """The open questions of which all that is given is true, those asked first first.

        At most `limit` (up to 1,000); `after` is the id of the last one of the page before. Costs
        what it returns, however many are open. Empty while the runtime is stopped. Any thread.
        Raises InvalidInput.
        """
        assembly = self._assembly
        if assembly is None:
            return []
        return pending(
            assembly,
            entry_point=entry_point,
            assignee=assignee,
            session_id=session_id,
            limit=limit,
            after=after,
        )

    def get_question(self, question_id: str) -> Question | None:
        """One question, open or closed.

        None when it is unknown, and while the runtime is stopped. Any thread.
        """
        assembly = self._assembly
        return None if assembly is None else get(assembly, question_id)

    async def answer(self, question_id: str, value: Any, by: str | None = None) -> AnswerOutcome:
        """Answer a question; returns after the commit, and repeating it is safe.

        The execution goes on when all that its node asked is answered; a paused or held one keeps
        the answer until it is resumed, but ends at once when it gets no more budget. `by` is stored
        with it. An answer that comes too late, a second time, or to no question is told so by its
        outcome. Any event loop. Raises InvalidAnswer with the path of what does not fit the
        question's schema, InvalidValue, EntryPointNotFound, and as `cancel_execution`.
        """
        return await answer(self._running(), question_id, value, by)

    async def inject_input(
        self, node_id: str, content: Any, execution_id: str | None = None
    ) -> InjectionOutcome:
        """Hand input to a node; returns after the commit.

        It answers the oldest open question of the node. While the node has not ended it is kept,
        also over a crash, and answers the next question of that node that it fits, the oldest input
        first, in the step that asks it. Otherwise nobody waits, and nothing is stored. Without
        `execution_id` it is for the one execution that waits at the node or runs it now. Any event
        loop. Raises AmbiguousInput when there are several, InvalidAnswer when it does not fit the
        open question, InboxFull, ExecutionNotFound, EntryPointNotFound, InvalidId, InvalidValue,
        and as `cancel_execution`.
        """
        return await inject(self._running(), node_id, content, execution_id)
