"""Errors of time that ran out; `errors.py` has the whole tree."""

from greenroom.protocol.errors import NodeFailed


class NodeTimedOut(NodeFailed, TimeoutError):
    """A node took longer than its `timeout_s`. What it returns afterwards is refused.

    It is never raised: the attempt fails with it, and `retry_on` may name it or `TimeoutError`.
    """

    code = "node_timed_out"
