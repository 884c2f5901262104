"""Moving sessions to another version of their graph: what the function is given, and returns."""

from collections.abc import Mapping
from typing import Any

import msgspec

from greenroom.protocol.execution import Phase, Status


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session stands. `ended`: the node is done, and what follows it comes next; else it
    runs, once more when `attempt` is over 0, when the session goes on. `questions` are the ids of
    what it asks people. `branch` 0 is the main line; others are of fan-outs that are open.
    """

    node: str
    visit: int
    attempt: int
    ended: bool
    phase: Phase
    questions: tuple[str, ...] = ()
    branch: int = 0


class OutdatedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that does not fit the graph as it is now, and why (`reasons`).

    `memory` is a copy with decoded values, that of the main line. The versions are the texts that
    the graphs had, the digests tell them apart for certain; `from_version` is empty when nobody
    knows it any more.
    """

    session_id: str
    entry_point: str
    status: Status
    positions: tuple[Position, ...]
    memory: dict[str, Any]
    reasons: tuple[str, ...]
    from_version: str
    to_version: str
    from_digest: str
    to_digest: str


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """How a session is made to fit. `Migration()` says that it goes on as it is.

    `nodes` maps names of nodes to those of the new graph: of positions, kept input and numbers of
    visits; a node may be mapped to itself, and one that the session does not know is passed over.
    A position at a node that is not mapped stays, and its node must be there. Keys in `drop`
    leave the memory, then those of `memory` are set. The keys of effects stay what they were, so
    that what was done outside is not done again.
    """

    nodes: Mapping[str, str] = {}
    memory: Mapping[str, Any] = {}
    drop: tuple[str, ...] = ()
