"""Errors of the calls by which people step into executions; `errors.py` has the whole tree."""

from greenroom.protocol.errors import InvalidInput, InvalidValue, RuntimeStateError


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
