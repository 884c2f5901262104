"""Errors of the calls about stored sessions; `errors.py` has the whole tree."""

from greenroom.protocol.errors import InvalidInput, RuntimeStateError


class NotDeletable(RuntimeStateError):
    """The session goes on: only one that has ended, is held or paused can be deleted."""

    code = "not_deletable"

    def __init__(self, session_id: str, status: str) -> None:
        super().__init__(
            f"session {session_id} is {status} and was not deleted: cancel or pause it first"
        )
        self.session_id, self.status = session_id, status


class NotForkable(RuntimeStateError):
    """Nothing follows that position of the session, so there is nothing that a fork could do."""

    code = "not_forkable"

    def __init__(self, session_id: str, seq: int) -> None:
        super().__init__(
            f"session {session_id} cannot be forked at record {seq}: nothing follows it"
        )
        self.session_id, self.seq = session_id, seq


class PositionNotFound(InvalidInput):
    """The session has no record of that seq; `last` is the seq of its newest."""

    code = "position_not_found"

    def __init__(self, session_id: str, seq: int, last: int) -> None:
        super().__init__(f"session {session_id} has records 1 to {last}, and none of seq {seq}")
        self.session_id, self.seq, self.last = session_id, seq, last


class CheckpointNotFound(InvalidInput):
    """The session has no checkpoint of that id: it never had one, or it was deleted or pruned."""

    code = "checkpoint_not_found"

    def __init__(self, session_id: str, checkpoint_id: object) -> None:
        super().__init__(f"session {session_id} has no checkpoint {checkpoint_id!a:.140}")
        self.session_id, self.checkpoint_id = session_id, checkpoint_id
