"""Errors about sessions of another version of their graph; `errors.py` has the whole tree."""

from collections.abc import Iterable

from greenroom.protocol.errors import RuntimeStateError


class GraphChanged(RuntimeStateError):
    """The session does not fit the graph as it is now: `reasons` says why, and how to mend each. It
    was left as it is.
    """

    code = "graph_changed"

    def __init__(self, execution_id: str, reasons: Iterable[str]) -> None:
        self.execution_id, self.reasons = execution_id, tuple(reasons)
        text = "; ".join(self.reasons)
        super().__init__(f"execution {execution_id} does not fit the graph: {text}")
