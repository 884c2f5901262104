"""Kinds of NodeFailed; `errors.py` has the whole tree.

A function may raise a failure or return it: both are the same failure of its node.
"""

from greenroom.protocol.errors import NodeFailed


class NonRetryable(NodeFailed):
    """Raised or returned by user code: the node has failed, and another attempt is of no use.

    It gets none, whatever `retry_on` says, and its way for failures is taken.
    """

    code = "non_retryable"
    retryable = False


class NodeTimedOut(NodeFailed, TimeoutError):
    """A node took longer than its `timeout_s`. What it returns afterwards is refused.

    It is never raised: the attempt fails with it, and `retry_on` may name it or `TimeoutError`.
    """

    code = "node_timed_out"
