"""Errors of the calls by which people step into executions; `errors.py` has the whole tree."""

from greenroom.protocol.errors import (
    AdmissionError,
    InvalidInput,
    InvalidValue,
    RuntimeStateError,
)


class ExecutionNotFound(InvalidInput):
    """The store has no execution of that id: it never had one, or it was pruned."""

    code = "execution_not_found"


class NotResumable(RuntimeStateError):
    """The execution cannot be taken up from its `status`: it runs, or has ended for good."""

    code = "not_resumable"

    def __init__(self, execution_id: str, status: str, why: str = "") -> None:
        reason = f": {why}" if why else ""
        super().__init__(f"execution {execution_id} is {status} and cannot be resumed{reason}")
        self.execution_id, self.status = execution_id, status


class InvalidAnswer(InvalidValue):
    """An answer does not fit the JSON Schema of its question, which stays open. `path` is the place
    in the answer.
    """

    code = "invalid_answer"


class AmbiguousInput(InvalidInput):
    """Several executions run a node or wait at it, so it must be said which one the input is for.
    `execution_ids` are two of them.
    """

    code = "ambiguous_input"

    def __init__(self, node_id: str, execution_ids: list[str]) -> None:
        super().__init__(
            f"several executions are at node {node_id!a:.140}, as {' and '.join(execution_ids)}: "
            "give the execution_id"
        )
        self.node_id, self.execution_ids = node_id, execution_ids


class AmbiguousBranch(AmbiguousInput):
    """Several branches of one execution run a node or wait at it, and what belongs to one of them
    must not reach another. `execution_ids` is that one.
    """

    code = "ambiguous_branch"

    def __init__(self, node_id: str, execution_id: str) -> None:
        InvalidInput.__init__(
            self,
            f"several branches of {execution_id} are at node {node_id!a:.140}: answer the question "
            "of the one that is meant, by its id (`pending_questions` has it)",
        )
        self.node_id, self.execution_ids = node_id, [execution_id]


class InboxFull(AdmissionError):
    """An execution keeps as much input as it may; there is room again when its nodes have asked."""

    code = "inbox_full"

    def __init__(self, execution_id: str, node_id: str) -> None:
        super().__init__(
            f"execution {execution_id} keeps too much input: nothing more is kept for {node_id!r}"
        )
        self.execution_id, self.node_id = execution_id, node_id
