"""What the writer keeps in memory between groups. All of it can be read again from the store at
any time.
"""

from typing import Final

from greenroom.storage import cursors, events, goals
from greenroom.storage.executions import Head
from greenroom.storage.keys import NUMBER_MAX, pack_number, unpack_number
from greenroom.storage.tables import Table, Transaction

FORMAT_NAME: Final = b"format"
EPOCH: Final = b"epoch"
CLEAN_EPOCH: Final = b"clean_epoch"  # the newest epoch that ended in order
PROBE: Final = b"probe"
STATE_VERSION: Final = b"state_version"  # of the newest write to shared state
ORDINAL_FLOOR: Final = b"ordinal_floor"  # no ordinal up to this one is given again

HEADS_MAX: Final = 131_072  # one that was let go costs a read at its next commit


class View:
    """Counters and heads as of the last durable group. Belongs to the writer's thread."""

    __slots__ = (
        "claims",
        "cursors",
        "fences",
        "finished",
        "garbage",
        "goal",
        "heads",
        "long_journals",
        "next_event",
        "next_ordinal",
        "oldest_event",
        "state_version",
        "walk_at",
        "walked",
    )

    def __init__(self, txn: Transaction) -> None:
        self.heads: dict[int, Head] = {}
        self.fences: dict[str, int] = {}
        # Entry digest -> how many have finished, and the newest one's mark; read at first use.
        self.finished: dict[bytes, tuple[int, int]] = {}
        self.cursors = cursors.all_cursors(txn)
        last = txn.last_at_or_before(Table.SUMMARIES, pack_number(NUMBER_MAX))
        highest = 0 if last is None else unpack_number(last[0])
        self.next_ordinal = max(highest, cursors.get_number(txn, ORDINAL_FLOOR)) + 1
        self.oldest_event, last_event = events.bounds(txn)
        self.next_event = last_event + 1
        self.state_version = cursors.get_number(txn, STATE_VERSION)
        self.claims = txn.count(Table.CLAIMS)
        self.garbage = txn.count(Table.GARBAGE) > 0
        self.goal = goals.newest(txn)  # of the execution accepted last, perhaps dropped since

        # Ordinal -> up to where its journal is cut, and at which record; 0 is not decided yet.
        self.long_journals: dict[int, tuple[int, int]] = {}
        # The walk over all journals: where it stands, None between two, and when the next begins.
        self.walked: int | None = None
        self.walk_at = 0.0

    def trim(self) -> None:
        """Let the heads go that were added first, while there are too many."""
        excess = len(self.heads) - HEADS_MAX
        if excess > 0:
            for ordinal in list(self.heads)[:excess]:
                del self.heads[ordinal]
