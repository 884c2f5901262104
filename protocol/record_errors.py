"""Errors of the calls that record and read runs; `errors.py` has the whole tree."""

from greenroom.protocol.errors import InvalidInput


class TooManyNotes(InvalidInput):
    """One node run noted more decisions and problems than `limit`."""

    code = "too_many_notes"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"a node run may note {limit} decisions and problems, and this is one more"
        )
        self.limit = limit
