"""A fixed history of commits leaves the same keys and values in every table of either store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.protocol.checkpoints import CheckpointType, Naming, NewCheckpoint
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import (
    Commit,
    CursorMove,
    IdempotencyClaim,
    NewEvent,
    OutcomeKind,
    StateKey,
    StateWrite,
    Summary,
)
from greenroom.protocol.decisions import DecisionMade
from greenroom.protocol.events import EventBody
from greenroom.protocol.execution import Accepted, Ended, ExecutionState, Phase, Status, Token
from greenroom.protocol.forked import ForkChange, Forked
from greenroom.protocol.patch import Cause, JournalRecord, Patch
from greenroom.protocol.questions import (
    Closing,
    OpenQuestion,
    QuestionChange,
    QuestionEnding,
    QuestionRecord,
)
from greenroom.protocol.timers import TimerMove
from greenroom.protocol.values import encode_value
from greenroom.protocol.versions import NodeVersion, PlanVersion
from greenroom.storage.keys import KEY_END, STATUS_CODES
from greenroom.storage.lmdb_store import open_store
from greenroom.storage.memory_store import MemoryStore
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store
from greenroom.storage.tables import Table

AT = 1767323045.25
SHORT, LONG = "execution-1", "execution-" + "2" * 80  # a long id stands in keys as its digest
FORK = "execution-3"
LASTING = {b"format", b"state_version"}  # numbers of the store that are part of what it holds


ASKED = OpenQuestion(token=1, to="ok", deadline=AT + 60, default=msgspec.Raw(encode(False)))
QUESTION = QuestionRecord(
    execution_id=LONG,
    entry_point="api",
    node="first",
    visit=1,
    prompt="Publish?",
    to="ok",
    asked_at=AT,
    schema=msgspec.Raw(encode({"type": "boolean"})),
    assignee="ada",
    deadline=AT + 60,
    default=msgspec.Raw(encode(False)),
)
VERSION = PlanVersion(
    digest=b"8 bytes.",
    graph_id="triage",
    version="1.0.0",
    nodes={
        "first": NodeVersion(
            node_type="router",
            inputs=("ticket",),
            outputs=("kind",),
            nullable=("kind",),
            function="pick",
            pause=True,
            routes={"default": "second"},
            ways=("second",),
            leads=True,
        ),
        "second": NodeVersion(node_type="function", function="second", terminal=True),
    },
)
CLOSING = Closing(ending=QuestionEnding.ANSWERED, at=AT, digest=b"digest", by="ada")


ORIGIN = Forked(ordinal=2, execution_id=LONG, seq=1)


def raw(value: Any) -> msgspec.Raw:
    """An encoded value."""
    return msgspec.Raw(encode_value(value))


def accepted(execution_id: str) -> Accepted:
    """What the first record of an execution fixes."""
    return Accepted(
        execution_id=execution_id,
        entry_point="api",
        entry_node="first",
        graph_id="triage",
        goal_id="goal",
        correlation_id=execution_id,
        accepted_at=AT,
    )


def record(seq: int, patch: Patch, notes: int = 0) -> msgspec.Raw:
    """An encoded journal record."""
    cause = Cause(tick="node_ended", node="first", visit=1, attempt=1)
    made = JournalRecord(
        seq=seq, at=AT, incarnation=1, plan=b"plan", cause=cause, patch=patch, notes=notes
    )
    return msgspec.Raw(encode(made))


def note() -> msgspec.Raw:
    """An encoded decision."""
    return msgspec.Raw(encode(DecisionMade(id="dec_0000001.001.001", at=AT, intent="pick")))


def summary(execution_id: str, status: Status) -> Summary:
    """A listing's view of an execution; the long one has a concurrency key."""
    keyed = execution_id == LONG
    return Summary(
        execution_id=execution_id,
        entry_point="api",
        goal_id="goal",
        correlation_id=execution_id,
        status=status,
        accepted_at=AT,
        updated_at=AT,
        concurrency_key="ticket-42" if keyed else "",
        takes_key=keyed and status is Status.WAITING,
        version=VERSION.digest if status in (Status.QUEUED, Status.WAITING) else b"",
    )


def event(kind: str, execution_id: str) -> msgspec.Raw:
    """An encoded event."""
    return msgspec.Raw(encode(EventBody(type=kind, at=AT, stream="api", execution=execution_id)))


def accept(commit_id: int, execution_id: str) -> Commit:
    """A commit that accepts an execution under an idempotency key."""
    patch = Patch(
        accepted=accepted(execution_id),
        status=Status.QUEUED,
        tokens={1: Token(node="first")},
        memory={"ticket": raw("text")},
    )
    return Commit(
        commit_id=commit_id,
        stream="api",
        incarnation=1,
        execution_id=execution_id,
        record=record(1, patch),
        summary=summary(execution_id, Status.QUEUED),
        events=(NewEvent(event("execution_queued", execution_id), raw({"body": "large"})),),
        idempotency=(IdempotencyClaim("api", execution_id, b"digest", AT + 60),),
    )


ASLEEP = Token(node="first", phase=Phase.SLEEPING, due=AT + 60, ended=Ended(outputs=("ticket",)))
GROUPS = (
    (accept(1, SHORT), accept(2, LONG)),
    (
        Commit(
            commit_id=3,
            stream="api",
            incarnation=1,
            execution_id=SHORT,
            ordinal=1,
            expected_seq=1,
            record=record(2, Patch(status=Status.RUNNING, started_at=AT)),
            naming=Naming(
                names=(
                    NewCheckpoint(
                        seq=2, kind=CheckpointType.NODE_START, number=0, node="first", at=AT, step=1
                    ),
                )
            ),
            summary=summary(SHORT, Status.RUNNING),
            snapshot=msgspec.Raw(encode(ExecutionState(accepted=accepted(SHORT), seq=2))),
            events=(NewEvent(event("execution_started", SHORT)),),
            writes=(
                StateWrite(StateKey("global", "", "count"), raw(1)),
                StateWrite(StateKey("stream", "api", "k" * 80), raw([1, 2])),
            ),
        ),
    ),
    (
        Commit(
            commit_id=4,
            stream="api",
            incarnation=1,
            execution_id=SHORT,
            ordinal=1,
            expected_seq=2,
            record=record(3, Patch(status=Status.COMPLETED, tokens={1: None}, ended_at=AT), 1),
            notes=(note(),),
            summary=summary(SHORT, Status.COMPLETED),
            events=(NewEvent(event("execution_completed", SHORT)),),
            writes=(StateWrite(StateKey("global", "", "count"), None),),
        ),
        Commit(
            commit_id=6,
            stream="api",
            incarnation=1,
            execution_id=LONG,
            ordinal=2,
            expected_seq=1,
            record=record(
                2,
                Patch(status=Status.WAITING, tokens={1: ASLEEP}, questions={1: ASKED, 2: None}),
            ),
            summary=summary(LONG, Status.WAITING),
            timer=TimerMove(None, AT + 60),
            questions=(
                QuestionChange(number=1, record=QUESTION),
                QuestionChange(number=2, record=QUESTION, closing=CLOSING),
            ),
        ),
        Commit(
            commit_id=5,
            stream="",
            incarnation=0,
            cursor=CursorMove("consumer:goal", 0, 3, raw({"folded": 3})),
        ),
    ),
    (
        Commit(
            commit_id=7,
            stream="api",
            incarnation=1,
            execution_id=FORK,
            record=record(
                1,
                Patch(
                    accepted=msgspec.structs.replace(accepted(FORK), forked=ORIGIN),
                    status=Status.QUEUED,
                    tokens={1: Token(node="first")},
                ),
            ),
            summary=msgspec.structs.replace(summary(FORK, Status.QUEUED), forked=ORIGIN),
            events=(NewEvent(event("execution_forked", FORK)),),
            fork=ForkChange(origin=ORIGIN),
        ),
    ),
)


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new store of each kind."""
    made: Store = MemoryStore() if request.param == "memory" else open_store(tmp_path / "store")
    yield made
    made.close()


def dump(reader: Reader) -> dict[str, dict[str, str]]:
    """Every key and value of every table, in hexadecimal."""
    found: dict[str, dict[str, str]] = {}
    for table in Table:
        page = reader.transaction.range(table, b"", KEY_END, 1000)
        if table is Table.META:
            page = [(key, value) for key, value in page if key in LASTING]
        found[f"{int(table)} {table.name.lower()}"] = {
            key.hex(): bytes(value).hex() for key, value in page
        }
    return found


def test_a_fixed_history_leaves_the_golden_keys_and_values(store: Store, golden: Any) -> None:
    """Both engines hold the same bytes, and those are the golden ones."""
    assert store.raise_fence("api") == 1
    for group in GROUPS:
        outcomes = store.commit(group, AT)
        assert [one.kind for one in outcomes] == [OutcomeKind.APPLIED] * len(group)
    store.note_plan(VERSION.digest, msgspec.Raw(encode(VERSION)))
    golden("store", store.read(dump))


def test_every_table_is_used_by_the_history(store: Store) -> None:
    """A table without an entry would not be guarded by the golden file."""
    store.raise_fence("api")
    for group in GROUPS:
        store.commit(group, AT)
    store.note_plan(VERSION.digest, msgspec.Raw(encode(VERSION)))
    empty = {name for name, entries in store.read(dump).items() if not entries}
    assert empty == {f"{int(Table.GARBAGE)} garbage"}


def test_a_status_keeps_its_code(golden: Any) -> None:
    """The codes stand in index keys."""
    golden("status_codes", {str(status): code for status, code in STATUS_CODES.items()})
