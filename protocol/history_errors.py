"""Errors of looking back at a session; `errors.py` has the whole tree."""

from greenroom.protocol.errors import StorageError


class HistoryPruned(StorageError):
    """That position of a session is gone: its journal was cut. From record `oldest` on every one is
    there; further back only what a checkpoint or a fork keeps.
    """

    code = "history_pruned"

    def __init__(self, oldest: int) -> None:
        super().__init__(
            f"the session's history before record {oldest} was pruned: go on from there, "
            "or from a checkpoint"
        )
        self.oldest = oldest
