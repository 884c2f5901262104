"""What may be read: listings, states, journals and the log, the same for both stores."""

import msgspec
import pytest

from greenroom.protocol.codec import encode
from greenroom.protocol.errors import EventsPruned, StoreClosed, StoreCorrupt
from greenroom.protocol.execution import Status
from greenroom.storage.tables import Table


def names(found) -> list[str]:
    return [one.summary.execution_id for one in found]


@pytest.fixture
def filled(bench, make):
    """e1 .. e9 on entry points a and b: three queued, three running, three completed."""
    for number in range(1, 10):
        entry = "ab"[number % 2]
        bench.apply(make.accept(f"e{number}", entry=entry))
        status = (Status.QUEUED, Status.RUNNING, Status.COMPLETED)[number % 3]
        if status is not Status.QUEUED:
            bench.apply(make.step(f"e{number}", number, 2, status=status, entry=entry))
    return bench


def test_listings_are_newest_first_and_filtered(filled) -> None:
    read = filled.store.read
    assert names(read(lambda r: r.executions())) == [f"e{n}" for n in range(9, 0, -1)]
    assert names(read(lambda r: r.executions(status=Status.RUNNING))) == ["e7", "e4", "e1"]
    assert names(read(lambda r: r.executions(entry_point="a"))) == ["e8", "e6", "e4", "e2"]
    both = read(lambda r: r.executions(status=Status.RUNNING, entry_point="b"))
    assert names(both) == ["e7", "e1"]
    assert names(read(lambda r: r.executions(entry_point="none"))) == []


@pytest.mark.parametrize("filters", [{}, {"status": Status.RUNNING}, {"entry_point": "b"}])
def test_pages_join_without_gap_or_repeat(filled, filters) -> None:
    whole = filled.store.read(lambda r: r.executions(**filters))
    joined, before = [], None
    while page := filled.store.read(
        lambda r: r.executions(before_ordinal=before, limit=2, **filters)  # noqa: B023
    ):
        joined += page
        before = page[-1].ordinal
    assert joined == whole


def test_executions_of_a_status_come_oldest_first_and_in_pages(filled) -> None:
    read = filled.store.read
    assert names(read(lambda r: r.oldest(Status.RUNNING, "b"))) == ["e1", "e7"]
    assert names(read(lambda r: r.oldest(Status.RUNNING, "b", 1))) == ["e7"]
    assert names(read(lambda r: r.oldest(Status.QUEUED, "b", limit=1))) == ["e3"]
    assert names(read(lambda r: r.oldest(Status.WAITING, "b"))) == []
    assert read(lambda r: r.ordinals(Status.QUEUED, "b", 0, 10)) == [3, 9]


def test_the_entry_points_of_a_status_are_listed(filled) -> None:
    read = filled.store.read
    assert sorted(read(lambda r: r.entry_points(Status.RUNNING))) == ["a", "b"]
    assert read(lambda r: r.entry_points(Status.WAITING)) == []


def test_counts_by_status(filled) -> None:
    counts = filled.store.read(lambda r: r.counts("b"))
    assert {status: n for status, n in counts.items() if n} == {
        Status.QUEUED: 2,
        Status.RUNNING: 2,
        Status.COMPLETED: 1,
    }
    assert sum(filled.store.read(lambda r: r.counts()).values()) == 9


def test_a_state_is_the_snapshot_and_the_records_since(bench, make) -> None:
    bench.apply(make.accept("e1"))
    for seq in range(2, 600):
        bench.apply(make.step("e1", 1, seq, patch={"steps": 1, "memory": {"k": make.raw(seq)}}))
    before = bench.store.read(lambda r: r.load(1))
    assert (before.state.seq, before.snapshot_seq) == (599, 0)
    following = bench.store.read(lambda r: r.load_state(1))
    following.seq, following.steps = 600, following.steps + 1
    snapshot = msgspec.Raw(encode(following))
    bench.apply(make.step("e1", 1, 600, patch={"steps": 1}, snapshot=snapshot))
    last = make.step("e1", 1, 601, patch={"steps": 1})
    bench.apply(last)
    loaded = bench.store.read(lambda r: r.load(1))
    assert (loaded.state.steps, loaded.snapshot_seq) == (600, 600)
    assert loaded.patch_bytes == len(bytes(last.record))
    assert bench.store.read(lambda r: r.load_state(1, 300)).steps == 299
    page = bench.store.read(lambda r: r.journal(1, after=598, limit=2))
    assert [record.seq for record in page] == [599, 600]
    for missing in ((1, 602), (2, None)):
        with pytest.raises(StoreCorrupt):
            bench.store.read(lambda r, m=missing: r.load_state(*m))


def test_events_are_read_from_any_seq_over_chunks(bench, make) -> None:
    for number in range(40):
        kinds = [f"t{number}.{one}" for one in range(number % 4)]
        bench.apply(make.host(events=tuple(make.event(kind) for kind in kinds)))
    everything = bench.store.read(lambda r: r.events(0, 1000))
    assert [seq for seq, _ in everything] == list(range(1, 61))
    for start in (1, 2, 7, 60, 61):
        for limit in (1, 3, 50):
            page = bench.store.read(lambda r, s=start, n=limit: r.events(s, n))
            assert page == everything[start - 1 : start - 1 + limit]
    assert bench.store.read(lambda r: (r.oldest_event(), r.last_event())) == (1, 60)


def test_a_payload_lies_beside_its_event(bench, make) -> None:
    events = (make.event(), make.event(payload={"large": True}))
    (outcome,) = bench.apply(make.host(events=events))
    seq = outcome.first_event + 1
    payload = bench.store.read(lambda r: r.event_payload(seq))
    assert payload is not None
    assert msgspec.msgpack.decode(payload) == {"large": True}
    assert bench.store.read(lambda r: r.event_payload(seq - 1)) is None


def test_a_large_group_of_events_becomes_several_chunks(bench, make) -> None:
    body = make.raw({"type": "custom", "at": 1.0, "data": "x" * 3000})
    event = msgspec.structs.replace(make.event(), body=body)
    bench.apply(*(make.host(events=(event,) * 10) for _ in range(10)))
    assert 3 <= bench.store.stats().tables["events"] <= 8
    assert len(bench.store.read(lambda r: r.events(1, 1000))) == 100


def test_an_empty_store_answers_every_question(bench) -> None:
    def ask(reader):
        return (
            reader.execution("no"),
            reader.executions(status=Status.QUEUED),
            reader.oldest(Status.QUEUED, "no"),
            reader.timers("no"),
            reader.plan(b"no"),
            reader.versions("no"),
            reader.ordinals_at("no", b"no", 0, 10),
            reader.events(0, 10),
            reader.oldest_event(),
            reader.last_event(),
            reader.event_payload(1),
            reader.claim("n", "k"),
            reader.cursor("c"),
        )

    assert bench.store.read(ask) == (
        *(None, [], [], [], None, [], []),
        *([], 1, 0, None, None, (0, None)),
    )


def test_a_reader_cannot_write(bench) -> None:
    with pytest.raises(TypeError):
        bench.store.read(lambda r: r.transaction.put(Table.META, b"k", b"v"))
    with pytest.raises(TypeError):
        bench.store.read(lambda r: r.transaction.delete(Table.META, b"format"))


def test_an_error_of_the_readers_function_passes_through(bench) -> None:
    def fail(_reader) -> None:
        raise EventsPruned(3)

    with pytest.raises(EventsPruned):
        bench.store.read(fail)


def test_a_closed_store_refuses_everything(bench, make) -> None:
    store = bench.store
    bench.reopen()
    for call in (
        lambda: store.read(lambda r: None),
        lambda: store.commit([make.accept("e1")], make.now),
        lambda: store.raise_fence("ep"),
        lambda: store.drop_cursor("c"),
        store.probe,
        store.stats,
        store.used_bytes,
    ):
        with pytest.raises(StoreClosed):
            call()
    store.close()
