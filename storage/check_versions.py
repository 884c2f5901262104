"""What `check` finds out about versions of graphs: from each execution, and from the tables."""

from collections.abc import Iterator

from greenroom.protocol.commit import Summary
from greenroom.protocol.execution import Status
from greenroom.storage import versions
from greenroom.storage.keys import (
    KEY_END,
    entry_digest,
    pack_number,
    unpack_version_key,
    version_key,
)
from greenroom.storage.records import unpack_summary
from greenroom.storage.tables import Table, Transaction

_PAGE = 1_000


def of_execution(txn: Transaction, ordinal: int, summary: Summary) -> Iterator[str]:
    """Whoever waits is found by the version at which it stands."""
    if summary.status is not Status.WAITING or not summary.version:
        return
    key = version_key(entry_digest(summary.entry_point), summary.version, ordinal)
    if txn.get(Table.VERSIONS, key) is None:
        version = summary.version.hex()
        yield f"execution {summary.execution_id}: not among those who wait at graph {version}"


def plans(txn: Transaction) -> Iterator[str]:
    """What is known of each graph can be read."""
    start = b""
    while page := txn.range(Table.PLANS, start, KEY_END, _PAGE):
        for digest, _ in page:
            if versions.plan(txn, digest) is None:
                yield f"plans: nothing is known of graph {digest.hex()}"
        start = page[-1][0] + b"\0"


def index(txn: Transaction) -> Iterator[str]:
    """Whoever is in the index waits at that version."""
    start = b""
    while page := txn.range(Table.VERSIONS, start, KEY_END, _PAGE):
        for key, _ in page:
            entry, version, ordinal = unpack_version_key(key)
            raw = txn.get(Table.SUMMARIES, pack_number(ordinal))
            found = None if raw is None else unpack_summary(raw)[1]
            if (
                found is None
                or found.status is not Status.WAITING
                or found.version != version
                or entry != entry_digest(found.entry_point)
            ):
                yield f"versions: number {ordinal} does not wait at graph {version.hex()}"
        start = page[-1][0] + b"\0"
