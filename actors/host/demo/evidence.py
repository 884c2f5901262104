"""What the store says, read by another process than the runtime's, which opens it read-only."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from greenroom.actors.host.demo.ledger import LedgerLine
from greenroom.protocol.commit import StateKey
from greenroom.protocol.execution import TERMINAL, Phase, Status, Token
from greenroom.protocol.values import decode_value
from greenroom.storage.lmdb_store import open_reader
from greenroom.storage.reader import Reader, StoredExecution

_PAGE: Final = 500


class NodeRun(NamedTuple):
    """One visit of one execution to one node."""

    execution: str
    node: str
    visit: int


class Evidence(NamedTuple):
    """One consistent state of the store.

    `closed` are the node runs that a committed step ended; `in_flight` those that a committed step
    began and none has ended; `steps` counts journal records.
    """

    statuses: dict[str, Status]
    entry_points: dict[str, str]
    closed: frozenset[NodeRun]
    in_flight: frozenset[NodeRun]
    steps: int

    def unfinished(self, executions: frozenset[str]) -> frozenset[str]:
        """Those of `executions` that have not come to an end; unknown ones too."""
        return frozenset(
            one
            for one in executions
            if one not in self.statuses or self.statuses[one] not in TERMINAL
        )

    def completed(self, entry_point: str) -> frozenset[str]:
        """The completed executions of an entry point."""
        return frozenset(
            one
            for one, status in self.statuses.items()
            if status is Status.COMPLETED and self.entry_points[one] == entry_point
        )


def entered_by(pid: int, lines: Iterable[LedgerLine]) -> list[NodeRun]:
    """The node runs that a process entered, in order; one that it entered twice is there twice."""
    return [NodeRun(line.execution, line.node, line.visit) for line in lines if line.pid == pid]


def read_evidence(store: Path) -> Evidence:
    """Read all executions and their journals. Raises what opening and reading a store raises."""
    opened = open_reader(store)
    try:
        return opened.read(_collect)
    finally:
        opened.close()


def read_global(store: Path, key: str) -> Any:
    """Return the value of a global key of shared state, None when there is none."""
    opened = open_reader(store)
    try:
        raw = opened.read(lambda reader: reader.state_get(StateKey("global", "", key))[0])
    finally:
        opened.close()
    return None if raw is None else decode_value(bytes(raw))


def _collect(reader: Reader) -> Evidence:
    statuses: dict[str, Status] = {}
    entry_points: dict[str, str] = {}
    closed: set[NodeRun] = set()
    in_flight: set[NodeRun] = set()
    steps = 0
    before: int | None = None
    while page := reader.executions(before_ordinal=before, limit=_PAGE):
        for one in page:
            name = one.summary.execution_id
            statuses[name] = one.summary.status
            entry_points[name] = one.summary.entry_point
            steps += _replay(reader, one, closed, in_flight)
        before = page[-1].ordinal
    return Evidence(statuses, entry_points, frozenset(closed), frozenset(in_flight), steps)


def _replay(
    reader: Reader, one: StoredExecution, closed: set[NodeRun], in_flight: set[NodeRun]
) -> int:
    """Follow the positions through the journal; a node run that left its position has ended."""
    tokens: dict[int, Token] = {}
    name = one.summary.execution_id
    after = 0
    while records := reader.journal(one.ordinal, after, _PAGE):
        for record in records:
            before = _running(name, tokens)
            for token_id, token in record.patch.tokens.items():
                if token is None:
                    tokens.pop(token_id, None)
                else:
                    tokens[token_id] = token
            standing = {NodeRun(name, token.node, token.visit) for token in tokens.values()}
            closed.update(before - standing)
        after = records[-1].seq
    in_flight.update(_running(name, tokens))
    return after


def _running(name: str, tokens: dict[int, Token]) -> set[NodeRun]:
    return {
        NodeRun(name, token.node, token.visit)
        for token in tokens.values()
        if token.phase is Phase.RUNNING
    }
