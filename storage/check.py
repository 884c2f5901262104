"""Verifies that a store does not contradict itself: every promise of the tables, checked from both
sides.

Reads everything, so its cost grows with the store.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
from lmdb.verify import VerifyError, verify

from greenroom.protocol.engine.due import stored_due
from greenroom.protocol.errors import StorageError
from greenroom.protocol.timers import microseconds
from greenroom.storage import (
    check_concurrency,
    check_forks,
    check_journal,
    check_questions,
    check_versions,
    checkpoints,
    events,
    journal,
)
from greenroom.storage.environment import DATA_NAME
from greenroom.storage.executions import is_terminal, last_seq
from greenroom.storage.keys import (
    KEY_END,
    RUNS_START,
    claim_key,
    entry_digest,
    expiry_key,
    finished_key,
    goal_key,
    journal_key,
    pack_number,
    run_key,
    scope_key,
    split_expiry_key,
    status_key,
    text_key,
    timer_key,
    unpack_checkpoint_key,
    unpack_number,
    unpack_timer_key,
)
from greenroom.storage.lmdb_store import open_reader
from greenroom.storage.reader import Reader
from greenroom.storage.records import (
    ClaimEntry,
    decode_claim,
    decode_cursor,
    decode_fence,
    decode_scope_entry,
    decode_state_entry,
    unpack_summary,
)
from greenroom.storage.tables import Table, Transaction

T = TypeVar("T")

PROBLEMS_MAX: Final = 1_000  # a store that is wrong everywhere is told in a bounded report
_PAGE: Final = 1_000
_SCOPE_KEY_BYTES: Final = 16
_verify_file: Callable[[str], list[str]] = verify  # it has no types of its own


class Readable(Protocol):
    """Any store, also one opened only for reading."""

    def read(self, function: Callable[[Reader], T]) -> T:
        """See `store.Store`."""
        ...


def check(store: Readable | str | Path) -> list[str]:
    """Return what is wrong with a store, one line each; empty when all is well.

    A path is opened for reading, which raises the errors of `open_reader`. At most PROBLEMS_MAX
    lines are returned.
    """
    if not isinstance(store, (str, Path)):
        return store.read(_check)
    path = Path(store)
    opened = open_reader(path)
    try:
        return opened.read(_check)
    finally:
        opened.close()


def verify_pages(path: str | Path) -> list[str]:
    """Return what is wrong with the pages of a store that nobody has open, one line each."""
    try:
        return [f"pages: {problem}" for problem in _verify_file(str(Path(path) / DATA_NAME))]
    except (VerifyError, OSError) as error:
        return [f"pages: {error}"]


def _check(reader: Reader) -> list[str]:
    txn = reader.transaction
    problems: list[str] = []
    parts = (
        *(_executions, _orphans, _indexes, _timers, _goals, _checkpoints),
        *(check_concurrency.of_table, check_questions.index, check_forks.of_table),
        *(check_versions.plans, check_versions.index),
        *(_events, _claims, _state, _small_tables),
    )
    for part in parts:
        try:
            for problem in part(txn):
                problems.append(problem)
                if len(problems) >= PROBLEMS_MAX:
                    return problems
        except (StorageError, msgspec.MsgspecError, ValueError, KeyError) as error:
            problems.append(f"{part.__name__.lstrip('_')}: cannot be read further: {error}")
    return problems


def _all(txn: Transaction, table: Table) -> Iterator[tuple[bytes, bytes]]:
    start = b""
    while page := txn.range(table, start, KEY_END, _PAGE):
        yield from page
        start = page[-1][0] + b"\0"


def _executions(txn: Transaction) -> Iterator[str]:
    """Every execution: its id, its journal, its snapshots, its summary."""
    for number, raw in _all(txn, Table.SUMMARIES):
        ordinal = unpack_number(number)
        mark, summary = unpack_summary(raw)
        name = f"execution {summary.execution_id}"
        if txn.get(Table.IDS, text_key(summary.execution_id)) != (
            number + summary.execution_id.encode()
        ):
            yield f"{name}: the id does not lead to number {ordinal}"
        entry = entry_digest(summary.entry_point)
        if txn.get(Table.STATUSES, status_key(summary.status, entry, ordinal)) is None:
            yield f"{name}: not in the index of status {summary.status}"
        if bool(mark) != is_terminal(summary.status):
            yield f"{name}: is {summary.status}, with finish mark {mark}"
        if mark and txn.get(Table.FINISHED, finished_key(entry, mark, ordinal)) is None:
            yield f"{name}: not in the index of finished executions"
        try:
            followed = check_journal.follow(txn, ordinal)
        except StorageError as error:
            yield f"{name}: {error}"
            continue
        state = followed.state
        due = stored_due(state)
        if due is not None and txn.get(Table.TIMERS, timer_key(entry, due, ordinal)) is None:
            yield f"{name}: never comes due"
        if state.status is not summary.status:
            yield f"{name}: its journal says {state.status}, its summary {summary.status}"
        if state.accepted.execution_id != summary.execution_id:
            yield f"{name}: its journal is of {state.accepted.execution_id}"
        if state.seq != last_seq(txn, ordinal):
            yield f"{name}: its journal ends at {last_seq(txn, ordinal)}, not {state.seq}"
        yield from (f"{name}: {problem}" for problem in followed.problems)
        yield from (f"{name}: {problem}" for problem in check_journal.beside(txn, ordinal))
        yield from check_concurrency.of_execution(txn, ordinal, summary, state)
        yield from check_forks.of_execution(txn, ordinal, summary, state)
        yield from check_versions.of_execution(txn, ordinal, summary)
        yield from check_questions.of_execution(txn, ordinal, state, name, cut=followed.cut)


def _orphans(txn: Transaction) -> Iterator[str]:
    """What belongs to no execution, dropped ones apart."""
    for table in (Table.JOURNAL, Table.SNAPSHOTS, Table.DECISIONS):
        start = b""
        while page := txn.range(table, start, KEY_END, 1):
            ordinal = unpack_number(page[0][0][:8])
            number = pack_number(ordinal)
            if txn.get(Table.SUMMARIES, number) is None and txn.get(Table.GARBAGE, number) is None:
                yield f"{table.name.lower()}: number {ordinal} has no summary"
            start = pack_number(ordinal + 1)
    for number, _ in _all(txn, Table.GARBAGE):
        if txn.get(Table.SUMMARIES, number) is not None:
            yield f"garbage: number {unpack_number(number)} is being deleted, and is listed"


def _indexes(txn: Transaction) -> Iterator[str]:
    """The other direction of every index: as many entries as there are executions to index."""
    summaries = txn.count(Table.SUMMARIES)
    finished = sum(1 for _, raw in _all(txn, Table.SUMMARIES) if unpack_summary(raw)[0])
    for table, expected in (
        (Table.IDS, summaries),
        (Table.STATUSES, summaries),
        (Table.FINISHED, finished),
    ):
        if txn.count(table) != expected:
            yield f"{table.name.lower()}: {txn.count(table)} entries for {expected} executions"


def _timers(txn: Transaction) -> Iterator[str]:
    """Each entry of the index of what comes due is the time of an execution that does not run."""
    for key, _ in _all(txn, Table.TIMERS):
        entry, due_us, ordinal = unpack_timer_key(key)
        if txn.get(Table.SUMMARIES, pack_number(ordinal)) is None:
            yield f"timers: number {ordinal} is no execution"
            continue
        state = journal.load(txn, ordinal).state
        due = stored_due(state)
        if entry != entry_digest(state.accepted.entry_point) or (
            due is None or microseconds(due) != due_us
        ):
            yield f"timers: execution {state.accepted.execution_id} is not due at {due_us}"


def _checkpoints(txn: Transaction) -> Iterator[str]:
    """Each name can be read, and the record that it names is there, or is being deleted."""
    for raw_key, raw in _all(txn, Table.CHECKPOINTS):
        ordinal, key = unpack_checkpoint_key(raw_key)
        checkpoints.unpack(key, raw)
        if txn.get(Table.GARBAGE, pack_number(ordinal)) is not None:
            continue
        if txn.get(Table.JOURNAL, journal_key(ordinal, key.seq)) is None:
            yield f"checkpoints: {key} of number {ordinal} names no record"


def _goals(txn: Transaction) -> Iterator[str]:
    """Each execution lies in a run of its goal, each run but the newest holds one, and has both
    its keys.
    """
    firsts: list[int] = []
    goals: list[str] = []
    for key, raw in _all(txn, Table.GOALS):
        first = unpack_number(key[-8:])
        if not key.startswith(RUNS_START):
            goal = txn.get(Table.GOALS, run_key(first))
            if goal is None or key != goal_key(goal.decode(), first):
                yield f"goals: no run of that goal begins at number {first}"
            continue
        firsts.append(first)
        goals.append(raw.decode())
        if txn.get(Table.GOALS, goal_key(goals[-1], first)) is None:
            yield f"goals: the run that begins at number {first} is not found by its goal"
    held = [0] * len(firsts)
    for number, raw in _all(txn, Table.SUMMARIES):
        place = bisect_right(firsts, unpack_number(number)) - 1
        summary = unpack_summary(raw)[1]
        if place < 0 or goals[place] != summary.goal_id:
            yield f"execution {summary.execution_id}: is not in a run of its goal"
        else:
            held[place] += 1
    for first, count in zip(firsts[:-1], held[:-1], strict=True):
        if not count:
            yield f"goals: the run that begins at number {first} holds nothing"


def _events(txn: Transaction) -> Iterator[str]:
    """The log is one unbroken row of events, and payloads lie beside events that are there."""
    expected = oldest = 0
    for key, raw in _all(txn, Table.EVENTS):
        last = unpack_number(key)
        first = last - len(events.bodies(raw)) + 1
        oldest = oldest or first
        if first < 1 or (expected and first != expected):
            yield f"events: a chunk holds {first} to {last}, where {expected} was next"
        expected = last + 1
        events.read(txn, first, last - first + 1)
    for key, _ in _all(txn, Table.PAYLOADS):
        if not oldest <= unpack_number(key) < expected:
            yield f"payloads: event {unpack_number(key)} is not in the log"


def _claims(txn: Transaction) -> Iterator[str]:
    """Claims and the index of their expiry, one for one."""

    def name(entry: ClaimEntry) -> str:
        return f"claim {entry.namespace!r} {entry.key!r}"

    for key, raw in _all(txn, Table.CLAIMS):
        entry = decode_claim(raw)
        if key != claim_key(entry.namespace, entry.key):
            yield f"{name(entry)}: stored in another's place"
        if txn.get(Table.EXPIRIES, expiry_key(entry.expires_at, key)) is None:
            yield f"{name(entry)}: never expires"
    for key, _ in _all(txn, Table.EXPIRIES):
        if txn.get(Table.CLAIMS, split_expiry_key(key)) is None:
            yield "expiries: an entry leads to no claim"
    if txn.count(Table.CLAIMS) != txn.count(Table.EXPIRIES):
        yield "claims: not as many as there are expiries"


def _state(txn: Transaction) -> Iterator[str]:
    """Each scope's own record comes before its keys, and has the newest of their versions."""
    scope, version, newest = b"", 0, 0
    for key, raw in _all(txn, Table.STATE):
        if len(key) == _SCOPE_KEY_BYTES:
            if newest != version:
                yield f"state: a scope has version {version}, its newest key {newest}"
            found = decode_scope_entry(raw)
            scope, version, newest = key, found.version, 0
            if key != scope_key(found.scope, found.owner):
                yield f"state: scope {found.scope!r} {found.owner!r} is in another's place"
            continue
        entry = decode_state_entry(raw)
        newest = max(newest, entry.version)
        if not key.startswith(scope) or not scope:
            yield f"state: key {entry.key!r} has no scope"
        if key[_SCOPE_KEY_BYTES:] != text_key(entry.key):
            yield f"state: key {entry.key!r} is in another's place"
    if newest != version:
        yield f"state: a scope has version {version}, its newest key {newest}"


def _small_tables(txn: Transaction) -> Iterator[str]:
    """Cursors do not point behind the end of the log; what is small can be read."""
    last = events.bounds(txn)[1]
    for key, raw in _all(txn, Table.CURSORS):
        cursor = decode_cursor(raw)
        if cursor.seq > last or key != text_key(cursor.consumer):
            yield f"cursors: {cursor.consumer!r} is at {cursor.seq}, the log ends at {last}"
    for key, raw in _all(txn, Table.FENCES):
        if key != text_key(decode_fence(raw).stream):
            yield "fences: an entry is in another's place"
