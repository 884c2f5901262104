"""What one node run decides and reports, gathered until its closing step."""

from itertools import count

import msgspec

from greenroom.protocol.limits import NODE_NOTES_MAX
from greenroom.protocol.record_errors import TooManyNotes


class NodeNotes:
    """Encoded notes by their number. Any thread: a number is given once, and an entry set once."""

    __slots__ = ("_added", "_numbers")

    def __init__(self) -> None:
        self._numbers = count(1)
        self._added: dict[int, msgspec.Raw] = {}

    def number(self) -> int:
        """The number of the next note, from 1 on. Raises TooManyNotes."""
        number = next(self._numbers)
        if number > NODE_NOTES_MAX:
            raise TooManyNotes(NODE_NOTES_MAX)
        return number

    def add(self, number: int, note: msgspec.Raw) -> None:
        """Keep a note for the closing step."""
        self._added[number] = note

    def told(self) -> tuple[msgspec.Raw, ...]:
        """The notes, in the order of their numbers."""
        added = self._added
        return tuple(added[number] for number in sorted(added))
