"""The part of a node's context that asks people."""

from datetime import datetime
from typing import Any

from msgspec import UNSET

from greenroom.actors.kernel.clock import Clock
from greenroom.actors.nodes.asking import asked_question, deadline_of
from greenroom.actors.nodes.buffer import StepBuffer
from greenroom.actors.nodes.runs import NodeRun
from greenroom.protocol.questions import number_of, question_id


class QuestionCalls:
    """The part of a node's context by which it asks people."""

    __slots__ = ()

    execution_id: str
    _buffer: StepBuffer
    _clock: Clock
    _run: NodeRun

    def ask(
        self,
        prompt: str,
        *,
        to: str | None = None,
        schema: dict[str, Any] | None = None,
        deadline: datetime | None = None,
        timeout: float | None = None,
        default: Any = UNSET,
        assignee: str | None = None,
    ) -> str:
        """Ask a person when the step closes, and return the question's id.

        The node is done with it: it is never run again, and its execution waits, in the store
        alone, until `runtime.answer` was called for every question that the node asked. The answer
        fits the JSON Schema `schema`, is stored under the key `to` (by default the node's only
        output key, "answer" for a node that declares none), and is there when the node's edges are
        evaluated. `assignee` is whom `pending_questions` may be asked for. Repeated attempts give
        the same id.

        After `deadline` (an aware datetime) or `timeout` seconds the `default` is taken for the
        answer. Without a default the node has failed then: its edge for failures is taken, or the
        execution fails. While an execution is paused or held nothing expires.

        Raises InvalidInput for a schema that is none, InvalidAnswer for a default that does not fit
        it, KeyNotAllowed, InvalidValue.
        """
        questions = self._buffer.questions
        question = asked_question(
            self._buffer.node,
            questions,
            prompt,
            to=to,
            schema=schema,
            assignee=assignee,
            deadline=deadline_of(self._clock.now(), deadline, timeout),
            default=default,
        )
        questions.append(question)
        number = number_of(self._run.asked, self._run.token_id, len(questions))
        return question_id(self.execution_id, number)
