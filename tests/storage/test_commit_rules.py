"""What a commit may do, and what refuses it: the same for both stores."""

import msgspec
import pytest

from greenroom.protocol.commit import (
    CursorMove,
    IdempotencyClaim,
    StateKey,
    StateRead,
    StateWrite,
)
from greenroom.protocol.execution import Status
from greenroom.protocol.limits import VALUE_BYTES_MAX

KEY = StateKey("global", "", "counter")


def test_an_accepted_execution_is_there_after_a_restart(bench, make) -> None:
    (outcome,) = bench.apply(make.accept("e1", events=(make.event("execution_queued"),)))
    assert (outcome.ordinal, outcome.first_event) == (1, 1)
    bench.reopen()
    found = bench.store.read(lambda reader: reader.execution("e1"))
    assert found is not None
    assert (found.ordinal, found.seq, found.summary.status) == (1, 1, Status.QUEUED)


def test_ordinals_rise_by_one_also_after_a_restart(bench, make) -> None:
    assert [one.ordinal for one in bench.apply(make.accept("a"), make.accept("b"))] == [1, 2]
    bench.reopen()
    assert bench.apply(make.accept("c"))[0].ordinal == 3


def test_later_commits_of_a_group_see_earlier_ones(bench, make) -> None:
    outcomes = bench.apply(
        make.accept("e1"),
        make.step("e1", 1, 2, patch={"steps": 1}),
        make.step("e1", 1, 3, patch={"steps": 1}),
        make.host(writes=(StateWrite(KEY, make.raw(1)),)),
        make.host(reads=(StateRead(KEY, 1),), writes=(StateWrite(KEY, make.raw(2)),)),
    )
    assert [one.state_version for one in outcomes] == [0, 0, 0, 1, 2]
    assert bench.store.read(lambda reader: reader.load_state(1)).steps == 2


def test_a_commit_that_expects_another_seq_is_refused_and_harms_no_other(bench, make) -> None:
    bench.apply(make.accept("e1"), make.accept("e2"))
    outcomes = bench.commit(
        make.step("e1", 1, 3), make.step("e2", 2, 2), make.step("e1", 1, 2, patch={"steps": 1})
    )
    assert [one.kind.value for one in outcomes] == ["refused", "applied", "applied"]
    assert outcomes[0].code == "version_conflict"


@pytest.mark.parametrize(("ordinal", "name"), [(7, "e1"), (1, "e2")])
def test_a_step_of_an_execution_that_does_not_exist_is_refused(
    bench, make, ordinal: int, name: str
) -> None:
    bench.apply(make.accept("e1"))
    (outcome,) = bench.commit(make.step(name, ordinal, 2))
    assert outcome.code == "version_conflict"


def test_an_ordinal_that_was_asked_for_too_early_is_given_in_the_same_group(bench, make) -> None:
    outcomes = bench.commit(make.step("e1", 1, 2), make.accept("e1"), make.step("e1", 1, 2))
    assert [one.kind.value for one in outcomes] == ["refused", "applied", "applied"]


def test_the_same_commit_once_more_is_applied_without_effect(bench, make) -> None:
    accept = make.accept("e1", events=(make.event(),))
    step = make.step("e1", 1, 2, patch={"steps": 1}, events=(make.event(),))
    first = bench.apply(accept, step)
    again = bench.apply(accept, step)
    assert [one.ordinal for one in again] == [one.ordinal for one in first]
    bench.reopen()
    bench.apply(accept, step)
    assert bench.store.read(lambda reader: reader.last_event()) == 2
    assert bench.store.read(lambda reader: reader.load_state(1)).steps == 1


def test_an_older_commit_once_more_is_applied_although_later_ones_followed(bench, make) -> None:
    step = make.step("e1", 1, 2)
    bench.apply(make.accept("e1"), step, make.step("e1", 1, 3))
    bench.apply(step)


def test_another_commit_for_a_seq_that_is_taken_is_refused(bench, make) -> None:
    bench.apply(make.accept("e1"), make.step("e1", 1, 2, patch={"steps": 1}))
    (outcome,) = bench.commit(make.step("e1", 1, 2, patch={"steps": 2}))
    assert outcome.code == "version_conflict"


def test_a_second_accept_of_an_id_finds_the_first(bench, make) -> None:
    bench.apply(make.accept("e0"), make.accept("e1"))
    other = make.accept("e1", status=Status.RUNNING)
    (outcome,) = bench.commit(other)
    assert (outcome.kind.value, outcome.duplicate_of, outcome.ordinal) == ("duplicate", "e1", 2)
    (outcome,) = bench.commit(make.accept("e1", entry="elsewhere"))
    assert (outcome.kind.value, outcome.code) == ("refused", "version_conflict")


def test_a_replaced_incarnation_is_fenced(bench, make) -> None:
    assert bench.store.raise_fence("ep") == 1
    bench.apply(make.accept("e1", incarnation=1))
    assert bench.store.raise_fence("ep") == 2
    (outcome,) = bench.commit(make.step("e1", 1, 2, incarnation=1))
    assert outcome.code == "fenced"
    bench.apply(make.step("e1", 1, 2, incarnation=2))


def test_fences_rise_over_restarts_and_belong_to_one_stream(bench, make) -> None:
    long_name = "s" * 100
    assert bench.store.raise_fence("ep") == 1
    assert bench.store.raise_fence(long_name) == 1
    bench.reopen()
    assert bench.store.raise_fence("ep") == 2
    assert bench.store.read(lambda reader: reader.fence(long_name)) == 1


def test_the_epoch_counts_the_openings(bench) -> None:
    assert bench.store.epoch == 1
    assert bench.reopen().epoch == 2


def test_a_store_remembers_whether_it_was_closed_in_order(bench, make) -> None:
    assert bench.store.closed_cleanly
    assert not bench.reopen().closed_cleanly
    bench.store.mark_clean()
    assert bench.reopen().closed_cleanly
    assert not bench.reopen().closed_cleanly


def test_a_read_that_is_stale_is_a_conflict_that_names_its_keys(bench, make) -> None:
    other = StateKey("stream", "ep", "k")
    bench.apply(make.host(writes=(StateWrite(KEY, make.raw(1)),)))
    (outcome,) = bench.commit(
        make.host(reads=(StateRead(KEY, 0), StateRead(other, 0)), events=(make.event(),))
    )
    assert (outcome.kind.value, outcome.stale) == ("conflict", (KEY,))
    assert bench.store.read(lambda reader: reader.last_event()) == 0


def test_absence_deletes_and_whole_scopes_have_versions(bench, make) -> None:
    scope = StateKey("global", "", "")
    bench.apply(make.host(reads=(StateRead(KEY, 0), StateRead(scope, 0))))
    bench.apply(make.host(writes=(StateWrite(KEY, make.raw(None)),)))
    value, version = bench.store.read(lambda reader: reader.state_get(KEY))
    assert (value is not None and bytes(value), version) == (b"\xc0", 1)
    bench.apply(make.host(writes=(StateWrite(KEY, None),)))
    assert bench.store.read(lambda reader: reader.state_get(KEY)) == (None, 2)
    assert bench.store.read(lambda reader: reader.state_scope("global", "")) == ([], 2)
    for stale in (StateRead(KEY, 1), StateRead(scope, 1)):
        assert bench.commit(make.host(reads=(stale,)))[0].kind.value == "conflict"
    bench.apply(make.host(reads=(StateRead(KEY, 2), StateRead(scope, 2))))


def test_a_scope_lists_its_own_keys_with_their_full_names(bench, make) -> None:
    long_name = "k" * 500
    writes = tuple(
        StateWrite(StateKey(scope, owner, key), make.raw(key))
        for scope, owner, key in (
            ("stream", "one", long_name),
            ("stream", "one", "b"),
            ("stream", "two", "c"),
            ("global", "", "d"),
        )
    )
    bench.apply(make.host(writes=writes))
    bench.reopen()
    found, version = bench.store.read(lambda reader: reader.state_scope("stream", "one"))
    assert sorted(key for key, _, _ in found) == ["b", long_name]
    assert version == 1


def test_state_versions_rise_over_restarts(bench, make) -> None:
    write = make.host(writes=(StateWrite(KEY, make.raw(1)),))
    assert bench.apply(write)[0].state_version == 1
    bench.reopen()
    assert bench.apply(write)[0].state_version == 2


def test_a_standing_claim_answers_with_the_first_execution(bench, make) -> None:
    def claim(digest: bytes) -> tuple[IdempotencyClaim, ...]:
        return (IdempotencyClaim("ep", "key" * 60, digest, make.now + 10),)

    bench.apply(make.accept("e1", idempotency=claim(b"d")))
    same, empty, other = bench.commit(
        make.accept("e2", idempotency=claim(b"d")),
        make.accept("e3", idempotency=claim(b"")),
        make.accept("e4", idempotency=claim(b"x")),
    )
    for outcome in (same, empty):
        found = (outcome.kind.value, outcome.duplicate_of, outcome.ordinal)
        assert found == ("duplicate", "e1", 1)
    assert (other.kind.value, other.code) == ("refused", "idempotency_conflict")
    assert other.duplicate_of == "e1"
    assert bench.store.read(lambda reader: reader.execution("e2")) is None


def test_a_claim_stands_until_its_time_is_over(bench, make) -> None:
    claim = (IdempotencyClaim("ep", "k", b"d", make.now + 10),)
    later = (IdempotencyClaim("ep", "k", b"other", make.now + 20),)
    bench.apply(make.accept("e1", idempotency=claim))
    bench.reopen()
    refused = bench.commit(make.accept("e2", idempotency=later), now=make.now + 9.9)
    assert refused[0].kind.value == "refused"
    bench.apply(make.accept("e2", idempotency=later), now=make.now + 10)
    found = bench.store.read(lambda reader: reader.claim("ep", "k"))
    assert found is not None
    assert found.execution_id == "e2"


def test_a_key_claimed_twice_by_one_commit_is_kept_once(bench, make) -> None:
    claim = IdempotencyClaim("ep", "k", b"d", make.now + 10)
    bench.apply(make.accept("e1", idempotency=(claim, claim)))


def test_a_cursor_moves_only_from_where_it_is(bench, make) -> None:
    bench.apply(make.host(events=(make.event(),) * 5))
    first = make.host(cursor=CursorMove("c", 0, 3, make.raw({"n": 1})))
    bench.apply(first)
    (outcome,) = bench.commit(make.host(cursor=CursorMove("c", 0, 4)))
    assert outcome.code == "version_conflict"
    bench.apply(first)  # the same move once more
    bench.apply(make.host(cursor=CursorMove("c", 3, 4)))
    seq, state = bench.store.read(lambda reader: reader.cursor("c"))
    assert (seq, state is not None and bytes(state)) == (4, bytes(make.raw({"n": 1})))
    bench.reopen()
    assert bench.store.read(lambda reader: reader.cursors()) == {"c": 4}
    assert bench.store.drop_cursor("c")
    assert not bench.store.drop_cursor("c")


def test_a_cursor_never_passes_the_end_of_the_log(bench, make) -> None:
    (outcome,) = bench.commit(make.host(cursor=CursorMove("c", 0, 1)))
    assert outcome.code == "commit_refused"


def test_an_effect_and_its_cursor_are_one_commit(bench, make) -> None:
    bench.apply(make.host(events=(make.event(),)))
    move = CursorMove("c", 1, 1)
    (outcome,) = bench.commit(make.accept("e1", cursor=move))
    assert outcome.code == "version_conflict"
    assert bench.store.read(lambda reader: reader.execution("e1")) is None
    bench.apply(make.accept("e1", cursor=CursorMove("c", 0, 1)))


def test_what_is_too_large_or_empty_is_refused_alone(bench, make) -> None:
    large = msgspec.Raw(b"\xc6" + VALUE_BYTES_MAX.to_bytes(4, "big") + bytes(VALUE_BYTES_MAX))
    bad = [
        make.host(writes=(StateWrite(KEY, large),)),
        make.host(writes=(StateWrite(StateKey("global", "", "k" * 2000), make.raw(1)),)),
        make.host(idempotency=(IdempotencyClaim("n", "k" * 2000, b"", make.now + 1),)),
        make.accept("e" * 129),
    ]
    outcomes = bench.commit(*bad, make.accept("good"))
    assert [one.code for one in outcomes] == ["value_too_large"] * 4 + [""]
    (outcome,) = bench.commit(make.host(writes=(StateWrite(StateKey("global", "", ""), None),)))
    assert outcome.code == "commit_refused"


def test_ill_made_commits_are_refused(bench, make) -> None:
    accept = make.accept("e1")
    replace = msgspec.structs.replace
    for bad in (
        replace(accept, summary=None),
        replace(accept, execution_id="e2"),
        replace(accept, record=make.record(2)),
        replace(accept, record=make.raw([1, 2])),
        replace(accept, record=None),
        replace(accept, expected_seq=1),
    ):
        assert bench.commit(bad)[0].code == "commit_refused"
    assert bench.store.read(lambda reader: reader.executions()) == []


def test_a_summary_of_another_execution_or_entry_point_is_refused(bench, make) -> None:
    bench.apply(make.accept("e1"))
    for summary in (
        make.summary("e2", Status.RUNNING),
        make.summary("e1", Status.RUNNING, entry="elsewhere"),
    ):
        bad = make.step("e1", 1, 2, status=Status.RUNNING, summary=summary)
        assert bench.commit(bad)[0].code == "commit_refused"


def test_a_commit_that_fails_between_its_puts_takes_nobody_with_it(bench, make) -> None:
    """A lone surrogate cannot be encoded, and is met only after the journal's put."""
    bad_key = StateKey("global", "", "\ud800")
    bad = make.accept("bad", writes=(StateWrite(bad_key, make.raw(1)),), events=(make.event(),))
    outcomes = bench.commit(
        make.accept("a", events=(make.event(),)), bad, make.accept("b", events=(make.event(),))
    )
    assert [one.kind.value for one in outcomes] == ["applied", "refused", "applied"]
    assert [one.ordinal for one in outcomes] == [1, 0, 2]
    assert [one.first_event for one in outcomes] == [1, 0, 2]
    assert "UnicodeEncodeError" in outcomes[1].text
    assert bench.store.read(lambda reader: reader.execution("bad")) is None


def test_a_status_change_moves_the_execution_in_the_indexes(bench, make) -> None:
    bench.apply(make.accept("e1"))
    bench.apply(make.step("e1", 1, 2, status=Status.RUNNING))
    bench.apply(make.step("e1", 1, 3, status=Status.FAILED))
    assert bench.store.read(lambda reader: reader.oldest(Status.QUEUED, "ep")) == []
    bench.reopen()
    bench.apply(make.step("e1", 1, 4, status=Status.RUNNING))
    bench.apply(make.step("e1", 1, 5, status=Status.COMPLETED))
    found = bench.store.read(lambda reader: reader.executions(status=Status.COMPLETED))
    assert [(one.ordinal, one.seq) for one in found] == [(1, 5)]
